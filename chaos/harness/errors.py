"""What ends a run before its time.

    HarnessError
    ├── Violated       a promise was broken; has the violation
    ├── SetupFailed    the cluster never came up, so that nothing was tried
    ├── NetworkFailed  the relays between the nodes are gone
    └── NotRecorded    the history can't be written

Law: Violated is about the nodes, the others about this machine or our arguments. A bug
of the harness is neither: it is raised as it is.
"""

from .verdict import Violation


class HarnessError(Exception):
    """A run can't go on."""


class Violated(HarnessError):
    """A promise was broken."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class SetupFailed(HarnessError):
    """The cluster never came up: nothing was tried, so that nothing is known."""


class NotRecorded(HarnessError):
    """What happened can't be written down: the report's disk is full, or broken."""


class NetworkFailed(HarnessError):
    """The child of the relays has died or does not answer."""
