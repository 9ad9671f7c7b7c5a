"""What operators do to the members while everything else goes wrong.

Law: each function asks for one thing and counts it when there was something to ask for.
What is refused is an outcome like any other. Their targets are taken from what the log
says of members at that moment.
"""

from collections.abc import Sequence
from random import Random

from ....raft import Raft
from ....wire import ErrorCode, MemberRole
from ..membership import VOTERS_MAX, Membership
from ..node import Node
from ..world import MILLISECOND
from .ground import Ground
from .plan import LEADER, Fault

_VOTER, _REPLICA = MemberRole.VOTER, MemberRole.REPLICA
_LEAVING = MemberRole.LEAVING
# So many milliseconds a hasty operator waits for the next leader.
_LOOKS = 2000
_KNOWN = 0.5


def _of(ground: Ground) -> Membership:
    assert ground.membership is not None, "only where members change"
    return ground.membership


# -- one wish at a time -----------------------------------------------------------


def add_voter(ground: Ground, fault: Fault, dice: Random) -> None:
    """Somebody new comes, and shall vote."""
    del dice
    if _wished(ground, _VOTER) < VOTERS_MAX and _of(ground).join(_VOTER):
        ground.acts(fault.kind)


def add_replica(ground: Ground, fault: Fault, dice: Random) -> None:
    """Somebody new comes, to learn."""
    del dice
    if _of(ground).join(_REPLICA):
        ground.acts(fault.kind)


def promote(ground: Ground, fault: Fault, dice: Random) -> None:
    """A replica shall vote, ready or not."""
    replicas = _with(ground, _REPLICA)
    if replicas and _wished(ground, _VOTER) < VOTERS_MAX:
        ground.acts(fault.kind)
        _of(ground).operators.reassign(dice.choice(replicas), _VOTER)


def demote(ground: Ground, fault: Fault, dice: Random) -> None:
    """A voter shall only learn from now on."""
    member = _voter(ground, fault, dice)
    if member:
        ground.acts(fault.kind)
        _of(ground).operators.reassign(member, _REPLICA)


def remove(ground: Ground, fault: Fault, dice: Random) -> None:
    """A member shall go, the leader perhaps."""
    member = _voter(ground, fault, dice)
    replicas = _with(ground, _REPLICA)
    if fault.target != LEADER and replicas and dice.random() < 0.5:
        member = dice.choice(replicas)
    if member:
        ground.acts(fault.kind)
        _of(ground).operators.reassign(member, _LEAVING)


def replace(ground: Ground, fault: Fault, dice: Random) -> None:
    """Another member takes a voter's place: one that is there, or a new one."""
    member = _voter(ground, fault, dice)
    if member:
        _succeed(ground, fault, member, dice)


def move_leader(ground: Ground, fault: Fault, dice: Random) -> None:
    """The leadership goes to who is furthest, as `quorate move-leader` has it."""
    leader = ground.acting_leader(dice)
    if leader is None or leader.replica is None:
        return
    heir = leader.replica.steward.heir(leader.raft.configuration.voters)
    if heir:
        ground.acts(fault.kind)
        leader.transfer_leadership(heir)


# -- several at once --------------------------------------------------------------


def grow(ground: Ground, fault: Fault, dice: Random) -> None:
    """Two voters more, at the same time."""
    membership = _of(ground)
    for _ in range(min(2, VOTERS_MAX - _wished(ground, _VOTER))):
        replicas = _with(ground, _REPLICA)
        if membership.join(_VOTER):
            ground.acts(fault.kind)
        elif replicas:
            ground.acts(fault.kind)
            membership.operators.reassign(dice.choice(replicas), _VOTER)


def shrink(ground: Ground, fault: Fault, dice: Random) -> None:
    """From seven or five voters to three, or to one, in one go."""
    membership = _of(ground)
    left = 1 if fault.strength == 2 else 3
    voters = _with(ground, _VOTER)
    dice.shuffle(voters)
    for member in [m for m in voters if m not in membership.kept][left:]:
        ground.acts(fault.kind)
        role = dice.choice((_REPLICA, _LEAVING))
        membership.operators.reassign(member, role)


def two_operators(ground: Ground, fault: Fault, dice: Random) -> None:
    """Two people ask for different things at once, through different nodes."""
    first, second = _voter(ground, fault, dice), _voter(ground, fault, dice)
    if not first or not second:
        return
    ground.acts(fault.kind)
    operators = _of(ground).operators
    operators.reassign(first, dice.choice((_REPLICA, _LEAVING)))
    operators.reassign(second, dice.choice((_REPLICA, _VOTER)))


# -- members that are lost, or gone ----------------------------------------------


