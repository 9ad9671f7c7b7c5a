"""A cluster with many keys: memory, a restart, a backup, a node that gets all anew.

    python -m quorate.benchmarks.large [--keys 10000000] [--value-bytes 100]

Law: three nodes of their own, whose keys come in no order and each once. Everything is
measured when the workers owe nothing: memory as RssAnon, a node's own and its worker's
apart; a node that is killed until it serves; a backup from the leader; and a node that
was away for more than the log keeps, until it has the whole state and what came
meanwhile, while a client writes at a fixed rate, beside the same without. That node
stands for another machine: it takes what processors the others leave, and their disk.
"""

import argparse
import asyncio
import http.client
import itertools
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from quorate.client import AsyncClient
from quorate.wire import RequestKind, encode_put

from . import frames, machine
from .clusters import Place, Quorate, ask, metrics_of
from .growth import Phase, Writer
from .million import late_at_most, parse_lag, pay_debt, restart
from .pairs import met
from .rows import CONNECTIONS

IN_FLIGHT: Final = 1000
# Prime, and so without a factor in common with a number of keys that is no multiple.
STRIDE: Final = 7_368_787
# More than the log keeps behind a flush, and two flushes of it.
MISSED: Final = 200_000
RATE: Final = 300.0
QUIET_SECONDS: Final = 10.0
DEBT_SECONDS_MAX: Final = 1800.0
COME_BACK_SECONDS_MAX: Final = 600.0
_POLL_SECONDS: Final = 0.1
_READ_BYTES: Final = 1 << 20
_MB: Final = 1e6


class Figures(msgspec.Struct, kw_only=True):
    """What is told in the end; sizes in bytes, of the largest of three nodes."""

    keys: int
    state_bytes: int
    load_per_second: float
    debt_s: float
    node_bytes: int
    worker_bytes: int
    restart_s: float
    backup_s: float
    backup_bytes: int
    backup_late_s: float
    transfer_s: float
    transfer_bytes: int
    transfer_late_s: float
    quiet_p99_ms: float
    transfer_p99_ms: float


def scattered(keys: int) -> Iterator[bytes]:
    """Every key, in no order, again and again."""
    return (frames.key_of(each * STRIDE % keys) for each in itertools.count())


class Large:
    """One cluster in a folder, from its load to its end."""

    def __init__(self, folder: Path) -> None:
        self._folder: Path = folder
        self._system: Quorate = Quorate(folder)

    def stop(self) -> None:
        self._system.stop()

    def load(self, puts: int, keys: Iterator[bytes], value_bytes: int) -> float:
        """So many puts; how many in a second."""
        body = encode_put(frames.key_of(0), b"v" * value_bytes)
        request = frames.Request(RequestKind.WRITE, body, keys)
        done = frames.drive_until(
            self._leader.port,
            [request] * IN_FLIGHT,
            CONNECTIONS,
            lambda answered, _: answered >= puts,
        )
        return puts / done.took_s

    def pay_debt(self) -> float:
        return pay_debt(self._system, DEBT_SECONDS_MAX)

    @property
    def _leader(self) -> Place:
        return self._system.places()[self._system.leader()]

    def state_bytes(self) -> int:
        """Of the largest node's tables."""
        each = self._folder.glob("*/data/stores/*/engine")
        return max(
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            for folder in each
        )

    def memory(self) -> tuple[int, int]:
        """A node's own, and its worker's: the largest of each."""
        pids = [place.pid for place in self._system.places()]
        own = max(map(machine.own_anonymous_bytes, pids))
        workers = [pid for pid in machine.family(pids) if pid not in pids]
        return own, max(map(machine.own_anonymous_bytes, workers), default=0)

    def restart(self) -> float:
        """A follower is killed, and started until it serves."""
        return restart(self._system, self._system.leader() - 1)

    def back_up(self) -> tuple[float, int, float]:
        """From the leader: seconds, bytes, and how late its loop was at most."""
        port = self._leader.port
        before = parse_lag(metrics_of(port))
        began_s, count = time.monotonic(), 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
        connection.request("GET", "/v1/backup")
        response = connection.getresponse()
        while data := response.read(_READ_BYTES):
            count += len(data)
        connection.close()
        took_s = time.monotonic() - began_s
        return took_s, count, late_at_most(before, parse_lag(metrics_of(port)), 1.0)

    def transfer(self, miss: int, keys: Iterator[bytes], value_bytes: int) -> "Moved":
        """A follower misses so many puts, and comes back."""
        number = self._system.leader() - 1
        self._system.kill(number)
        self.load(miss, keys, value_bytes)
        self.pay_debt()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._come_back(number))

    async def _come_back(self, number: int) -> "Moved":
        leader = self._leader
        async with AsyncClient(leader.url, learn=False) as client:
            writer = Writer(client, RATE)
            writing = asyncio.create_task(writer.run())
            quiet = writer.begin("quiet")
            await asyncio.sleep(QUIET_SECONDS)
            before = parse_lag(metrics_of(leader.port))
            moving = writer.begin("transfer")
            began_s = time.monotonic()
            await asyncio.to_thread(self._system.come_back, number)
            port = self._system.places()[number].port
            await asyncio.to_thread(_wait_for_all, port, leader.port)
            moving.took_s = time.monotonic() - began_s
            writer.end()
            await writing
        late_s = late_at_most(before, parse_lag(metrics_of(leader.port)), 1.0)
        return Moved(moving, quiet, late_s, self.state_bytes())


