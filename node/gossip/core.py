"""One member's gossip: ticks and messages in, messages out.

Law: pure; it decides nothing but what is said next and what is held of others, and what
it holds is a hint. The member itself is the only one who raises its incarnation, which
begins above all that its earlier boots ever had.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from . import rules
from .errors import GossipError
from .health import Health
from .limits import (
    INCARNATION_MAX,
    INDIRECT_PROBES,
    KNOCK_INTERVAL_TICKS,
    NEWS_INTERVAL_TICKS,
    NEWS_MEMBERS,
    PROBE_INTERVAL_TICKS,
    PROBE_TIMEOUT_TICKS,
    REFUTATION_BITS,
    SYNC_INTERVAL_TICKS,
)
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
from .news import NewsQueue
from .probing import Probe, Relays, Rounds, sample
from .table import Change, Counts, Record, Table

Outgoing: TypeAlias = tuple[int, Message]


class Identity(NamedTuple):
    """Who this member is, and where, for as long as it runs."""

    cluster_id: int
    member_id: int
    boot: int
    peer: str
    client: str
    version: str


class Gossip:
    """`draw(n)` is a number from 0 to n-1. `contacts` are those who can be reached."""

    def __init__(self, identity: Identity, draw: Callable[[int], int]) -> None:
        self.identity = identity
        self.cluster_id = identity.cluster_id
        self.id = identity.member_id
        self.draw = draw
        self.contacts: tuple[int, ...] = ()
        self.now = 0
        self.numbers = 0
        self.incarnation = identity.boot << REFUTATION_BITS
        self.state = State.ALIVE
        self.vitals = Vitals(0, 0, 0, 0)
        self.own: Claim = self._own_claim()
        self.counts = Counts()
        self.table = Table(self.counts)
        self.health = Health()
        self.news = NewsQueue()
        self.rounds = Rounds(self.id, draw)
        self.relays = Relays()
        self.probe: Probe | None = None
        # Members that start together do not all ask at the same time.
        self.probe_at = 1 + draw(PROBE_INTERVAL_TICKS)
        self.news_at = 1 + draw(NEWS_INTERVAL_TICKS)
        self.sync_at = 1 + draw(SYNC_INTERVAL_TICKS)
        self.knock_at = 1 + draw(PROBE_INTERVAL_TICKS)
        self.news.add(self.own, self.now)

    # -- what is known -------------------------------------------------------------

    def state_of(self, member: int) -> State | None:
        """None: nothing is known of it."""
        return self.state if member == self.id else self.table.state_of(member)

    def claim_of(self, member: int) -> Claim | None:
        if member == self.id:
            return self.own
        record = self.table.records.get(member)
        return None if record is None else record.claim

    def take_changes(self) -> list[Change]:
        """What has changed since this was last asked."""
        changes, self.table.changes = self.table.changes, []
        return changes

    # -- what we are told of ourselves ---------------------------------------------

    def report(self, applied_index: int, lag_ms: int) -> None:
        """How this member is; others hear it with the next message."""
        beat = self.vitals.beat + 1
        self.vitals = Vitals(beat, self.health.strain, lag_ms, applied_index)
        self.own = self._own_claim()

    def leave(self) -> list[Outgoing]:
        """This member stops on purpose: everybody is told, nobody has to find out."""
        self.state = State.LEFT
        self.own = self._own_claim()
        news = News(self.cluster_id, self.id, (self.own,))
        return [(member, news) for member in self.table.live]

    def remove(self, member: int) -> None:
        """The cluster has sent it away: nothing is heard about it any more."""
        self.table.remove(member)
        self.news.forget(member)

    # -- time ----------------------------------------------------------------------

    def tick(self, elapsed: int, lag: int) -> list[Outgoing]:
        """So many ticks have gone by, during `lag` of which nothing was done here."""
        self.now += elapsed
        out: list[Outgoing] = []
        if lag:
            self._was_away(lag)
        now = self.now
        if self.relays.open:
            self._answer_late_relays(out)
        if self.table.suspects:
            self._end_suspicions()
        if self.probe is not None:
            self._follow_probe(self.probe, out)
        if now >= self.probe_at:
            self._begin_probe(out)
        if now >= self.news_at:
            self.news_at = now + NEWS_INTERVAL_TICKS
            if self.news:
                self._tell_news(out)
        if now >= self.knock_at:
            self.knock_at = now + KNOCK_INTERVAL_TICKS
            self.table.bury(now)
            self._knock(out)
        if now >= self.sync_at:
            self.sync_at = now + SYNC_INTERVAL_TICKS
            self._sync(sample(self.table.live, 1, self.draw), out)
        return out

    def _was_away(self, lag: int) -> None:
        """What came meanwhile is still unread: nobody is judged by this pause."""
        self.health.lagged(lag)
        lost = rules.time_lost(lag)
        for member in self.table.suspects:
            suspicion = self.table.records[member].suspicion
            assert suspicion is not None
            suspicion.delay(lost)
        if lost:
            self.probe = None

    def _end_suspicions(self) -> None:
        for member in list(self.table.suspects):
            record = self.table.records[member]
            assert record.suspicion is not None
            if self.now >= record.suspicion.deadline:
                self.counts.deaths += 1
                self._accuse(record, State.DEAD)

    def _accuse(self, record: Record, state: State) -> None:
        held = record.claim
        claim = Claim(
            held.member,
            rules.accuses_at(held.incarnation),
            state,
            self.id,
            held.peer,
            held.client,
            held.version,
            held.vitals,
        )
        if self.table.hear(claim, False, self.now):
            self.news.add(claim, self.now)

    # -- probes --------------------------------------------------------------------

    def _begin_probe(self, out: list[Outgoing]) -> None:
        self.probe_at = self.now + self.health.stretch(PROBE_INTERVAL_TICKS)
        target = self.rounds.next(self.table.live)
        if not target:
            return
        self.counts.probes += 1
        detour_at = self.now + self.health.stretch(PROBE_TIMEOUT_TICKS)
        self.probe = Probe(target, self._number(), detour_at, self.probe_at)
        self._ping(target, self.probe.number, out)

    def _follow_probe(self, probe: Probe, out: list[Outgoing]) -> None:
        if self.now >= probe.ends_at:
            self.probe = None
            self._probe_failed(probe, out)
        elif self.now >= probe.detour_at and probe.asked is None:
            others = [each for each in self.table.live if each != probe.target]
            probe.asked = tuple(sample(others, INDIRECT_PROBES, self.draw))
            for member in probe.asked:
                claims = self._claims(member)
                request = PingRequest(
                    self.cluster_id, self.id, probe.number, probe.target, claims
                )
                out.append((member, request))

    def _probe_failed(self, probe: Probe, out: list[Outgoing]) -> None:
        self.counts.probes_failed += 1
        asked = len(probe.asked or ())
        # Whoever was asked should at least have said that he heard nothing either.
        self.health.strained(asked - probe.nacks if asked else 1)
        record = self.table.records.get(probe.target)
        if record is None or not record.claim.live:
            return
        self.counts.suspicions += 1
        self._accuse(record, State.SUSPECT)
        # The suspect first: nobody else can clear it up.
        news = News(self.cluster_id, self.id, self._claims(probe.target))
        out.append((probe.target, news))

    def _ping(self, member: int, number: int, out: list[Outgoing]) -> None:
        ping = Ping(self.cluster_id, self.id, number, self._claims(member))
        out.append((member, ping))

    def _answer_late_relays(self, out: list[Outgoing]) -> None:
        for origin, number in self.relays.overdue(self.now):
            nack = Nack(self.cluster_id, self.id, number, self._claims(origin))
            out.append((origin, nack))

    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    # -- spreading -----------------------------------------------------------------

    def _claims(self, to: int) -> tuple[Claim, ...]:
        """What goes with every message: our own word, and what `to` ought to hear."""
        opinion = self.table.opinion(to, self.id)
        picked: list[Claim] = []
        if self.news:
            picked = self.news.pick(len(self.table.live) + 1, self.now)
        if opinion is None:
            return (self.own, *picked) if picked else (self.own,)
        return (self.own, opinion, *(each for each in picked if each.member != to))

    def _tell_news(self, out: list[Outgoing]) -> None:
        for member in sample(self.table.live, NEWS_MEMBERS, self.draw):
            if self.news:
                claims = self._claims(member)
                out.append((member, News(self.cluster_id, self.id, claims)))

    def _knock(self, out: list[Outgoing]) -> None:
        """One that can be reached and is not held to be alive: dead, or not known."""
        live = {self.id, *self.table.live}
        missing = [
            member
            for member in self.contacts
            if member not in live and rules.knocks_at(self.table.state_of(member))
        ]
        self._sync(sample(missing, 1, self.draw), out)

    def _sync(self, members: Iterable[int], out: list[Outgoing]) -> None:
        for member in members:
            out.append((member, self._table(member, answers=False)))

    def _table(self, to: int, *, answers: bool) -> Sync:
        claims = [self.own]
        claims += [record.claim for record in self.table.records.values()]
        if to not in self.table.records:
            opinion = self.table.opinion(to, self.id)
            claims += [] if opinion is None else [opinion]
        return Sync(self.cluster_id, self.id, answers, tuple(claims))

    # -- hearing -------------------------------------------------------------------

    def receive(self, sender: int, message: Message) -> list[Outgoing]:
        """`sender` is who stands at the other end. Raises GossipError."""
        if not rules.same_cluster(self.cluster_id, message.cluster_id):
            raise GossipError(f"gossip of cluster {message.cluster_id:016x}")
        if message.sender != sender:
            raise GossipError("gossip in another member's name")
        out: list[Outgoing] = []
        whole = isinstance(message, Sync)
        records = self.table.records
        for claim in message.claims:
            known = records.get(claim.member)
            if known is not None and known.claim is claim:
                continue
            if claim.member == self.id:
                self._hear_of_ourselves(claim)
            elif claim.member == sender:
                self._hear(claim, True)
            else:
                self._hear(self._from_table(claim) if whole else claim, False)
        match message:
            case Ping():
                claims = self._claims(sender)
                ack = Ack(self.cluster_id, self.id, message.number, self.id, claims)
                out.append((sender, ack))
            case Ack():
                self._acknowledged(sender, message, out)
            case PingRequest():
                self._ask_for(sender, message, out)
            case Nack():
                probe = self.probe
                if probe is not None and probe.number == message.number:
                    probe.nacks += 1
            case Sync() if not message.answers:
                out.append((sender, self._table(sender, answers=True)))
            case _:
                pass
        return out

    def _hear(self, claim: Claim, own_word: bool) -> None:
        if self.table.hear(claim, own_word, self.now):
            self.news.add(claim, self.now)

    def _from_table(self, claim: Claim) -> Claim:
        """A death that somebody's table tells of is asked about before it is held.

        The dead member stands for its own accuser then: however many tables say so,
        that is one accusation, and nobody's of today.
        """
        known = self.table.records.get(claim.member)
        state = rules.table_says(claim.state)
        if state is claim.state or known is None or not known.claim.live:
            return claim
        return Claim(
            claim.member,
            claim.incarnation,
            state,
            claim.member,
            claim.peer,
            claim.client,
            claim.version,
            claim.vitals,
        )

    def _hear_of_ourselves(self, claim: Claim) -> None:
        """Old lives are long over; what is said of this one is refuted."""
        if claim.incarnation < self.incarnation or self.state is State.LEFT:
            return
        elsewhere = claim.peer != self.own.peer
        if claim.state is State.ALIVE and elsewhere:
            # A copy of our data directory runs there, or somebody lies.
            self.counts.conflicts += 1
            return
        if claim.state is State.ALIVE and claim.incarnation == self.incarnation:
            return
        leap_is_fine = rules.is_believable(claim.incarnation, self.incarnation, False)
        if not leap_is_fine or claim.incarnation >= INCARNATION_MAX:
            self.counts.absurd += 1
            return
        if rules.refutes():
            self.counts.refutations += 1
            self.health.strained()
            self.incarnation = claim.incarnation + 1
            self.own = self._own_claim()
            self.news.add(self.own, self.now)

    def _acknowledged(self, sender: int, ack: Ack, out: list[Outgoing]) -> None:
        probe = self.probe
        if probe is not None and probe.number == ack.number:
            if ack.target == probe.target:
                self.probe = None
                self.health.eased()
            return
        wanted = self.relays.answered(ack.number, sender)
        if wanted is not None:
            origin, number = wanted
            claims = self._claims(origin)
            out.append((origin, Ack(self.cluster_id, self.id, number, sender, claims)))

    def _ask_for(self, sender: int, asked: PingRequest, out: list[Outgoing]) -> None:
        if asked.target == self.id:
            return
        ours = self._number()
        if self.relays.begin(ours, sender, asked.number, asked.target, self.now):
            self._ping(asked.target, ours, out)

    def _own_claim(self) -> Claim:
        identity = self.identity
        return Claim(
            self.id,
            self.incarnation,
            self.state,
            0,
            identity.peer,
            identity.client,
            identity.version,
            self.vitals,
        )
