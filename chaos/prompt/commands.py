"""What a line at the prompt means.

Law: pure. Every line is a command, nothing (empty, or a comment), or Misunderstood with
words that help; nothing that a line holds is executed or looked up.

    kill|stop|pause|resume|start WHO      WHO: 2, n2, 1,3, leader, all
    partition 1,2|3                       who is not named is a part of its own
    slow WHO 200ms                        0ms takes it off
    heal, leader, status, wait 3s, help, quit
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

import msgspec

Verb: TypeAlias = Literal[
    "kill",
    "stop",
    "pause",
    "resume",
    "start",
    "partition",
    "slow",
    "heal",
    "leader",
    "status",
    "wait",
    "help",
    "quit",
]
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
_VERBS: Final[dict[str, Verb]] = {verb: verb for verb in VERBS}

LINE_CHARACTERS_MAX: Final = 1000
SLOW_SECONDS_MAX: Final = 10.0
WAIT_SECONDS_MAX: Final = 600.0
_SHOWN_MAX: Final = 60
_SEPARATORS: Final = re.compile(r"[\s,]+")
_NUMBER: Final = re.compile(r"n?([1-9][0-9]{0,3})", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m)", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_ALONE: Final = frozenset({"heal", "leader", "status", "help", "quit"})
USAGE: Final = {
    "kill": "kill 2        end a node at once (kill -9)",
    "stop": "stop 2        ask a node to end",
    "pause": "pause 3       let a node stand still",
    "resume": "resume 3      let it go on",
    "start": "start 2       start a node that has ended",
    "partition": "partition 1,2|3   cut the links between the parts",
    "slow": "slow 2 200ms  make the links of a node slower by so much",
    "heal": "heal          all links as they were",
    "leader": "leader        who leads",
    "status": "status        what each node says of itself, and the load",
    "wait": "wait 3s       do nothing for a while",
    "help": "help          this list",
    "quit": "quit          end the load, check it, stop all nodes",
}
_NODES: Final = "Nodes: 2, n2, 1,3, leader, all. A line after # is not read."
HELP: Final = "\n".join([*USAGE.values(), _NODES])


class Misunderstood(Exception):
    """A line that is no command; the message says what would be one."""


class Command(msgspec.Struct, frozen=True):
    """What to do, and to which nodes (their numbers, from 1 on, or whoever leads)."""

    verb: Verb
    who: tuple[int, ...] = ()
    at_leader: bool = False
    parts: tuple[tuple[int, ...], ...] = ()
    seconds: float = 0.0


def parse(line: str, nodes: int) -> Command | None:
    """The command in `line`, for a cluster of so many nodes; None if there is none."""
    if len(line) > LINE_CHARACTERS_MAX:
        raise Misunderstood(f"a line of more than {LINE_CHARACTERS_MAX} characters")
    head, _, rest = line.strip().partition(" ")
    if not head or head.startswith("#"):
        return None
    verb = _VERBS.get(head.lower())
    if verb is None:
        raise Misunderstood(f"no such command: {head[:_SHOWN_MAX]!r}; help lists them")
    if verb in _ALONE:
        if rest.strip():
            raise Misunderstood(f"{verb} takes nothing: {USAGE[verb]}")
        return Command(verb)
    if verb == "partition":
        return Command(verb, parts=_parts(rest, nodes))
    if verb == "wait":
        return Command(verb, seconds=_duration(verb, rest, WAIT_SECONDS_MAX))
    return _aimed(verb, rest, nodes)


def _aimed(verb: Verb, rest: str, nodes: int) -> Command:
    seconds = 0.0
    if verb == "slow":
        # What stands last is how slow.
        rest, _, last = rest.strip().rpartition(" ")
        seconds = _duration(verb, last, SLOW_SECONDS_MAX)
    if rest.strip() == "leader":
        return Command(verb, at_leader=True, seconds=seconds)
    return Command(verb, _numbers(verb, rest, nodes), seconds=seconds)


def _numbers(verb: Verb, text: str, nodes: int) -> tuple[int, ...]:
    """The nodes that a text names, each once."""
    words = [word for word in _SEPARATORS.split(text) if word]
    if words == ["all"]:
        return tuple(range(1, nodes + 1))
    if not words:
        raise Misunderstood(f"which node? {USAGE[verb]}")
    found: list[int] = []
    for word in words:
        match = _NUMBER.fullmatch(word)
        if match is None or int(match[1]) > nodes:
            raise Misunderstood(f"no such node: {word[:_SHOWN_MAX]!r} (1 to {nodes})")
        found.append(int(match[1]))
    return tuple(dict.fromkeys(found))


def _parts(text: str, nodes: int) -> tuple[tuple[int, ...], ...]:
    """The parts of a partition, with those that are not named as the last."""
    named = [_numbers("partition", part, nodes) for part in text.split("|")]
    taken = [number for part in named for number in part]
    if len(set(taken)) < len(taken):
        raise Misunderstood(f"a node in two parts: {USAGE['partition']}")
    rest = tuple(n for n in range(1, nodes + 1) if n not in taken)
    parts = (*named, rest) if rest else tuple(named)
    if len(parts) < 2:
        raise Misunderstood(f"one part is no partition: {USAGE['partition']}")
    return parts


def _duration(verb: Verb, text: str, seconds_max: float) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise Misunderstood(f"how long? {USAGE[verb]}")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > seconds_max:
        raise Misunderstood(f"{verb}: at most {seconds_max:g}s")
    return seconds


def shown(parts: Sequence[Sequence[int]]) -> str:
    """A partition as it is written."""
    return "|".join(",".join(map(str, part)) for part in parts)
