"""What members say: claims about members, and the messages that carry them.

Law: frozen values. A claim about a member is beaten only by one with a higher
incarnation or, at the same, with a worse state; so tables that have heard the same are
the same, in whatever order it came.
"""

from enum import IntEnum
from typing import TypeAlias

import msgspec


class State(IntEnum):
    """The order is that of precedence. LEFT is said by the member itself alone."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Vitals(msgspec.Struct, frozen=True, gc=False):
    """How a member is, in its own words; `beat` counts them.

    `strain` is how far it distrusts its own judgement, 0 to STRAIN_MAX; `lag_ms` how
    late its event loop has been lately.
    """

    beat: int
    strain: int
    lag_ms: int
    applied_index: int


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What somebody holds of a member; `accuser` says so, where it is no praise."""

    member: int
    incarnation: int
    state: State
    accuser: int
    peer: str
    client: str
    version: str
    vitals: Vitals

    @property
    def live(self) -> bool:
        return self.state <= State.SUSPECT


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Is `to` there? It answers by an Ack with this number."""

    cluster_id: int
    sender: int
    number: int
    claims: tuple[Claim, ...]


class PingRequest(msgspec.Struct, frozen=True, gc=False):
    """I don't hear `target`: ask it for me."""

    cluster_id: int
    sender: int
    number: int
    target: int
    claims: tuple[Claim, ...]


class Ack(msgspec.Struct, frozen=True, gc=False):
    """`target` is there: the sender itself, or whom it has asked for another one."""

    cluster_id: int
    sender: int
    number: int
    target: int
    claims: tuple[Claim, ...]


class Nack(msgspec.Struct, frozen=True, gc=False):
    """I am here, and I have not heard whom you asked me to ask."""

    cluster_id: int
    sender: int
    number: int
    claims: tuple[Claim, ...]


class News(msgspec.Struct, frozen=True, gc=False):
    """Claims that are new to the sender."""

    cluster_id: int
    sender: int
    claims: tuple[Claim, ...]


class Sync(msgspec.Struct, frozen=True, gc=False):
    """The sender's whole table; one that is no answer is answered by the other's."""

    cluster_id: int
    sender: int
    answers: bool
    claims: tuple[Claim, ...]


Message: TypeAlias = Ping | PingRequest | Ack | Nack | News | Sync
