"""Gossip: SWIM with Lifeguard, as a value machine (docs/gossip.md).

Law: what it says is a hint. It never decides who belongs to the cluster, who votes or
who leads; nothing in raft, node/replica or node/database may read it. Pure: time is
ticks that are handed in, chance an argument, messages are frozen values.
"""

from .codec import Frames, decode_message, encode_message, frame
from .core import Gossip, Identity, Outgoing
from .errors import GossipError
from .messages import (
    Ack,
    Claim,
    Message,
    Nack,
    News,
    Ping,
    PingRequest,
    State,
    Sync,
    Vitals,
)
from .table import Change, Counts

__all__ = (
    "Ack",
    "Change",
    "Claim",
    "Counts",
    "Frames",
    "Gossip",
    "GossipError",
    "Identity",
    "Message",
    "Nack",
    "News",
    "Outgoing",
    "Ping",
    "PingRequest",
    "State",
    "Sync",
    "Vitals",
    "decode_message",
    "encode_message",
    "frame",
)
