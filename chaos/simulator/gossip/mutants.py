"""Rules of gossip broken on purpose, and the small world that has to notice each.

Law: as for all mutants; the world's size is chosen so that it takes seconds.
"""

from collections.abc import Callable
from typing import Final

from ....node.gossip import State, rules
from ..mutant import Mutant, always, never
from .worlds import deaths, lies, partitions, pauses


def _raised(incarnation: int) -> int:
    return incarnation + 1


def _none_lost(lag: int) -> int:
    del lag
    return 0


def _as_told(state: State) -> State:
    return state


def _only_strangers(state: State | None) -> bool:
    return state is None


def _storm(seed: int) -> str:
    return pauses(seed, count=30, loss=0.15, probes=8_000)


def _few_lies(seed: int) -> str:
    return lies(seed, count=12, seconds=30)


def _drizzle(seed: int) -> str:
    return pauses(seed, count=30, probes=6_000)


def _few_deaths(seed: int) -> str:
    return deaths(seed, count=20, rounds=1)


def _few_cuts(seed: int) -> str:
    return partitions(seed, count=20, rounds=2)


def _mutant(
    name: str,
    predicate: str,
    replacement: Callable[..., object],
    breaks: str,
    world: Callable[[int], str],
) -> Mutant:
    return Mutant(name, rules, predicate, replacement, breaks, world=world)


GOSSIP_MUTANTS: Final = (
    _mutant(
        "gossip-of-other-clusters",
        "same_cluster",
        always,
        "I-67: what another cluster says is believed",
        _few_lies,
    ),
    _mutant(
        "incarnation-raised-by-others",
        "accuses_at",
        _raised,
        "I-69: whoever accuses a member raises its incarnation",
        _storm,
    ),
    _mutant(
        "nothing-is-refuted",
        "refutes",
        never,
        "I-69: a member that is accused keeps quiet",
        _drizzle,
    ),
    _mutant(
        "any-incarnation-believed",
        "is_believable",
        always,
        "I-69: an incarnation that nobody can have is believed",
        _few_lies,
    ),
    _mutant(
        "old-news-outrank",
        "outranks",
        always,
        "I-69: what is said last is believed, however old it is",
        _few_deaths,
    ),
    _mutant(
        "the-forgotten-rise",
        "rises",
        always,
        "I-70: old news of a member that was forgotten as dead are believed",
        _few_deaths,
    ),
    _mutant(
        "deaths-in-tables-believed",
        "table_says",
        _as_told,
        "I-70: a death in somebody's table is believed without asking the dead",
        _few_cuts,
    ),
    _mutant(
        "accusers-counted-twice",
        "is_confirmation",
        always,
        "I-71: one accuser who is heard three times counts as three",
        _few_lies,
    ),
    _mutant(
        "pauses-held-against-others",
        "time_lost",
        _none_lost,
        "I-71: a member that was paused judges others by the time it slept",
        _storm,
    ),
    _mutant(
        "live-member-moved-by-hearsay",
        "may_move",
        always,
        "I-72: a live member is said to be elsewhere, and that is believed",
        _few_lies,
    ),
    _mutant(
        "the-dead-are-never-asked",
        "knocks_at",
        _only_strangers,
        "I-73: after a partition each side holds the other to be dead for ever",
        _few_cuts,
    ),
    _mutant(
        "news-told-for-ever",
        "worth_telling",
        always,
        "I-76: what everybody knows is told on and on",
        _few_deaths,
    ),
)
