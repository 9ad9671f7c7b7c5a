"""Puts over many existing keys, in no order, beside etcd with the same data.

    python -m quorate.benchmarks.overwrites [--keys 10000000] [--pairs 7]

Law: both clusters get every key once, in no order, in transactions of a hundred puts,
which loads them fastest. Then both are asked for the same: single puts of keys that are
there, drawn anew each time, 1,000 in flight over 50 connections, each system by the
cheapest client in Python that speaks to it (`frames`, `grpc_frames`). Legs take turns
(A-B-B-A), the other cluster is idle; before the first one the workers owe nothing.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
from quorate.wire import RequestKind, Transaction, TxnPut, encode_transaction

from . import frames, grpc_bodies, machine, tools
from .clusters import Etcd, Quorate, System
from .frames import Done, Driven
from .grpc_frames import drive_calls
from .large import DEBT_SECONDS_MAX, IN_FLIGHT, scattered
from .million import pay_debt
from .pairs import PAIRS_MIN, Leg, alternate, cost_ratios, met, ratios, spread
from .rows import CONNECTIONS, VALUE_BYTES, costed

# Puts of a transaction; one at a time on a connection, as etcd lets no more than 64 KiB
# be on their way to it.
TOGETHER: Final = 100
AIM: Final = 1.5
_VALUE: Final = b"v" * VALUE_BYTES

# Drives the node at a port until it is done.
Drive = Callable[[int, Done], Driven]


class Side(msgspec.Struct, frozen=True):
    """One system, and how it is asked."""

    system: System
    load: Drive
    put: Drive


def together(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    """A hundred at a time; the last ones may be fewer."""
    every = iter(keys)
    while some := [*itertools.islice(every, TOGETHER)]:
        yield some


def native(system: Quorate, keys: int) -> Side:
    def encoded(some: list[bytes]) -> bytes:
        puts = tuple(TxnPut(key, _VALUE) for key in some)
        return encode_transaction(Transaction((), puts, ()))

    def load(port: int, done: Done) -> Driven:
        bodies = map(encoded, together(scattered(keys)))
        request = frames.Request(RequestKind.WRITE, bodies=bodies)
        return frames.drive_until(port, [request] * CONNECTIONS, CONNECTIONS, done)

    def put(port: int, done: Done) -> Driven:
        requests = frames.scattered_puts(IN_FLIGHT, VALUE_BYTES, keys, next(seeds))
        return frames.drive_until(port, requests, CONNECTIONS, done)

    seeds = itertools.count()
    return Side(system, load, put)


def grpc(system: Etcd, keys: int) -> Side:
    def load(port: int, done: Done) -> Driven:
        bodies = (
            grpc_bodies.put_many(some, _VALUE).framed
            for some in together(scattered(keys))
        )
        return drive_calls(
            *(port, grpc_bodies.TXN, bodies, CONNECTIONS, CONNECTIONS), done
        )

    def put(port: int, done: Done) -> Driven:
        messages = grpc_bodies.puts(frames.drawn(keys, next(seeds)), _VALUE)
        return drive_calls(
            *(port, grpc_bodies.PUT, messages, IN_FLIGHT, CONNECTIONS), done
        )

    seeds = itertools.count()
    return Side(system, load, put)


def leader_port(system: System) -> int:
    return system.places()[system.leader()].port


def fill(side: Side, keys: int) -> str:
    """Every key is there afterwards, and nothing is owed; how it went."""
    began_s = time.monotonic()
    # A few come twice, as what is on its way is answered before it ends.
    side.load(leader_port(side.system), lambda answered, _: answered * TOGETHER >= keys)
    took_s = time.monotonic() - began_s
    debt_s = pay_debt(side.system, DEBT_SECONDS_MAX)
    pids = [place.pid for place in side.system.places()]
    most = max(map(machine.anonymous_bytes, pids)) / 1e6
    return (
        f"{side.system.name:8} {keys:,} keys: {keys / took_s:,.0f}/s in transactions,"
        f" then {debt_s:.0f} s of debt; largest node {most:,.0f} MB"
    )


def leg(side: Side, seconds: float) -> Leg:
    """Puts a second, and what one costs all nodes."""
    return costed(
        side.system,
        lambda place: side.put(place.port, lambda _, took_s: took_s >= seconds).leg,
    )


def lines_of(ours: list[Leg], theirs: list[Leg]) -> list[str]:
    """What is printed in the end."""
    lines: list[str] = []
    for name, legs in (("quorate", ours), ("etcd", theirs)):
        rate, cpu = spread(x.figure for x in legs), spread(x.cpu_us for x in legs)
        lines.append(
            f"{name:8} {rate.median:,.0f} puts/s ({rate.low:,.0f}–{rate.high:,.0f});"
            f" {cpu.median:.0f} µs of all nodes each"
        )
    found = ratios(ours, theirs)
    lines.append(
        f"quorate / etcd {found}; aim ≥ {AIM:g}: {met(found.median >= AIM)};"
        f" processor time {cost_ratios(ours, theirs)}"
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Puts over many existing keys.")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--pairs", type=int, default=PAIRS_MIN)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each leg")
    parser.add_argument("--directory", help="on a real disk, for the data")
    parser.add_argument("--tools", type=Path, default=tools.TOOLS)
    given = parser.parse_args()
    program = tools.find_etcd(given.tools)
    if program is None:
        sys.exit(1)
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="overwrites-", dir=given.directory)
            )
        )
        system = Quorate(folder / "quorate")
        stack.callback(system.stop)
        ours = native(system, given.keys)
        print(fill(ours, given.keys), flush=True)
        other = Etcd(folder / "etcd", program)
        stack.callback(other.stop)
        theirs = grpc(other, given.keys)
        print(fill(theirs, given.keys), flush=True)
        legs = alternate(
            given.pairs,
            lambda: leg(ours, given.seconds),
            lambda: leg(theirs, given.seconds),
        )
    print("\n".join(lines_of(*legs)))


if __name__ == "__main__":
    main()
