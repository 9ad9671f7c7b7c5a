"""The Python client: asynchronous, and a synchronous face over it.

Law: imports wire only, so that a program that talks to a cluster loads nothing of what
a node needs. errors.py tells what a call can end in.
"""

from ..wire import (
    CaretakerStatus,
    CertificatesStatus,
    Decided,
    Member,
    Members,
    Step,
    Token,
)
from .asynchronous import AsyncClient
from .elections import Election, Observation
from .errors import (
    Closed,
    Compacted,
    DeadlineExceeded,
    Fenced,
    Forbidden,
    FutureRevision,
    Held,
    InvalidRequest,
    LastVoter,
    LeaseExists,
    LeaseNotFound,
    MemberExists,
    MemberNotFound,
    NoSpace,
    Overloaded,
    PreconditionFailed,
    QuorateError,
    QuorumAtRisk,
    Rejected,
    ServerFault,
    TlsFailed,
    TokenRefused,
    TooBusy,
    TooLarge,
    TooManyMembers,
    TooStale,
    Unauthenticated,
    Unavailable,
    Unknown,
    Unsupported,
)
from .leases import Lease, LeaseInfo
from .locks import Lock
from .near_cache import NearCache
from .options import ClientOptions
from .paging import Pager
from .pipelines import Pipeline
from .synchronous import Client
from .synchronous_handles import SyncLease, SyncNearCache, SyncPager, SyncWatch
from .synchronous_locks import SyncElection, SyncLock, SyncObservation
from .transactions import Committed, Txn
from .values import KeyValue, ReadLevel, prefix_end
from .watching import Event, Watch

__all__ = [
    "AsyncClient",
    "CaretakerStatus",
    "CertificatesStatus",
    "Client",
    "ClientOptions",
    "Closed",
    "Committed",
    "Compacted",
    "DeadlineExceeded",
    "Decided",
    "Election",
    "Event",
    "Fenced",
    "Forbidden",
    "FutureRevision",
    "Held",
    "InvalidRequest",
    "KeyValue",
    "LastVoter",
    "Lease",
    "LeaseExists",
    "LeaseInfo",
    "LeaseNotFound",
    "Lock",
    "Member",
    "MemberExists",
    "MemberNotFound",
    "Members",
    "NearCache",
    "NoSpace",
    "Observation",
    "Overloaded",
    "Pager",
    "Pipeline",
    "PreconditionFailed",
    "QuorateError",
    "QuorumAtRisk",
    "ReadLevel",
    "Rejected",
    "ServerFault",
    "Step",
    "SyncElection",
    "SyncLease",
    "SyncLock",
    "SyncNearCache",
    "SyncObservation",
    "SyncPager",
    "SyncWatch",
    "TlsFailed",
    "Token",
    "TokenRefused",
    "TooBusy",
    "TooLarge",
    "TooManyMembers",
    "TooStale",
    "Txn",
    "Unauthenticated",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "Watch",
    "prefix_end",
]
