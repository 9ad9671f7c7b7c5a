"""What replicas say to each other beside Raft: requests handed on to the leader.

Law: values. Forwarded requests travel on a stream of their own, in order, at most once:
unlike Raft's messages they must not be repeated by anybody (I-56).
"""

from typing import TypeAlias

import msgspec

from ...raft import Message
from ..database import StateAt


class ForwardRequest(msgspec.Struct, frozen=True, gc=False):
    """A write that `sender`'s client made, for the leader to propose.

    `id` is unique over the sender's boots; `timeout_ms` is what is left of it.
    """

    sender: int
    to: int
    id: int
    timeout_ms: int
    body: bytes


class ForwardReply(msgspec.Struct, frozen=True, gc=False):
    """The leader's answer: status and body as the client gets them."""

    sender: int
    to: int
    id: int
    status: int
    body: bytes


class StateRequest(msgspec.Struct, frozen=True, gc=False):
    """My state machine is damaged: send me yours, of `index` or later.

    May be lost or repeated; a leader answers with a snapshot, nobody else does.
    """

    sender: int
    to: int
    index: int


class StateHash(msgspec.Struct, frozen=True, gc=False):
    """My state's hash at the entry of `index`: its chain, and the halves of its sum.

    May be lost or repeated; the next one comes soon.
    """

    sender: int
    to: int
    index: int
    chain: int
    high: int
    low: int

    def state(self) -> StateAt:
        return StateAt(self.index, self.chain, self.high << 64 | self.low)


PeerMessage: TypeAlias = (
    Message | ForwardRequest | ForwardReply | StateRequest | StateHash
)
