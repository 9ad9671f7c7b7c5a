"""Gossip in real time: ticks, the stream that carries it, what others may read of it.

Law: a shell. Gossip gives hints: where to dial when the log's address leads nowhere
(Transport.hint), and words for tables that people read. It reads the log to know who
was removed; nothing that decides reads it (I-66, tests/structure).
"""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import __version__
from ..wire.membership import Health
from .address import Address, parse_address
from .gossip import (
    Change,
    Frames,
    Gossip,
    GossipError,
    Identity,
    Outgoing,
    State,
    frame,
)
from .gossip.limits import TICKS_PER_SECOND
from .peer_hello import Stream

if TYPE_CHECKING:
    from .node import Node
    from .peer_session import Session

# A peer that does not read is not written to: what waits would be old when it does.
BUFFER_BYTES_MAX: Final = 256 << 10
_REPORT_TICKS: Final = 5
_LAG_WINDOW_TICKS: Final = 50
UNKNOWN: Final = "unknown"
_HEALTH: Final[dict[State, Health]] = {
    State.ALIVE: "alive",
    State.SUSPECT: "suspect",
    State.DEAD: "dead",
    State.LEFT: "left",
}

logger = logging.getLogger("quorate.gossip")


class Heard(NamedTuple):
    """What is heard of a member, for people: never a reason to decide anything."""

    health: Health = UNKNOWN
    version: str = ""
    applied_index: int = 0
    lag_ms: int = 0


class Gossiping:
    """The gossip of one node."""

    def __init__(
        self, node: "Node", clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.node = node
        self.clock_s = clock_s
        self.gossip = Gossip(_identity(node), node.random.randrange)
        self.refused = 0
        self.began_s = self.called_s = clock_s()
        self.lag_ms = 0
        self.last_lag_ms = 0
        self._report_at = self._window_at = 0
        self.hinted: dict[int, str] = {}
        self.removed: set[int] = set()

    # -- time ----------------------------------------------------------------------

    def start(self) -> None:
        """From now on ticks come: what was before is no lag."""
        self.began_s = self.called_s = self.clock_s()

    def tick(self) -> None:
        """Called a hundred times a second; a tenth of that is a tick of gossip."""
        now_s = self.clock_s()
        since_s, self.called_s = now_s - self.called_s, now_s
        self.lag_ms = max(self.lag_ms, int(since_s * 1000))
        elapsed = int((now_s - self.began_s) * TICKS_PER_SECOND) - self.gossip.now
        if elapsed <= 0:
            return
        self._before_tick()
        lag = min(elapsed, int(since_s * TICKS_PER_SECOND))
        self._send(self.gossip.tick(elapsed, lag))
        self._follow()

    def _before_tick(self) -> None:
        gossip, node = self.gossip, self.node
        gossip.contacts = tuple(
            member
            for (member, stream), link in node.transport.links.items()
            if stream is Stream.GOSSIP and link.connected
        )
        gone = node.replica.database.member_table.gone
        for member in sorted(gone.keys() - self.removed):
            self.removed.add(member)
            gossip.remove(member)
        # A loop that was held lets several ticks pass at once.
        if gossip.now >= self._report_at:
            self._report_at = gossip.now + _REPORT_TICKS
            lag_ms = max(self.lag_ms, self.last_lag_ms)
            gossip.report(node.replica.raft.log.applied_index, lag_ms)
        if gossip.now >= self._window_at:
            self._window_at = gossip.now + _LAG_WINDOW_TICKS
            self.last_lag_ms, self.lag_ms = self.lag_ms, 0

    def leave(self) -> None:
        """The node stops on purpose: it has left, and is not dead."""
        self._send(self.gossip.leave())

    # -- the stream ----------------------------------------------------------------

    def accept(self, member: int, session: "Session") -> None:
        """`member` has dialled the stream by which it speaks to us."""
        frames = Frames()

        def heard(data: bytes) -> None:
            try:
                for message in frames.feed(data):
                    self._send(self.gossip.receive(member, message))
            except GossipError as error:
                self.refused += 1
                session.refuse(str(error))
            self._follow()

        session.on_data = heard

    def _send(self, out: list[Outgoing]) -> None:
        for member, message in out:
            link = self.node.transport.links.get((member, Stream.GOSSIP))
            session = link.session if link is not None else None
            if session is not None and session.waiting_bytes < BUFFER_BYTES_MAX:
                session.write(frame(message))

    # -- what comes of it ----------------------------------------------------------

    def _follow(self) -> None:
        """Log what has changed, and pass on where members say they are."""
        for change in self.gossip.take_changes():
            self._log(change)
        known = self.node.transport.known()
        self._find_leader(known)
        for member in known:
            claim = self.gossip.claim_of(member)
            if claim is not None and claim.peer != self.hinted.get(member):
                self.hinted[member] = claim.peer
                self._hint(member, _dialable(claim.peer))

    def _find_leader(self, known: list[int]) -> None:
        """A newcomer may follow somebody whose place nobody has told it.

        It learns that from the log, which it does not get while it can't answer.
        """
        node = self.node
        leader = node.replica.raft.leader_id
        if leader in (0, node.member_id) or leader in known:
            return
        claim = self.gossip.claim_of(leader)
        if claim is not None and _dialable(claim.peer) is not None:
            name, *_ = node.roster.place_of(leader)
            node.roster.connect(leader, name, claim.peer)

    def _hint(self, member: int, address: Address | None) -> None:
        """Not where our own configuration knows better: there may be no other way."""
        roster = self.node.roster
        told = roster.place_of(member)[0] in roster.dials
        if address is not None and not told:
            self.node.transport.hint(member, address)

    def _log(self, change: Change) -> None:
        before = UNKNOWN if change.before is None else _HEALTH[change.before]
        level = logging.INFO if change.after is not State.SUSPECT else logging.DEBUG
        after = _HEALTH[change.after]
        logger.log(level, "member %016x: %s, was %s", change.member, after, before)

    def heard_of(self, member: int) -> Heard:
        state = self.gossip.state_of(member)
        if state is None:
            return Heard()
        claim = self.gossip.claim_of(member)
        if claim is None:
            return Heard(_HEALTH[state])
        vitals = claim.vitals
        return Heard(_HEALTH[state], claim.version, vitals.applied_index, vitals.lag_ms)


def _identity(node: "Node") -> Identity:
    config = node.config
    return Identity(
        node.cluster_id,
        node.member_id,
        node.identity.boot_count,
        str(config.peer_address),
        config.client_url,
        __version__,
    )


def _dialable(text: str) -> Address | None:
    """Gossip's word for an address is somebody else's text."""
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return None if address.wildcard or address.port == 0 else address