class Moved(msgspec.Struct):
    """A whole state on its way, beside a quiet time; how late the leader's loop was.

    What was missed has made the state larger: it is of so many bytes then.
    """

    moving: Phase
    quiet: Phase
    late_s: float
    state_bytes: int


def _wait_for_all(port: int, leader: int) -> None:
    """Until a snapshot was installed, and all is there that the leader had then."""
    wanted: int | None = None
    until_s = time.monotonic() + COME_BACK_SECONDS_MAX
    while time.monotonic() < until_s:
        if wanted is None and _installed(port):
            wanted = int(ask(leader, "/v1/status")["commit_index"])
        if wanted and int(ask(port, "/v1/status")["applied_index"]) >= wanted:
            return
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"not back after {COME_BACK_SECONDS_MAX:.0f} s")


def _installed(port: int) -> bool:
    name = "quorate_raft_snapshots_installed_total"
    found = re.search(rf"^{name} (\S+)$", metrics_of(port), re.MULTILINE)
    return found is not None and float(found[1]) > 0


def measure(folder: Path, keys: int, value_bytes: int) -> Figures:
    """All of it."""
    large = Large(folder)
    try:
        order = scattered(keys)
        per_second = large.load(keys, order, value_bytes)
        debt_s = large.pay_debt()
        state_bytes = large.state_bytes()
        node_bytes, worker_bytes = large.memory()
        restart_s = large.restart()
        backup_s, backup_bytes, backup_late_s = large.back_up()
        moved = large.transfer(MISSED, order, value_bytes)
        return Figures(
            keys=keys,
            state_bytes=state_bytes,
            load_per_second=per_second,
            debt_s=debt_s,
            node_bytes=node_bytes,
            worker_bytes=worker_bytes,
            restart_s=restart_s,
            backup_s=backup_s,
            backup_bytes=backup_bytes,
            backup_late_s=backup_late_s,
            transfer_s=moved.moving.took_s,
            transfer_bytes=moved.state_bytes,
            transfer_late_s=moved.late_s,
            quiet_p99_ms=moved.quiet.p99_ms,
            transfer_p99_ms=moved.moving.p99_ms,
        )
    finally:
        large.stop()


def lines_of(found: Figures) -> list[str]:
    """What is printed, with what is aimed at."""
    backup_rate = found.backup_bytes / found.backup_s / _MB
    rate = found.transfer_bytes / found.transfer_s / _MB
    slower = found.transfer_p99_ms / found.quiet_p99_ms
    return [
        f"{found.keys:,} keys, {found.state_bytes / _MB:,.0f} MB of tables:"
        f" {found.load_per_second:,.0f} puts/s, then {found.debt_s:.0f} s of debt",
        f"node {found.node_bytes / _MB:.0f} MB; aim ≤ 201 MB (192 MiB):"
        f" {met(found.node_bytes <= 192 << 20)}",
        f"worker {found.worker_bytes / _MB:.0f} MB; aim ≤ 101 MB (96 MiB):"
        f" {met(found.worker_bytes <= 96 << 20)}",
        f"killed and serving again in {found.restart_s:.2f} s; aim ≤ 3 s:"
        f" {met(found.restart_s <= 3)}",
        f"backup: {found.backup_s:.1f} s, {backup_rate:.0f} MB/s; loop late at most"
        f" {found.backup_late_s * 1e3:.0f} ms; aim ≤ 100 ms:"
        f" {met(found.backup_late_s <= 0.1)}",
        f"all of the state anew: {found.transfer_s:.1f} s, {rate:.0f} MB/s; aim ≥ 20:"
        f" {met(rate >= 20)}",
        f"meanwhile p99 of writes {found.transfer_p99_ms:.1f} ms,"
        f" {found.quiet_p99_ms:.1f} ms before: {slower:.2f} times; aim ≤ 2:"
        f" {met(slower <= 2)}; loop late at most {found.transfer_late_s * 1e3:.0f} ms",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="A cluster with many keys.")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--directory", help="on a real disk, for the data")
    given = parser.parse_args()
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    with tempfile.TemporaryDirectory(prefix="large-", dir=given.directory) as folder:
        found = measure(Path(folder), given.keys, given.value_bytes)
    print("\n".join(lines_of(found)))


if __name__ == "__main__":
    main()
