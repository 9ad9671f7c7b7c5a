"""What ends a run against somebody's cluster, or keeps it from beginning.

    HarnessError
    ├── NotAttached    the cluster can't be used as it is: nothing was tried
    └── NotHealed      a command that was to end a fault did not
    FaultFileError     the file of faults is not as it has to be

Law: none of them is about the promises of the nodes.
"""

from ..harness.errors import HarnessError


class NotAttached(HarnessError):
    """The cluster does not answer as it must before anything can be tried."""


class NotHealed(HarnessError):
    """What was begun is not undone; more must not be begun."""


class FaultFileError(Exception):
    """The message is `file: key: reason`."""
