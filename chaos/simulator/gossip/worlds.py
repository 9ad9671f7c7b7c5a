"""The worlds of gossip: healthy members and pauses, deaths, partitions, moves, lies.

Law: each takes a seed, says what happened in one line, and raises Violation when
something does not hold. Sizes are arguments, so that tests may take small ones.
"""

from collections.abc import Callable
from typing import Final

from ....node.gossip import Change, Claim, Message, News, State, Sync
from ....node.gossip.limits import (
    INCARNATION_MAX,
    REFUTATION_BITS,
    TICKS_PER_SECOND,
    TOMBSTONE_TICKS,
)
from .checks import RECOVERY_TICKS, Accusations, Checks
from .pauses import Pauses
from .world import CLUSTER, GossipWorld, Member

# Within so long everybody has to know everybody, and that somebody is dead.
CONVERGENCE_S: Final = 60.0
DEATH_S: Final = 10.0
_SECOND: Final = TICKS_PER_SECOND
_LOOK_TICKS: Final = 100
_SILENCE_TICKS: Final = 20 * _SECOND
_SILENCE_S: Final = 600.0


def pauses(
    seed: int, count: int = 100, loss: float = 0.05, probes: int = 1_000_000
) -> str:
    """Nobody who is healthy is ever held dead by anybody, whoever is paused."""
    world = GossipWorld(seed, count, loss)
    _meet(world)
    checks = Checks(world)
    plan = Pauses(world)
    began, before = world.now, _probes(world)
    while _probes(world) - before < probes:
        for _ in range(_LOOK_TICKS):
            plan.step()
            world.tick()
    failed = sum(m.gossip.counts.probes_failed for m in world.members.values())
    return (
        f"{_probes(world) - before} probes by {count} members in"
        f" {(world.now - began) // _SECOND} s, {loss:.0%} loss: {failed} failed;"
        f" {plan.count} pauses, {plan.ticks // _SECOND} s;"
        f" {checks.suspected} times a member was suspected by one,"
        f" {checks.declared} times held dead while it was paused,"
        f" never a healthy one; {world.sent} messages"
    )


