"""Brings Raft's configuration to the members that are wished for, step by step.

Law: pure, and the leader's alone. What is wished for is in the log
(node/database/members), so whoever leads next goes on from there. New members learn
first; who shall vote does so once it has caught up (I-48); voters change by joint
consensus, and never to a set of whom no majority is heard. Gossip has no say (I-66).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from ...raft import Configuration
from ...raft.progress import REPLICATE
from ...wire import (
    Admit,
    Announce,
    Command,
    Decide,
    ErrorCode,
    MemberRole,
    Present,
    Raise,
    Reassign,
    RevokeCertificate,
    Understand,
)
from ..database.member_records import MemberRecord
from . import rules
from .caretaker import Caretaker
from .committed import Committed
from .offers import Offers
from .upgrades import Upgrades

if TYPE_CHECKING:
    from .core import Replica

AT_RISK: Final = "the voters that are left would have no majority that is heard"
STILL_COUNTS: Final = (
    "it counts as a voter until it is removed, and the others that are heard are no"
    " majority without it: remove it, or replace it, in the place of that"
)
VOTES_ALREADY: Final = (
    "who shall take the place votes already: demote or remove the other one"
)
GIVES_NO_PLACE: Final = (
    "a voter has no successor, and of a spare the caretaker alone names one: let the"
    " member leave, or be a replica"
)
NOT_ASKED: Final = "the caretaker decides by itself; tell it what is wanted"
NOT_RAISED_BY_CLIENTS: Final = "the leader raises the cluster's version by itself"
LOST_ITS_DATA: Final = (
    "this member has been here before and has lost its data; a new member needs a new"
    " folder"
)
NOT_SAID_BY_CLIENTS: Final = "members say this, each of itself; no client does"
_SAID_BY_MEMBERS: Final = (Admit, Announce, Present, Understand)
# What is refused, if at all, before it is in any log.
REFUSED: Final = (Reassign, Decide, RevokeCertificate, Raise, *_SAID_BY_MEMBERS)


class Wish(NamedTuple):
    """The members that Raft should have now."""

    voters: tuple[int, ...]
    learners: tuple[int, ...]


def wish(
    current: Configuration,
    members: Mapping[int, MemberRecord],
    gone: Collection[int],
    ready: Collection[int],
) -> Wish:
    """What `current` should become next; `ready` are learners that have caught up."""
    votes = {
        voter
        for voter in current.voters
        if voter not in gone and _stays(voter, current, members, ready)
    }
    votes |= {
        member
        for member in current.learners
        if member in ready and _shall_vote(members.get(member))
    }
    learns = {
        member
        for member, record in members.items()
        if member not in votes and record.role is not MemberRole.LEAVING
    }
    # Nobody has said yet what it shall be.
    learns |= {m for m in current.learners if m not in members and m not in gone}
    return Wish(tuple(sorted(votes)), tuple(sorted(learns - votes)))


def _stays(
    voter: int,
    current: Configuration,
    members: Mapping[int, MemberRecord],
    ready: Collection[int],
) -> bool:
    record = members.get(voter)
    if record is None or record.role is MemberRole.VOTER:
        return True
    heir = record.successor
    return (
        bool(heir)
        and heir in members
        and heir not in ready
        and (not current.is_voter(heir))
    )


def _shall_vote(record: MemberRecord | None) -> bool:
    return record is not None and record.role is MemberRole.VOTER


class Steward:
    """Of one replica. `waits_for` says, for people, why nothing moves."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.waits_for = ""
        self.caretaker = Caretaker(replica)
        self.upgrades = Upgrades(replica)
        self._committed = Committed()
        self._heard: dict[int, int] = {}
        # Whose revocation was let into the log, and at which tick.
        self._revoking: dict[int, int] = {}
        self.offers = Offers(replica)

    def tick(self) -> None:
        """Of a leader, now and then."""
        replica = self.replica
        raft, table = replica.raft, replica.database.member_table
        if not table.members or replica.healing.damage is not None:
            return
        self._listen()
        self.caretaker.tick()
        self.upgrades.tick()
        index, current = raft.configurations[-1]
        if current.joint or index > replica.database.applied_index:
            return
        if not self.caretaker.settled:
            # It may name another heir than whoever would be promoted now.
            return
        ready = [
            member
            for member in current.learners
            if self.caught_up(member) and not self.caretaker.holds(member)
        ]
        wanted = wish(current, table.members, table.gone, ready)
        self.waits_for = self._reason(current, ready)
        if (wanted.voters, wanted.learners) == (current.voters, current.learners):
            return
        voters = self._next_voters(current.voters, wanted.voters)
        if raft.id not in voters:
            # Whoever leads next makes the change: nobody waits for an election.
            self._hand_over(voters)
            return
        learners = {*wanted.voters, *wanted.learners}.difference(voters)
        raft.change_configuration(voters, sorted(learners))

    def _next_voters(
        self, current: tuple[int, ...], wanted: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Those of the next step; where it has to wait, others go on learning."""
        own = self.replica.raft.id
        if wanted and own not in wanted and not self.heir(wanted):
            # None of them could take over yet: they vote beside this one first.
            wanted = tuple(sorted({*wanted, own}))
        if wanted and self.safe(current, wanted):
            return wanted
        self.waits_for = "no majority of the new voters is heard"
        return current

    def _listen(self) -> None:
        replica = self.replica
        progress = replica.raft.progress
        for member in list(self._heard):
            if member not in progress:
                del self._heard[member]
        for member, each in progress.items():
            if each.active and each.heard:
                self._heard[member] = replica.ticks
        raft = replica.raft
        patience = raft.options.election_timeout_ticks
        self._committed.took(raft.term, replica.ticks, raft.log.commit_index, patience)

    def heard(self, member: int) -> bool:
        """Has it answered within the last two election timeouts, or is it this one?"""
        replica = self.replica
        progress = replica.raft.progress.get(member)
        patience = 2 * replica.raft.options.election_timeout_ticks
        revoked = member in replica.database.member_table.trust.members
        asked = self._revoking.get(member)
        if revoked or (asked is not None and replica.ticks - asked <= patience):
            # As good as dead, also while what it has said is not long ago.
            return False
        if progress is None:
            return member == replica.raft.id
        at = self._heard.get(member)
        recently = at is not None and replica.ticks - at <= patience
        return recently or (progress.active and progress.heard)

    def caught_up(self, member: int) -> bool:
        """Has it all that was committed an election timeout ago?"""
        raft = self.replica.raft
        progress = raft.progress.get(member)
        if progress is None or not self.heard(member):
            return False
        replicates = progress.state == REPLICATE
        needed = self._committed.needed(raft.log.commit_index)
        return rules.may_be_promoted(replicates, progress.match_index, needed)

    def safe(self, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
        """May the voters be `after`? What only goes on as it is always may."""
        alive = sum(self.heard(voter) for voter in after)
        return before == after or rules.quorum_is_heard(alive, len(after))

    def refusal(self, command: Command, *, own: bool) -> tuple[ErrorCode, str] | None:
        """Why it is not taken from a client, or from a member (`own`)."""
        if not isinstance(command, REFUSED):
            return None
        if isinstance(command, Decide):
            return ErrorCode.INVALID_REQUEST, NOT_ASKED
        if isinstance(command, Raise):
            return ErrorCode.INVALID_REQUEST, NOT_RAISED_BY_CLIENTS
        if isinstance(command, _SAID_BY_MEMBERS) and not own:
            return ErrorCode.INVALID_REQUEST, NOT_SAID_BY_CLIENTS
        if isinstance(command, Admit) and rules.has_lost_its_data(
            self._has_answered(command.member)
        ):
            # Whoever signs may never have met it.
            return ErrorCode.MEMBER_EXISTS, LOST_ITS_DATA
        if isinstance(command, _SAID_BY_MEMBERS):
            return None
        if isinstance(command, Reassign):
            return self._refuses(command)
        if command.member:
            if self._is_cut_off_without(command.member):
                return ErrorCode.QUORUM_AT_RISK, STILL_COUNTS
            if self.replica.raft.configuration.is_voter(command.member):
                self._revoking[command.member] = self.replica.ticks
        return None

    def _has_answered(self, member: int) -> bool:
        """Does this leader know that it has kept something of the log?"""
        progress = self.replica.raft.progress.get(member)
        return progress is not None and progress.match_index > 0

    def _refuses(self, command: Reassign) -> tuple[ErrorCode, str] | None:
        """Would a vote be taken away that the others can't do without?

        Asked when somebody wishes for it, so that he is told; asked again when it is
        done. Who is replaced keeps its vote until its successor has one, so that a
        successor who votes already would be one vote less.
        """
        heir, members = command.successor, self.replica.database.member_table.members
        if heir and command.role not in (MemberRole.LEAVING, MemberRole.REPLICA):
            # As the caretaker's own wish it would be undone, or wait for a silence.
            return ErrorCode.INVALID_REQUEST, GIVES_NO_PLACE
        votes = heir and self.replica.raft.configuration.is_voter(heir)
        record = members.get(command.member)
        # The same wish again is still the same wish; what is right of one that has come
        # true is in the log alone, as is what a follower has yet to hear.
        fresh = record is not None and record.successor != heir
        if votes and fresh and self.replica.leading and _shall_vote(members.get(heir)):
            return ErrorCode.INVALID_REQUEST, VOTES_ALREADY
        if command.role is MemberRole.VOTER or (heir and not votes):
            return None
        if self._needs(command.member):
            return ErrorCode.QUORUM_AT_RISK, AT_RISK
        return None

    def _needs(self, member: int) -> bool:
        """Are the other voters too few to go on without this one?"""
        current = self.replica.raft.configuration
        if not self.replica.leading or member not in current.voters:
            return False
        after = tuple(voter for voter in current.voters if voter != member)
        return bool(after) and not self.safe(current.voters, after)

    def _is_cut_off_without(self, member: int) -> bool:
        """Would no majority be heard if this one were refused, and still counted?

        A revoked member is a voter until it is removed, and nothing can be written
        down, its removal neither, once the others are too few.
        """
        current = self.replica.raft.configuration
        if not self.replica.leading or not current.is_voter(member):
            return False
        return any(
            not rules.quorum_is_heard(
                sum(voter != member and self.heard(voter) for voter in group),
                len(group),
            )
            for group in filter(None, (current.voters, current.outgoing))
        )

    def heir(self, among: Iterable[int]) -> int:
        """Of other voters the one that is heard and furthest; 0: there is none."""
        raft = self.replica.raft
        heard = [
            (raft.progress[member].match_index, member)
            for member in among
            if member != raft.id
            and raft.configuration.is_voter(member)
            and self.heard(member)
        ]
        return max(heard, default=(0, 0))[1]

    def _hand_over(self, voters: tuple[int, ...]) -> None:
        """To one after the other."""
        if self.replica.raft.transferee:
            return
        heir = self.heir(self.offers.rested(voters))
        if heir:
            self.offers.make(heir)

    def _reason(self, current: Configuration, ready: Collection[int]) -> str:
        members = self.replica.database.member_table.members
        behind = [
            members[member].name
            for member in current.learners
            if _shall_vote(members.get(member))
            and member not in ready
            and not self.caretaker.holds(member)
        ]
        return f"{', '.join(behind)} has yet to catch up" if behind else ""
