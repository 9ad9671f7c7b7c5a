"""What this member holds of the others: one record each, tombstones, graves.

Law: bounded. A record changes only by a claim that outranks it, so what tables hold
depends on what was heard and not on its order; a live record never takes another
address from hearsay (I-72), and what was buried does not rise by old news (I-70).
"""

from typing import Final, NamedTuple

import msgspec

from . import rules
from .limits import GRAVES_MAX, INCARNATION_MAX, MEMBERS_MAX, TOMBSTONE_TICKS
from .messages import Claim, State, Vitals
from .suspicion import Suspicion

_UNKNOWN: Final = Vitals(0, 0, 0, 0)


class Counts(msgspec.Struct):
    """What has happened here, since the start."""

    probes: int = 0
    probes_failed: int = 0
    suspicions: int = 0
    deaths: int = 0
    refutations: int = 0
    conflicts: int = 0
    absurd: int = 0
    full: int = 0


class Change(NamedTuple):
    """A member's state became another one here; None: it was not known."""

    member: int
    before: State | None
    after: State


class Record:
    """The claim about one member, and since which tick its state is this one."""

    __slots__ = ("claim", "since", "suspicion")

    def __init__(self, claim: Claim, since: int) -> None:
        self.claim = claim
        self.since = since
        self.suspicion: Suspicion | None = None


class Table:
    """The others, as one member holds them."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.records: dict[int, Record] = {}
        # Those that were forgotten as dead or left, by their last incarnation.
        self.graves: dict[int, tuple[int, State]] = {}
        self.changes: list[Change] = []
        # The live ones, this member not among them.
        self.live: list[int] = []
        self.suspects: list[int] = []

    def state_of(self, member: int) -> State | None:
        """None: nothing is known of it."""
        known = self.records.get(member)
        if known is not None:
            return known.claim.state
        grave = self.graves.get(member)
        return None if grave is None else grave[1]

    def opinion(self, member: int, accuser: int) -> Claim | None:
        """What it should hear of itself, if it is not well thought of here."""
        known = self.records.get(member)
        if known is not None:
            return None if known.claim.state is State.ALIVE else known.claim
        grave = self.graves.get(member)
        if grave is None or grave[0] >= INCARNATION_MAX:
            return None
        return Claim(member, grave[0], State.DEAD, accuser, "", "", "", _UNKNOWN)

    # -- hearing -------------------------------------------------------------------

    def hear(self, claim: Claim, own_word: bool, now: int) -> bool:
        """Take a claim about another member; True when it is news to pass on."""
        known = self.records.get(claim.member)
        if known is None:
            return self._first_heard(claim, own_word, now)
        held = known.claim
        rank = (claim.incarnation, claim.state)
        if rules.outranks(rank, (held.incarnation, held.state)):
            return self._outranked(known, claim, own_word, now)
        if claim.incarnation == held.incarnation:
            return self._heard_again(known, claim)
        return False

    def _first_heard(self, claim: Claim, own_word: bool, now: int) -> bool:
        buried = self.graves.get(claim.member)
        if buried is not None and not rules.rises(claim.incarnation, buried[0]):
            return False
        known = buried[0] if buried is not None else 0
        if not rules.is_believable(claim.incarnation, known, own_word):
            self.counts.absurd += 1
            return False
        if len(self.records) >= MEMBERS_MAX and not self._bury_oldest():
            self.counts.full += 1
            return False
        self.graves.pop(claim.member, None)
        self.records[claim.member] = record = Record(claim, now)
        self._changed(record, None, now)
        return True

    def _outranked(self, known: Record, claim: Claim, own_word: bool, now: int) -> bool:
        held = known.claim
        if not rules.is_believable(claim.incarnation, held.incarnation, own_word):
            self.counts.absurd += 1
            return False
        if claim.peer != held.peer and not rules.may_move(held.live, own_word):
            self.counts.conflicts += 1
            return False
        known.claim = _with_newest_vitals(claim, held)
        self._changed(known, held.state, now)
        return True

    def _heard_again(self, known: Record, claim: Claim) -> bool:
        """The same incarnation: perhaps newer vitals, or one more accuser."""
        held = known.claim
        if claim.peer != held.peer:
            self.counts.conflicts += 1
            return False
        if claim.vitals.beat > held.vitals.beat:
            same = claim.state is held.state
            known.claim = claim if same else _with_newest_vitals(held, claim)
        accuses = claim.state is State.SUSPECT and known.suspicion is not None
        return accuses and self.confirms(known, claim.accuser)

    def confirms(self, known: Record, accuser: int) -> bool:
        assert known.suspicion is not None
        return known.suspicion.confirm(accuser)

    def _changed(self, record: Record, before: State | None, now: int) -> None:
        claim = record.claim
        record.since = now
        record.suspicion = None
        member = claim.member
        was_live = before is not None and before <= State.SUSPECT
        if claim.live and not was_live:
            self.live.append(member)
        elif was_live and not claim.live:
            self.live.remove(member)
        if before is State.SUSPECT:
            self.suspects.remove(member)
        if claim.state is State.SUSPECT:
            self.suspects.append(member)
            live = len(self.live) + 1
            record.suspicion = Suspicion(now, claim.accuser, live)
        if claim.state is not before:
            self.changes.append(Change(member, before, claim.state))

    # -- forgetting ----------------------------------------------------------------

    def bury(self, now: int) -> None:
        """Forget those that have been dead, or away, for long enough."""
        if len(self.live) == len(self.records):
            return
        over = [
            member
            for member, record in self.records.items()
            if not record.claim.live
            and rules.tombstone_is_over(now - record.since, TOMBSTONE_TICKS)
        ]
        for member in over:
            self._bury(member)

    def _bury_oldest(self) -> bool:
        dead = [(r.since, m) for m, r in self.records.items() if not r.claim.live]
        if not dead:
            return False
        self._bury(min(dead)[1])
        return True

    def _bury(self, member: int) -> None:
        claim = self.records.pop(member).claim
        self._dig(member, claim.incarnation, claim.state)

    def _dig(self, member: int, incarnation: int, state: State) -> None:
        self.graves.pop(member, None)
        if len(self.graves) >= GRAVES_MAX:
            del self.graves[next(iter(self.graves))]
        self.graves[member] = (incarnation, state)

    def remove(self, member: int) -> None:
        """It has left the cluster for ever: nothing is heard about it any more."""
        record = self.records.pop(member, None)
        if record is not None and record.claim.live:
            self.live.remove(member)
        if record is not None and record.claim.state is State.SUSPECT:
            self.suspects.remove(member)
        self._dig(member, INCARNATION_MAX, State.LEFT)


def _with_newest_vitals(claim: Claim, other: Claim) -> Claim:
    """`claim`, with the vitals of `other` where those are newer ones of one life."""
    same_life = claim.incarnation == other.incarnation
    if not same_life or claim.vitals.beat >= other.vitals.beat:
        return claim
    return Claim(
        claim.member,
        claim.incarnation,
        claim.state,
        claim.accuser,
        claim.peer,
        claim.client,
        claim.version,
        other.vitals,
    )