def deaths(seed: int, count: int = 100, loss: float = 0.05, rounds: int = 10) -> str:
    """The dead are known everywhere soon, stay dead whatever is late, may return."""
    world = GossipWorld(seed, count, loss)
    _meet(world)
    Checks(world)
    took: list[float] = []
    returned: list[float] = []
    for _ in range(rounds):
        victim = world.random.choice(world.running)
        victim.up = False
        took.append(_until_all_hold_dead(world, victim))
        _replay_old_news(world, victim)
        world.boot(victim.id, victim.address, victim.boot + 1)
        returned.append(_converge(world))
    _nothing_is_told_for_ever(world)
    median = sorted(took)[rounds // 2]
    return (
        f"{rounds} deaths among {count} members, {loss:.0%} loss: known everywhere"
        f" after {median:.1f} s (median), {max(took):.1f} s (longest);"
        f" back everywhere after {max(returned):.1f} s (longest)"
    )


def partitions(seed: int, count: int = 40, loss: float = 0.05, rounds: int = 4) -> str:
    """Links are cut, both ways or one way, for a while; then all find each other."""
    world = GossipWorld(seed, count, loss)
    _meet(world)
    took: list[float] = []
    for number in range(rounds):
        dice = world.random
        world.changed = _unseen
        size = dice.randrange(1, count // 2 + 1)
        away = set(dice.sample(sorted(world.members), size))
        one_way = dice.randrange(3) == 0
        world.passes = _cut(away, one_way=one_way)
        # Every second one lasts until nobody speaks of the deaths any more. One way
        # they never end: who is not heard still hears who lives, and asks.
        silent = number % 2 == 0 and not one_way
        world.run(dice.randrange(5 * _SECOND, 60 * _SECOND))
        if silent:
            _wait_for_silence(world, away)
        world.passes = lambda sender, to: True
        world.changed = _same_side(world, away) if silent else _unseen
        took.append(_converge(world))
    return (
        f"{rounds} partitions of {count} members, {loss:.0%} loss: all alive everywhere"
        f" {sorted(took)[rounds // 2]:.1f} s (median), {max(took):.1f} s (longest)"
        " after the links were back"
    )


def moved(seed: int, count: int = 100, loss: float = 0.05) -> str:
    """All come back under new addresses; all know one of them, and the old ones."""
    world = GossipWorld(seed, count, loss)
    _meet(world)
    hinted = world.random.choice(world.running).id
    for place, member in enumerate(list(world.members.values())):
        world.boot(member.id, f"10.1.0.{place}:7600", member.boot + 1)
    world.passes = lambda sender, to: _dials(sender, to, hinted)
    began = world.now

    def look() -> bool:
        _link_up(world)
        return _all_alive(world)

    if world.run_until(look, CONVERGENCE_S) < 0:
        world.fail("I-73", "not all have found each other under their new addresses")
    seconds = (world.now - began) / _SECOND
    what = f"{count} members under new addresses, one hint"
    return f"{what}: all found after {seconds:.1f} s"


def lies(seed: int, count: int = 20, loss: float = 0.05, seconds: int = 60) -> str:
    """A member tells lies, strangers knock, and one is paused: nobody believes much."""
    world = GossipWorld(seed, count, loss)
    _meet(world)
    checks, accusations = Checks(world), Accusations(world)

    def changed(member: Member, change: Change) -> None:
        checks.changed(member, change)
        accusations.changed(member, change)

    world.changed = changed
    plan, told = Pauses(world), 0
    liar = world.random.choice(world.running)
    for _ in range(seconds * _SECOND):
        plan.step()
        world.tick()
        for victim in world.random.sample(world.running, 3):
            if victim is not liar and not victim.paused:
                told += 1
                lie = _lie(world, liar, victim)
                world.receive(liar.id, victim, lie)
        _nobody_lives_elsewhere(world)
    world.run_until(lambda: not any(m.paused for m in world.running), CONVERGENCE_S)
    took = _converge(world)
    return f"{told} lies to {count} members; all agree {took:.1f} s after the last one"


GOSSIP_WORLDS: Final[dict[str, Callable[[int], str]]] = {
    "gossip-pauses": pauses,
    "gossip-deaths": deaths,
    "gossip-partitions": partitions,
    "gossip-moved": moved,
    "gossip-lies": lies,
}


# -- what is waited for ----------------------------------------------------------------


def _meet(world: GossipWorld) -> None:
    if world.run_until(lambda: _all_alive(world), CONVERGENCE_S) < 0:
        world.fail("I-73", "the members do not find each other")


def _converge(world: GossipWorld) -> float:
    seconds = world.run_until(lambda: _all_alive(world), CONVERGENCE_S)
    if seconds < 0:
        world.fail("I-73", f"not all hold all to be alive after {CONVERGENCE_S} s")
    return seconds


def _all_alive(world: GossipWorld) -> bool:
    """Each holds each to be alive, where it is, by its last word."""
    truth = [(m.id, m.gossip.incarnation, m.address) for m in world.running]
    for member in world.running:
        records = member.gossip.table.records
        for number, incarnation, address in truth:
            record = records.get(number)
            if number == member.id:
                continue
            if record is None or record.claim.state is not State.ALIVE:
                return False
            claim = record.claim
            if claim.incarnation != incarnation or claim.peer != address:
                return False
    return True


def _until_all_hold_dead(world: GossipWorld, victim: Member) -> float:
    def known() -> bool:
        running = world.running
        return all(m.gossip.state_of(victim.id) is State.DEAD for m in running)

    seconds = world.run_until(known, DEATH_S)
    if seconds < 0:
        world.fail("I-73", f"{victim.id:x} is not known to be dead after {DEATH_S} s")
    return seconds


def _probes(world: GossipWorld) -> int:
    return sum(m.gossip.counts.probes for m in world.members.values())


# -- deaths ----------------------------------------------------------------------------


def _replay_old_news(world: GossipWorld, victim: Member) -> None:
    """What it once said arrives again and again, until it is long forgotten."""
    old = victim.gossip
    word: Message = News(CLUSTER, victim.id, (old.own,))
    for _ in range(TOMBSTONE_TICKS // _SECOND + 20):
        world.run(_SECOND)
        for member in world.random.sample(world.running, 3):
            if world.random.randrange(2):
                world.receive(victim.id, member, word)
            else:
                teller = world.random.choice(world.running)
                table = Sync(CLUSTER, teller.id, True, (old.own,))
                world.receive(teller.id, member, table)
            if member.gossip.state_of(victim.id) in (State.ALIVE, State.SUSPECT):
                world.fail("I-70", f"{victim.id:x} rises by old news")


def _nothing_is_told_for_ever(world: GossipWorld) -> None:
    """There are quiet moments: what everybody knows is not told any more."""

    def quiet() -> bool:
        telling = sum(bool(member.gossip.news) for member in world.running)
        return telling <= len(world.running) // 2

    if world.run_until(quiet, CONVERGENCE_S) < 0:
        world.fail("I-76", "old news are told for ever")


# -- partitions and moves --------------------------------------------------------------


def _cut(away: set[int], one_way: bool) -> Callable[[Member, Member], bool]:
    if one_way:
        return lambda sender, to: sender.id not in away or to.id in away
    return lambda sender, to: (sender.id in away) == (to.id in away)


def _wait_for_silence(world: GossipWorld, away: set[int]) -> None:
    """Each side has buried the other, and told it."""

    def buried() -> bool:
        for member in world.running:
            here = member.id in away
            table = member.gossip.table
            if table.suspects or any((each in away) != here for each in table.live):
                return False
        return True

    # Whoever is alone is strained, and asks nine times as slowly.
    if world.run_until(buried, _SILENCE_S) < 0:
        world.fail("I-71", "a side that is cut off does not notice it")
    world.run(_SILENCE_TICKS)


def _same_side(world: GossipWorld, away: set[int]) -> Callable[[Member, Change], None]:
    """Those who heard each other all the time don't bury each other now."""

    def changed(member: Member, change: Change) -> None:
        together = (member.id in away) == (change.member in away)
        if change.after is State.DEAD and together:
            detail = f"{member.id:x} buries {change.member:x}, which it has heard"
            world.fail("I-70", detail)

    return changed


def _unseen(member: Member, change: Change) -> None:
    del member, change


def _dials(sender: Member, to: Member, hinted: int) -> bool:
    """Does it know where the other is now: by the hint, or by gossip?"""
    if to.id == hinted:
        return True
    claim = sender.gossip.claim_of(to.id)
    return claim is not None and claim.peer == to.address


def _link_up(world: GossipWorld) -> None:
    """Contacts are those that a connection leads to."""
    everybody = list(world.members.values())
    for member in everybody:
        member.gossip.contacts = tuple(
            other.id for other in everybody if world.passes(member, other)
        )


# -- lies ------------------------------------------------------------------------------


def _lie(world: GossipWorld, liar: Member, victim: Member) -> Message:
    # What somebody says of itself is its own word.
    others = [m for m in world.running if m is not victim and m is not liar]
    about = world.random.choice(others)
    truth = about.gossip.own
    kind = world.random.randrange(4)
    if world.now - about.troubled_at < RECOVERY_TICKS:
        # Who is held dead may be said to be anywhere: that is how the dead come back.
        kind = 3
    if kind == 0:
        return _foreign(world, liar, truth)
    if kind == 1:
        later = truth.incarnation + (1 << REFUTATION_BITS)
        said = _changed(truth, later, State.ALIVE, 0, "10.6.6.6:7500")
    elif kind == 2:
        said = _changed(truth, INCARNATION_MAX - 1, State.DEAD, liar.id, truth.peer)
    else:
        said = _changed(truth, truth.incarnation, State.SUSPECT, liar.id, truth.peer)
    return News(CLUSTER, liar.id, (said,))


def _foreign(world: GossipWorld, liar: Member, truth: Claim) -> Message:
    """Another cluster's member under an address that was one of ours."""
    stranger = Claim(
        world.random.randrange(1 << 40, 1 << 41),
        1 << REFUTATION_BITS,
        State.ALIVE,
        0,
        truth.peer,
        truth.client,
        "0",
        truth.vitals,
    )
    return Sync(CLUSTER + 1, liar.id, False, (stranger,))


def _changed(
    claim: Claim, incarnation: int, state: State, accuser: int, peer: str
) -> Claim:
    return Claim(
        claim.member,
        incarnation,
        state,
        accuser,
        peer,
        claim.client,
        claim.version,
        claim.vitals,
    )


def _nobody_lives_elsewhere(world: GossipWorld) -> None:
    for member in world.running:
        for number, record in member.gossip.table.records.items():
            claim = record.claim
            if claim.live and claim.peer != world.members[number].address:
                world.fail("I-72", f"{member.id:x} holds {number:x} to be elsewhere")
