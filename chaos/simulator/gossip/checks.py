"""What must hold of gossip, looked at whenever somebody's opinion of somebody changes.

Law: they know the truth (who runs, where, since when) and compare; they share no
arithmetic with the core but its numbers.
"""

from math import log
from typing import Final

from ....node.gossip import Change, Message, State, Sync
from ....node.gossip.limits import (
    CONFIRMATIONS,
    SUSPICION_MAX_MULT,
    TICKS_PER_SECOND,
    suspicion_ticks_min,
)
from .world import GossipWorld, Member

# So long after a pause, a start or a cut a member is not called healthy: others may
# still have to hear that it is back.
RECOVERY_TICKS: Final = 10 * TICKS_PER_SECOND


class Checks:
    """I-69 to I-71 for all members of one world, from now on."""

    def __init__(self, world: GossipWorld) -> None:
        self.world = world
        self.declared = 0
        self.suspected = 0
        world.changed = self.changed

    def changed(self, member: Member, change: Change) -> None:
        self.suspected += change.after is State.SUSPECT
        subject = self.world.members.get(change.member)
        if subject is None:
            self.world.fail("I-67", f"{change.member:x} is of another cluster")
            return
        self._nobody_raises_anothers_incarnation(member, subject)
        if change.after is State.DEAD:
            self.declared += 1
            self._no_healthy_member_is_held_dead(member, subject)

    def _nobody_raises_anothers_incarnation(self, by: Member, subject: Member) -> None:
        claim = by.gossip.claim_of(subject.id)
        if claim is not None and claim.incarnation > subject.gossip.incarnation:
            detail = f"{by.id:x} holds an incarnation that {subject.id:x} never had"
            self.world.fail("I-69", detail)

    def _no_healthy_member_is_held_dead(self, by: Member, subject: Member) -> None:
        troubled = self.world.now - subject.troubled_at < RECOVERY_TICKS
        if subject.up and not subject.paused and not troubled:
            detail = f"{by.id:x} holds {subject.id:x} to be dead, which is healthy"
            self.world.fail("I-71", detail)


class Accusations:
    """I-71: nobody is declared dead before his time, counting each accuser once."""

    def __init__(self, world: GossipWorld) -> None:
        self.world = world
        # Who accuses whom at which incarnation, as far as one member has heard.
        self.heard: dict[tuple[int, int, int], set[int]] = {}
        self.began: dict[tuple[int, int], int] = {}
        world.delivered = self.delivered

    def delivered(self, to: Member, message: Message) -> None:
        """An accuser counts as soon as it is heard; all tables of the dead are one."""
        for claim in message.claims:
            dead_by_table = claim.state is State.DEAD and isinstance(message, Sync)
            if claim.state is State.SUSPECT or dead_by_table:
                key = (to.id, claim.member, claim.incarnation)
                accuser = claim.member if dead_by_table else claim.accuser
                self.heard.setdefault(key, set()).add(accuser)

    def changed(self, member: Member, change: Change) -> None:
        place = (member.id, change.member)
        if change.after is State.SUSPECT:
            self.began[place] = self.world.now
            return
        claim = member.gossip.claim_of(change.member)
        if change.after is not State.DEAD or claim is None:
            return
        if claim.accuser == member.id and change.before is State.SUSPECT:
            accusers = self.heard.get((*place, claim.incarnation), set()) | {member.id}
            lasted = self.world.now - self.began[place]
            self._judge(member, change.member, len(accusers), lasted)

    def _judge(self, by: Member, subject: int, accusers: int, lasted: int) -> None:
        live = len(by.gossip.table.live) + 2
        least = suspicion_ticks_min(live)
        wanted = min(CONFIRMATIONS, live - 2)
        part = log(min(accusers, wanted + 1)) / log(wanted + 1) if wanted else 1
        # One tick, since ours and theirs may be rounded differently.
        due = least + least * (SUSPICION_MAX_MULT - 1) * (1 - part) - 1
        if lasted < due:
            given = f"{lasted} ticks for {accusers} accusers"
            self.world.fail("I-71", f"{by.id:x} gave {subject:x} {given}")
