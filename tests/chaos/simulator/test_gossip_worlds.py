"""Gossip in simulated time: small worlds of seeds that nobody has seen, and mutants."""

import random
from collections.abc import Callable

import pytest
from quorate.chaos.simulator.catches import CATCHES
from quorate.chaos.simulator.gossip import GOSSIP_MUTANTS, worlds
from quorate.chaos.simulator.gossip.checks import Checks
from quorate.chaos.simulator.gossip.world import GossipWorld
from quorate.chaos.simulator.mutants import hunt
from quorate.chaos.simulator.world import Violation
from quorate.chaos.simulator.worlds import WORLDS
from quorate.cli import simulate
from quorate.node.gossip import State
from quorate.node.gossip.table import Change

SMALL: dict[str, Callable[[int], str]] = {
    "gossip-pauses": lambda seed: worlds.pauses(seed, count=20, probes=8_000),
    "gossip-deaths": lambda seed: worlds.deaths(seed, count=40, rounds=2),
    "gossip-partitions": lambda seed: worlds.partitions(seed, count=20, rounds=3),
    "gossip-moved": lambda seed: worlds.moved(seed, count=40),
    "gossip-lies": lambda seed: worlds.lies(seed, count=12, seconds=60),
}


def test_every_world_has_a_small_one_and_can_be_chosen() -> None:
    assert SMALL.keys() == worlds.GOSSIP_WORLDS.keys()
    assert list(WORLDS) == list(simulate._WORLDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_world_of_gossip_that_nobody_has_seen_before_holds(name: str) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 32)
    print(f"seed {seed}; larger: quorate simulate --world {name} --seeds {seed}")
    assert SMALL[name](seed)


@pytest.mark.slow
def test_a_world_of_gossip_is_the_same_every_time() -> None:
    assert worlds.lies(5, seconds=10) == worlds.lies(5, seconds=10)


@pytest.mark.slow
@pytest.mark.parametrize("name", [mutant.name for mutant in GOSSIP_MUTANTS])
def test_a_broken_rule_of_gossip_is_noticed(name: str) -> None:
    assert hunt(name, range(CATCHES[name], CATCHES[name] + 1)) is not None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_five_seconds_of_sleep_of_one_in_twenty_kill_nobody_else(seed: int) -> None:
    world = GossipWorld(seed, 20, 0.05)
    world.run(100)
    checks = Checks(world)
    sleeper = world.random.choice(world.running)
    world.pause(sleeper, 50)
    world.run(300)
    others = [member for member in world.running if member is not sleeper]

    def all_alive() -> bool:
        return all(
            member.gossip.state_of(sleeper.id) is State.ALIVE
            and sleeper.gossip.state_of(member.id) is State.ALIVE
            for member in others
        )

    # Lost messages make a suspect now and then, who refutes it.
    assert world.run_until(all_alive, 5.0) >= 0
    assert checks.suspected > 0


def test_the_checker_tells_a_healthy_member_from_one_that_was_paused() -> None:
    world = GossipWorld(1, 3, 0.0)
    checks = Checks(world)
    one, other, _ = world.running
    world.run(200)
    other.troubled_at = world.now
    checks.changed(one, Change(other.id, State.SUSPECT, State.DEAD))
    other.troubled_at = 0
    with pytest.raises(Violation, match="I-71"):
        checks.changed(one, Change(other.id, State.SUSPECT, State.DEAD))


def test_a_link_that_loses_everything_is_a_death() -> None:
    """The checker objects when the network is worse than gossip can bear."""
    world = GossipWorld(1, 5, 0.0)
    world.run(150)
    Checks(world)
    world.loss = 1.0
    with pytest.raises(Violation, match="I-71"):
        world.run(500)