def wipe(ground: Ground, fault: Fault, dice: Random) -> None:
    """A disk is lost. Under its old id it does not come back; another one comes."""
    membership = _of(ground)
    nodes = [n for n in ground.nodes if n.up and membership.may_be_lost(n)]
    # Only those who were let in could ask for it once more with the key that they had.
    known = [n for n in nodes if n.member not in membership.first.members()]
    node = ground.choose(fault, dice)[0]
    if known and dice.random() < _KNOWN:
        node = dice.choice(known)
    if node not in nodes:
        return

    def lost() -> None:
        ground.acts(fault.kind)
        membership.ask_again(node)
        _succeed(ground, fault, node.member, dice)

    membership.lose(node, lost)


def return_removed(ground: Ground, fault: Fault, dice: Random) -> None:
    """One that has left is started again, and asks to be let in as who it was."""
    membership = _of(ground)
    gone = [n for n in ground.nodes if n.member in membership.model.gone and n.boots]
    gone = [n for n in gone if n.member not in membership.wiped]
    if not gone:
        return
    ground.acts(fault.kind)
    node = dice.choice(gone)
    membership.starts(node)

    def let_in(code: ErrorCode | None) -> None:
        if code is None:
            membership.starts(node)

    membership.operators.let_in(node.member, _REPLICA, let_in)


# -- past the steward -------------------------------------------------------------


def hasty(ground: Ground, fault: Fault, dice: Random) -> None:
    """The leader's Raft is asked for changes, one right after the other.

    No shell does that: its own rules have to hold without the steward's patience. What
    is changed is not what the log wishes for, so the steward changes it back. With
    strength 1 it is the next leader, in the moment in which it is elected.
    """
    leader = ground.acting_leader(dice)
    if leader is None or leader.paused:
        return
    if fault.strength != 1:
        _hurry(ground, fault, leader, dice)
        return
    term = leader.raft.term
    leader.transfer_leadership(dice.choice(ground.voters))

    def look(tries: int) -> None:
        new = [n for n in ground.nodes if n.up and n.raft.is_leader]
        new = [n for n in new if n.raft.term > term and not n.paused]
        if new:
            _hurry(ground, fault, new[0], dice)
        elif tries:
            ground.later(MILLISECOND, look, tries - 1)

    look(_LOOKS)


def _hurry(ground: Ground, fault: Fault, leader: Node, dice: Random) -> None:
    """A leader goes itself, or another voter; or a learner goes and comes again."""
    raft = leader.raft
    voters, learners = raft.configuration.voters, raft.configuration.learners
    others = [v for v in voters if v not in _of(ground).kept]
    if fault.strength < 2 and leader.member in others:
        others = [leader.member]
    if learners and fault.strength == 2:
        ground.acts(fault.kind)
        _ask_twice(raft, (voters, learners[1:]), (voters, learners))
    elif others and len(voters) >= 3 and _are_heard(leader, voters):
        ground.acts(fault.kind)
        out = dice.choice(others)
        rest = [voter for voter in voters if voter != out]
        _ask_twice(raft, (rest, [*learners, out]), (voters, learners))
    elif learners:
        ground.acts(fault.kind)
        _ask_twice(raft, (voters, learners[1:]), (voters, learners))
    leader.plan_turn()


def _ask_twice(raft: Raft, *wanted: tuple[Sequence[int], Sequence[int]]) -> None:
    for voters, learners in wanted:
        raft.change_configuration(voters, learners)


def _are_heard(leader: Node, voters: Sequence[int]) -> bool:
    assert leader.replica is not None
    return all(leader.replica.steward.heard(voter) for voter in voters)


# -- who --------------------------------------------------------------------------


def _with(ground: Ground, role: MemberRole) -> list[int]:
    members = _of(ground).model.members
    return [member for member, each in members.items() if each.role is role]


def _wished(ground: Ground, role: MemberRole) -> int:
    return len(_with(ground, role))


def _voter(ground: Ground, fault: Fault, dice: Random) -> int:
    """One whose vote may be taken away, the leader if it is meant; 0: nobody."""
    kept = _of(ground).kept
    voters = [m for m in _with(ground, _VOTER) if m not in kept]
    if fault.target == LEADER:
        member = ground.leader(dice).member
        return member if member in voters else 0
    return dice.choice(voters) if voters else 0


def _succeed(ground: Ground, fault: Fault, member: int, dice: Random) -> None:
    membership = _of(ground)

    def takes_its_place(heir: int) -> None:
        membership.operators.reassign(member, _LEAVING, heir)

    def joined(node: Node) -> None:
        takes_its_place(node.member)

    replicas = [m for m in _with(ground, _REPLICA) if m not in membership.wiped]
    replicas = [m for m in replicas if m != member]
    if replicas and dice.random() < 0.5:
        takes_its_place(dice.choice(replicas))
    elif not membership.join(_REPLICA, joined):
        membership.operators.reassign(member, _LEAVING)
    if fault.kind == "replace":
        ground.acts(fault.kind)
