"""The ladder: how much of what Python can do on this machine the real system does.

    python -m quorate.benchmarks.ladder [--in-flight 1000] [--rounds 7] [--json FILE]

    R0  a socket echo                   R3  and two followers that sync it, over TLS
    R1  the same under uvloop           R4  quorate: the leader of three nodes
    R2  and a synced journal

Law: the same frames from the same client at the same number in flight, all in one run,
in turn: up the ladder, then down. What counts is the ratio within a round: R4/R3 is how
close quorate comes to what a replicated journal in Python can do at all.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from quorate.node.certificates import create_authority, issue_member

from . import machine
from .clusters import BenchmarkFailed, Quorate
from .frames import Request, drive, puts
from .pairs import PAIRS_MIN, Leg, Spread, spread

VALUE_BYTES = 256
CONNECTIONS = 50
LIMIT = "R3"
REAL = "R4"
WHAT = {
    "R0": "socket echo",
    "R1": "uvloop echo",
    "R2": "and a synced journal",
    "R3": "and two syncing followers",
    "R4": "quorate",
}


class RungProcess:
    """A rung as a child, which ends when its standard input does."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-P", "-m", "quorate.benchmarks.rungs", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._end()
            raise BenchmarkFailed(f"{name}: it did not start")
        self.port: int = int(line)
        self.pid: int = self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        # Waits for the end of its output, too.
        try:
            self._child.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()


class Rung(NamedTuple):
    """Where a rung serves, and all processes that work for it."""

    name: str
    port: int
    pids: list[int]


class Measured(msgspec.Struct):
    """What the JSON holds of a run: each round's leg of each rung."""

    machine: dict[str, str]
    in_flight: int
    legs: dict[str, list[Leg]]


def start(folder: Path, stack: ExitStack) -> list[Rung]:
    """All of them; the stack ends them."""
    certs = folder / "certs"
    issue_member(create_authority(folder / "ca"), certs, name="n1")

    def begin(name: str, *arguments: str) -> RungProcess:
        return stack.enter_context(RungProcess(name, *arguments))

    def file(name: str) -> str:
        return str(folder / name)

    echo, loop = begin("socket"), begin("loop")
    journal = begin("journal", file("journal"))
    followers = [begin("follower", file(f"f{n}"), str(certs)) for n in range(2)]
    ports = [str(each.port) for each in followers]
    leader = begin("replicated", file("leader"), str(certs), *ports)
    quorate = Quorate(folder / "quorate")
    stack.callback(quorate.stop)
    places = quorate.places()
    return [
        Rung("R0", echo.port, [echo.pid]),
        Rung("R1", loop.port, [loop.pid]),
        Rung("R2", journal.port, [journal.pid]),
        Rung("R3", leader.port, [leader.pid, *(each.pid for each in followers)]),
        Rung("R4", places[quorate.leader()].port, [each.pid for each in places]),
    ]


def climb(
    rungs: Sequence[Rung], requests: Sequence[Request], rounds: int, seconds: float
) -> dict[str, list[Leg]]:
    """Every rung once a round: up, then down, then up."""
    legs: dict[str, list[Leg]] = {rung.name: [] for rung in rungs}
    for turn in range(rounds):
        for rung in rungs if turn % 2 == 0 else reversed(rungs):
            legs[rung.name].append(_leg(rung, requests, seconds))
    return legs


def _leg(rung: Rung, requests: Sequence[Request], seconds: float) -> Leg:
    before_s = machine.cpu_seconds(rung.pids)
    hello = rung.name == REAL
    connections = min(CONNECTIONS, len(requests))
    leg = drive(rung.port, requests, connections, seconds, hello=hello)
    used_s = machine.cpu_seconds(rung.pids) - before_s
    return msgspec.structs.replace(leg, cpu_us=used_s / max(leg.operations, 1) * 1e6)


def share(legs: dict[str, list[Leg]], one: str, other: str) -> Spread:
    """How much of the other's figure one has, round by round."""
    pairs = zip(legs[one], legs[other], strict=True)
    return spread(a.figure / b.figure for a, b in pairs)


def lines_of(legs: dict[str, list[Leg]]) -> list[str]:
    """The ladder as it is printed."""
    lines: list[str] = []
    for name, some in legs.items():
        rate = spread(leg.figure for leg in some)
        cpu = spread(leg.cpu_us for leg in some)
        figures = f"{rate.median:>10,.0f}/s ({rate.low:,.0f}–{rate.high:,.0f})"
        ratio = f"{REAL}/{name} {share(legs, REAL, name)}"
        lines.append(
            f"{name}  {WHAT[name]:26} {figures:34} {cpu.median:7.1f} µs each  {ratio}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="The ladder R0 to R4, in one run.")
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=PAIRS_MIN)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each leg")
    parser.add_argument("--directory", help="on a real disk, for the data")
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    about = machine.describe()
    print("\n".join(f"{name}: {text}" for name, text in about.items()))
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ladder-", dir=given.directory)
        )
        rungs = start(Path(folder), stack)
        requests = puts(given.in_flight, VALUE_BYTES)
        legs = climb(rungs, requests, given.rounds, given.seconds)
    print("\n".join(lines_of(legs)))
    print(f"{REAL}/{LIMIT} {share(legs, REAL, LIMIT)} of {given.rounds} rounds")
    if given.json is not None:
        measured = Measured(about, given.in_flight, legs)
        given.json.write_bytes(
            msgspec.json.format(msgspec.json.encode(measured), indent=2)
        )


if __name__ == "__main__":
    main()
