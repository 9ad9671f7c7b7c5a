"""Keeps the wanted number of voters, by wishes that nobody had to ask for.

Law: pure, and the leader's alone. It writes wishes to the log, with their reasons, and
the steward carries them out: nothing here touches Raft's configuration. It counts in
ticks, since this leader leads: a new one begins anew. It believes only what answers to
this leader as its followers do, never gossip (I-66). It takes no vote without giving
one (docs/decisions/0023).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from ...raft import Configuration
from ...wire import Action, Decide, MemberRole, encode_member_command
from ..database import rules as database_rules
from ..database.caretaking import CaretakerRecord
from ..database.member_records import MemberRecord
from . import rules
from .lateness import Lateness

if TYPE_CHECKING:
    from .core import Replica

# How long somebody leads before it changes anything.
SETTLE_MS: Final = 5_000
# The leadership does not move away from a late loop more often: if all are late, it is
# the machines.
REST_MS: Final = 300_000
# How long it waits before it wishes for something else, whatever became of the last.
AGAIN_MS: Final = 1_000
_NEVER: Final = -1


class Sight(NamedTuple):
    """What a leader knows when it decides. The times are its own, since it leads.

    `silent_ms` and `steady_ms` (heard without a break) are of all members but itself.
    """

    own: int
    led_ms: int
    configuration: Configuration
    members: Mapping[int, MemberRecord]
    told: CaretakerRecord
    heard: Collection[int]
    caught_up: Collection[int]
    silent_ms: Mapping[int, int]
    steady_ms: Mapping[int, int]

    def name(self, member: int) -> str:
        known = self.members.get(member)
        return f"{member:016x}" if known is None else known.name

    def role(self, member: int) -> MemberRole | None:
        """A voter of whom nobody has said anything shall go on."""
        known = self.members.get(member)
        return MemberRole.VOTER if known is None else known.role

    def silence(self, member: int) -> int:
        return self.silent_ms.get(member, 0)

    def silent(self, member: int) -> bool:
        """For so long that it shall be replaced?"""
        return rules.silent_too_long(self.silence(member), self.told.silence_ms)

    def stable(self, member: int) -> bool:
        steady_ms = self.steady_ms.get(member, 0)
        return rules.stable_for_long(steady_ms, self.told.stable_ms)

    def spares(self) -> Iterator[int]:
        """Learners that vote when they are needed, and take nobody's place yet."""
        for member in self.configuration.learners:
            if database_rules.is_a_spare(self.role(member)):
                yield member

    def healthy_spares(self) -> list[int]:
        """The steadiest first."""
        found = [m for m in self.spares() if m in self.caught_up and self.stable(m)]
        return sorted(found, key=lambda m: (-self.steady_ms.get(m, 0), m))


def decide(sight: Sight) -> Decide | str:
    """What shall be done now, or else what is waited for: "" is nothing."""
    need = _needed(sight)
    if isinstance(need, Decide) and not rules.has_settled(sight.led_ms, SETTLE_MS):
        return f"nothing is changed in the first {SETTLE_MS // 1000} s of a leader"
    return need


def _needed(sight: Sight) -> Decide | str:
    current = sight.configuration
    for member, record in sight.members.items():
        replaced = database_rules.is_a_spare(record.role) and record.successor
        if replaced and current.is_voter(member):
            return _go_on(sight, member, record.successor)
    gone = [voter for voter in current.voters if sight.silent(voter)]
    few = rules.more_are_wanted(len(current.voters), sight.told.voters)
    if not gone and not few:
        return _worries(sight)
    before = _under_way(sight)
    if not rules.one_at_a_time(before):
        return before
    if gone:
        return _replace(sight, max(gone, key=sight.silence), "")
    return _promote(sight)


def _worries(sight: Sight) -> str:
    """Who may have to be replaced soon."""
    after = sight.told.silence_ms / 1000
    lost = [sight.name(m) for m in sight.configuration.voters if m not in sight.heard]
    if not lost:
        return ""
    provided = "" if sight.healthy_spares() else ", if there is a healthy spare by then"
    return f"{', '.join(lost)} not heard: replaced after {after:g} s{provided}"


def _under_way(sight: Sight) -> str:
    """Another wish that has to come true first, or ""."""
    current = sight.configuration
    for member, record in sight.members.items():
        name, votes = record.name, current.is_voter(member)
        if record.role is MemberRole.LEAVING:
            return f"{name} has to leave first"
        if votes and record.role is not MemberRole.VOTER:
            return f"{name} has to lose its vote first"
        if member not in current.members():
            return f"{name} has to join first"
        if member in sight.caught_up and record.role is MemberRole.VOTER:
            return f"{name} has to vote first"
    return ""


