"""The border between the client port and the node behind it.

Native connections and HTTP handlers put the same requests (kinds and bodies of
docs/formats.md section 1) through one door and get the same replies back, so that there
is one meaning of each operation.
"""

from collections.abc import AsyncGenerator
from typing import Final, NamedTuple, Protocol

from ..statistics import Statistics
from ..timings import NodeTimings

# Why a node is not ready, where somebody wants to tell the reasons apart.
SHUTTING_DOWN: Final = "shutting down"
NO_LEADER: Final = "no leader is known"
DAMAGED: Final = "the data of this node is damaged; it is being replaced"
DISK_FULL: Final = "the disk is full"


class Position(NamedTuple):
    """Where this node is; neither number ever goes back."""

    term: int
    revision: int


class Member(NamedTuple):
    """A member of the cluster, as far as this node knows it: else texts are empty.

    `learner`: it does not vote (yet). `wanted` is what it shall be: voter, replica or
    leaving. `match_index` is 0 where this node does not lead.
    """

    member_id: int
    name: str
    client_url: str
    peer_address: str
    learner: bool
    wanted: str = "voter"
    connected: bool = False
    match_index: int = 0


class Sink(Protocol):
    """Who waits for replies: a native connection, or one HTTP request's future."""

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Take the reply to `request_id`; called once for each submitted request.

        May be called before `submit` returns. Must not raise, also when the one who
        asked has gone.
        """
        ...


class WatchSink(Sink, Protocol):
    """Who waits for more than one reply to a request: for a watch's events.

    `number` is another one for each sink of this process.
    """

    number: int

    def room(self) -> int:
        """How many bytes can be taken now without keeping them for long."""
        ...

    def push(self, request_id: int, kind: int, body: bytes) -> None:
        """Take one more reply to a request that goes on. Must not raise."""
        ...


class Service(Protocol):
    """What a node offers its client port."""

    def submit(
        self, sink: Sink, request_id: int, kind: int, body: bytes, timeout_ms: int
    ) -> None:
        """Start one request; its reply goes to `sink`, at the latest at its timeout.

        `kind`, `body` and the reply's body are those of docs/formats.md section 1;
        `timeout_ms` 0 is the default. A malformed body is answered, never raised.
        """
        ...

    def gone(self, sink: WatchSink) -> None:
        """Nobody reads what goes to `sink` any more: its watches end."""
        ...

    def statistics(self) -> Statistics:
        """Numbers of this moment; cheap enough for every scrape."""
        ...

    def timings(self) -> NodeTimings:
        """What the node has measured of itself since it started."""
        ...

    def endpoints(self) -> tuple[str, ...]:
        """Client URLs of the cluster that are known here, this node's own first."""
        ...

    def position(self) -> Position:
        """Cheap enough for every answer."""
        ...

    def members(self) -> tuple[Member, ...]:
        """All members, by their ids."""
        ...

    def backup(self, timeout_ms: int) -> AsyncGenerator[bytes]:
        """Everything that is here, as one file; `timeout_ms` is for its begin.

        Raises Problem before the first bytes come.
        """
        ...

    def troubles(self) -> tuple[str, ...]:
        """Why this node does not serve requests, what matters most first.

        () when it serves; else of SHUTTING_DOWN, NO_LEADER, DAMAGED, DISK_FULL.
        """
        ...
