"""What ends a run before its time.

    LoadError
    ├── PhaseFailed  keys could not be put or deleted; has the client's code for why
    └── WorkerLost   a client process ended without being told to

Law: an operation that fails while it is measured is a result, and none of these.
"""


class LoadError(Exception):
    """A run can't go on."""


class PhaseFailed(LoadError):
    """A key could not be put or deleted, however often it was tried."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WorkerLost(LoadError):
    """A client process ended by itself."""