def _replace(sight: Sight, member: int, before: str) -> Decide | str:
    """Let a spare vote in its place. `before`: what is waited for if there is none."""
    lost = f"{sight.name(member)} not heard for {sight.silence(member) // 1000} s"
    others = [voter for voter in sight.configuration.voters if voter != member]
    heard = sum(voter in sight.heard for voter in others)
    if not rules.others_go_on(heard, len(others)):
        return f"{sight.name(member)} not heard, and no majority of the others either"
    spares = sight.healthy_spares()
    if not spares:
        return before or f"{sight.name(member)} not heard, and {_no_spare(sight)}"
    reason = f"{lost}, replaced by {sight.name(spares[0])}"
    return Decide(Action.REPLACE, member, spares[0], reason)


def _promote(sight: Sight) -> Decide | str:
    voters, wanted = len(sight.configuration.voters), sight.told.voters
    for member in sight.configuration.learners:
        if sight.role(member) is MemberRole.VOTER and not sight.silent(member):
            return f"{voters} of {wanted} voters, and {sight.name(member)} is to vote"
    spares = sight.healthy_spares()
    if not spares:
        return f"{voters} of {wanted} voters, and {_no_spare(sight)}"
    if not rules.bears_more_losses(voters, len(spares)):
        # An even number bears no more losses than the odd one below it.
        return f"{voters} of {wanted} voters: for two more, two healthy spares"
    heard = sum(voter in sight.heard for voter in sight.configuration.voters) + 1
    if not rules.quorum_is_heard(heard, voters + 1):
        return f"{voters} of {wanted} voters, and no majority of them is heard"
    reason = f"{sight.name(spares[0])} votes: there were {voters} of {wanted} voters"
    return Decide(Action.PROMOTE, spares[0], 0, reason)


def _go_on(sight: Sight, member: int, heir: int) -> Decide | str:
    """`heir` is to take a place: let it, or change that if all is different now."""
    name, taker = sight.name(member), sight.name(heir)
    if not sight.silent(member):
        if member == sight.own or sight.stable(member):
            reason = f"{name} is heard again and keeps its vote"
            return Decide(Action.KEEP, member, 0, reason)
        return (
            f"{name} is heard, or has yet to be silent for long, before {taker} votes"
        )
    if heir in sight.caught_up:
        return f"{taker} takes the place of {name}"
    return _replace(sight, member, f"{taker} has yet to catch up, to replace {name}")


def _no_spare(sight: Sight) -> str:
    return "; ".join(["no healthy spare", *_ailing(sight)])


def _ailing(sight: Sight) -> Iterator[str]:
    """What is wrong with each spare that there is."""
    for member in sight.spares():
        name = sight.name(member)
        if member not in sight.heard:
            yield f"{name} is not heard"
        elif not sight.stable(member):
            yield f"{name} has yet to be heard for {sight.told.stable_ms / 1000:g} s"
        elif member not in sight.caught_up:
            yield f"{name} has yet to catch up"


class _Ear:
    """When somebody was heard last, and since when without a break; in ticks."""

    __slots__ = ("heard", "steady")

    def __init__(self, now: int) -> None:
        self.heard = now
        self.steady = _NEVER


