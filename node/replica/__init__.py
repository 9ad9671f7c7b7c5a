"""The replica: consensus, state machine and requests as one pure object. See core."""

from .core import Replica
from .effects import Effects, Reply, Sink
from .messages import ForwardReply, ForwardRequest, PeerMessage, StateHash, StateRequest
from .options import ReplicaOptions
from .requests import Request

__all__ = [
    "Effects",
    "ForwardReply",
    "ForwardRequest",
    "PeerMessage",
    "Replica",
    "ReplicaOptions",
    "Reply",
    "Request",
    "Sink",
    "StateHash",
    "StateRequest",
]
