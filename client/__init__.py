"""The Python client: asynchronous, and a synchronous face over it.

Law: imports wire only, so that a program that talks to a cluster loads nothing of what
a node needs. errors.py tells what a call can end in.
"""

from .asynchronous import AsyncClient
from .elections import Election, Observation
from .errors import (
    Compacted,
    DeadlineExceeded,
    Fenced,
    Forbidden,
    FutureRevision,
    Held,
    InvalidRequest,
    LeaseExists,
    LeaseNotFound,
    NoSpace,
    PreconditionFailed,
    QuorateError,
    Rejected,
    ServerFault,
    TooBusy,
    TooLarge,
    TooStale,
    Unavailable,
    Unknown,
    Unsupported,
)
from .leases import Lease, LeaseInfo
from .locks import Lock
from .synchronous import Client
from .transactions import Committed, Txn
from .values import KeyValue, ReadLevel, prefix_end
from .watching import Event, Watch

__all__ = [
    "AsyncClient",
    "Client",
    "Committed",
    "Compacted",
    "DeadlineExceeded",
    "Election",
    "Event",
    "Fenced",
    "Forbidden",
    "FutureRevision",
    "Held",
    "InvalidRequest",
    "KeyValue",
    "Lease",
    "LeaseExists",
    "LeaseInfo",
    "LeaseNotFound",
    "Lock",
    "NoSpace",
    "Observation",
    "PreconditionFailed",
    "QuorateError",
    "ReadLevel",
    "Rejected",
    "ServerFault",
    "TooBusy",
    "TooLarge",
    "TooStale",
    "Txn",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "Watch",
    "prefix_end",
]