class Caretaker:
    """Of one replica. `waits_for` says, for people, why it does nothing."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.waits_for = ""
        self.lateness = Lateness()
        self.ears: dict[int, _Ear] = {}
        self._term = 0
        self._since = 0
        # Its last proposal: where that is in the log, and when it was made.
        self._proposed = 0
        self._proposed_at = 0
        # Is it to hand over, as everybody knows? Has it tried that, and leads still?
        self._moving = False
        self._tried = False

    def late(self, late_ms: int) -> None:
        """The shell's loop was late by so much in this turn."""
        replica = self.replica
        bound_ms = replica.database.member_table.caretaker.lag_ms
        self.lateness.took(replica.now_ms, late_ms, bound_ms)

    def tick(self) -> None:
        """Of a leader, now and then."""
        if self.replica.raft.term != self._term:
            self._begin()
        self._listen()
        self.waits_for = self._care()

    def _begin(self) -> None:
        """It has begun to lead: what it counted when it led before is too old."""
        self._term = self.replica.raft.term
        self._since = self.replica.ticks
        self._proposed = 0
        self._proposed_at = self._since
        self._moves_no_more()
        self.waits_for = ""
        self.ears.clear()
        self.lateness.forget()

    def _moves_no_more(self) -> None:
        self._moving = self._tried = False

    def _listen(self) -> None:
        replica = self.replica
        now, progress = replica.ticks, replica.raft.progress
        for member in list(self.ears):
            if member not in progress:
                del self.ears[member]
        patience = replica.raft.options.election_timeout_ticks
        for member, each in progress.items():
            ear = self.ears.setdefault(member, _Ear(now))
            if each.active and each.heard:
                ear.heard = now
                if ear.steady == _NEVER:
                    ear.steady = now
            elif not each.heard or now - ear.heard > patience:
                # The link broke, or nothing came for too long.
                ear.steady = _NEVER

    def silent_ms(self, member: int) -> int:
        """How long it was not heard, since this one leads."""
        ear = self.ears.get(member)
        return 0 if ear is None else self._passed_ms(ear.heard)

    def _passed_ms(self, since: int) -> int:
        return (self.replica.ticks - since) * self.replica.options.tick_ms

    def holds(self, heir: int) -> bool:
        """May this learner, which has caught up, not yet take the place that it shall?

        Who decided may have led before: only a leader that has not heard the old voter
        for all of the time itself lets it go. One that votes no more gives none up.
        """
        table = self.replica.database.member_table
        told, current = table.caretaker, self.replica.raft.configuration
        return any(
            record.successor == heir
            and database_rules.is_a_spare(record.role)
            and current.is_voter(member)
            and not (
                database_rules.caretaker_may_act(told.paused)
                and rules.silent_too_long(self.silent_ms(member), told.silence_ms)
            )
            for member, record in table.members.items()
        )

    # -- deciding ------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Is all that it has decided applied?"""
        return self.replica.database.applied_index >= self._proposed

    def _care(self) -> str:
        replica = self.replica
        raft, database = replica.raft, replica.database
        told = database.member_table.caretaker
        if not database_rules.caretaker_may_act(told.paused):
            # What it had begun is not gone on with when the pause is over.
            self._moves_no_more()
            return ""
        if raft.transferee or raft.barred or not self.settled:
            return self.waits_for
        if not rules.leads_for_sure(raft.log.term(raft.log.commit_index), raft.term):
            return "nothing of its term is committed yet"
        index, current = raft.configurations[-1]
        if not rules.voters_are_settled(current.joint, index, database.applied_index):
            return "the voters are changing"
        if self._moving:
            self._move()
            return self.waits_for
        found = self._found()
        if isinstance(found, str):
            return found
        again = self._passed_ms(self._proposed_at) >= AGAIN_MS
        if again and replica.propose(encode_member_command(found)):
            self._proposed, self._proposed_at = raft.log.last_index, replica.ticks
            self._moving = found.action is Action.MOVE_LEADER
        return ""

    def _found(self) -> Decide | str:
        found = decide(self.sight())
        if not self.lateness.for_long():
            return found
        fled = self._flee()
        if isinstance(fled, str) and isinstance(found, str):
            return "; ".join(filter(None, (fled, found)))
        return fled if isinstance(fled, Decide) else found

    def sight(self) -> Sight:
        """What it knows now."""
        replica, steward = self.replica, self.replica.steward
        current, table = replica.raft.configuration, replica.database.member_table
        tick_ms = replica.options.tick_ms
        steady_ms = {
            # Up to when it was heard last: what follows may be the next break.
            member: (ear.heard - ear.steady) * tick_ms
            for member, ear in self.ears.items()
            if ear.steady != _NEVER
        }
        return Sight(
            replica.raft.id,
            self._passed_ms(self._since),
            current,
            table.members,
            table.caretaker,
            [member for member in current.members() if steward.heard(member)],
            [member for member in current.learners if steward.caught_up(member)],
            {member: self.silent_ms(member) for member in self.ears},
            steady_ms,
        )

    # -- away from a late loop -----------------------------------------------------

    def _flee(self) -> Decide | str:
        """Let somebody else lead: this one's loop is late all the time."""
        raft = self.replica.raft
        late = f"the loop of {self._name(raft.id)} is late"
        if self._tried:
            self._move()
            return f"{late}, and nobody has taken over yet"
        if not rules.may_move_again(self._moved_ms(), REST_MS):
            minutes = REST_MS // 60_000
            return f"{late}, but the leader was moved in the last {minutes} minutes"
        if not rules.has_settled(self._passed_ms(self._since), SETTLE_MS):
            return f"{late}, but it leads for less than {SETTLE_MS // 1000} s"
        heir = self._heir()
        if not heir:
            return f"{late}, but no other voter is heard and caught up"
        reason = (
            f"{late}, by up to {self.lateness.most_ms} ms: {self._name(heir)} leads"
        )
        return Decide(Action.MOVE_LEADER, raft.id, 0, reason)

    def _move(self) -> None:
        """Everybody knows that it moves, so that nobody moves it back at once."""
        self._moving, self._tried = False, True
        self.lateness.forget()
        heir = self._heir()
        if heir:
            self.replica.steward.offers.make(heir)

    def _heir(self) -> int:
        """Somebody else than those that were asked lately, if there is one."""
        steward = self.replica.steward
        voters = self.replica.raft.configuration.voters
        able = [member for member in voters if steward.caught_up(member)]
        return steward.heir(steward.offers.longest_ago(able))

    def _moved_ms(self) -> int | None:
        """How long ago, in cluster time, the leadership fled; None: it did not."""
        replica = self.replica
        decisions = replica.database.member_table.caretaker.decisions
        times = [d.at_ms for d in decisions if d.action is Action.MOVE_LEADER]
        return replica.cluster_time_ms() - times[-1] if times else None

    def _name(self, member: int) -> str:
        known = self.replica.database.member_table.members.get(member)
        return f"{member:016x}" if known is None else known.name
