"""Nodes that are killed, stopped and left behind, while real work goes on."""

import asyncio
import os
import signal
import subprocess
import sysconfig
from functools import partial
from pathlib import Path

import pytest
from quorate import AsyncClient
from quorate.client import QuorateError

from .harness import (
    DEADLINE_S,
    QUORATE,
    Cluster,
    Running,
    running_cluster,
    surely,
    wait_for,
)

pytestmark = pytest.mark.slow

FILES = 400


def link_real_files(target: Path) -> int:
    """A tree of real files: the first ones of the running Python's library."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = sorted(
        path
        for path in library.rglob("*")
        if path.suffix in (".py", ".pyc", ".so", ".txt") and path.is_file()
    )
    size = 0
    for source in sources[:FILES]:
        place = target / source.relative_to(library)
        place.parent.mkdir(parents=True, exist_ok=True)
        data = source.read_bytes()
        place.write_bytes(data)
        size += len(data)
    assert len(sources) >= FILES
    return size


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def quorate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*QUORATE, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


def exported(node: Running, folder: Path) -> dict[str, bytes]:
    """All files as `node` alone tells them."""
    where = f"--endpoints={node.node.client}"
    done = quorate("export", where, "--timeout=30s", "--prefix", "lib/", str(folder))
    assert done.returncode == 0, done.stderr
    return contents(folder)


def test_an_import_survives_the_kill_of_its_leader_and_then_of_all(
    own: Cluster, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    link_real_files(source)
    leader = own.leader()
    others = own.followers()
    endpoints = ",".join(str(each.node.client) for each in (leader, *others))
    with subprocess.Popen(
        [
            *(*QUORATE, "import", f"--endpoints={endpoints}", "--in-flight=4"),
            *("--prefix=lib/", str(source)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as importing:
        wait_for(lambda: leader.status().puts >= 50, "a part of the import")
        # Held until the leader is dead, so that it is in the middle for sure.
        importing.send_signal(signal.SIGSTOP)
        assert 0 < leader.status().keys < FILES, "the import was over too soon"
        leader.process.kill()
        importing.send_signal(signal.SIGCONT)
        out, error = importing.communicate(timeout=3 * DEADLINE_S)
    assert importing.returncode == 0, error
    assert f"imported {FILES} files" in out
    assert exported(others[0], tmp_path / "two") == contents(source)

    own.start([leader])
    for each in own.nodes:
        os.kill(each.pid, signal.SIGKILL)
    for each in own.nodes:
        each.process.kill()
    own.start()
    assert exported(others[1], tmp_path / "again") == contents(source)
    own.wait_until_equal()


class Writers:
    """Clients of one node each, which write without pause and note what happened."""

    def __init__(self, nodes: list[Running]) -> None:
        self.nodes = nodes
        self.acknowledged: dict[bytes, bytes] = {}
        self.errors: list[QuorateError] = []
        self.enough = False

    async def run(self, per_node: int = 32) -> None:
        async with asyncio.TaskGroup() as group:
            for node in self.nodes:
                for number in range(per_node):
                    group.create_task(self._write(node, number))

    async def _write(self, node: Running, number: int) -> None:
        address = str(node.node.client)
        async with AsyncClient(address, learn=False, timeout=DEADLINE_S) as client:
            count = 0
            while not self.enough:
                key = f"{node.name}/{number}".encode()
                value = str(count).encode()
                try:
                    await client.put(key, value)
                except QuorateError as error:
                    self.errors.append(error)
                else:
                    self.acknowledged[key] = value
                count += 1


async def test_a_leader_that_is_told_to_stop_loses_no_write_in_flight(
    own: Cluster,
) -> None:
    """Leadership is handed over first, so every write through the others succeeds."""
    leader = await asyncio.to_thread(own.leader)
    writers = Writers([each for each in own.nodes if each is not leader])

    async def until(condition: object, what: str) -> None:
        assert callable(condition)
        await asyncio.to_thread(wait_for, condition, what)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(writers.run())
        try:
            await until(lambda: len(writers.acknowledged) == 64, "writes")
            term = await asyncio.to_thread(lambda: leader.status().term)
            assert await asyncio.to_thread(leader.process.stop) == 0
            after = await asyncio.to_thread(own.leader)
            assert (await asyncio.to_thread(after.status)).term > term
            seen = dict(writers.acknowledged)
            await until(
                lambda: all(writers.acknowledged[key] != seen[key] for key in seen),
                "more writes by every writer",
            )
        finally:
            writers.enough = True
        await running
    assert writers.errors == []
    assert "leadership was handed over" in leader.log()
    await asyncio.to_thread(own.start, [leader])
    async with AsyncClient(str(leader.node.client), learn=False) as client:
        for key, value in writers.acknowledged.items():
            entry = await surely(partial(client.get, key))
            assert entry is not None
            assert entry.value == value
    await asyncio.to_thread(own.wait_until_equal)


async def test_a_follower_that_missed_more_than_the_log_keeps_comes_by_snapshot(
    own: Cluster,
) -> None:
    away = (await asyncio.to_thread(own.followers))[0]
    assert await asyncio.to_thread(away.process.stop) == 0
    rest = [each for each in own.nodes if each is not away]
    endpoints = ",".join(str(each.node.client) for each in rest)
    async with AsyncClient(endpoints, timeout=DEADLINE_S) as client:
        put = partial(surely_put, client)
        for start in range(0, 72_000, 2_000):
            await asyncio.gather(*map(put, range(start, start + 2_000)))

    def forgotten() -> bool:
        return all(each.status().checkpoint_index > 60_000 for each in rest)

    await asyncio.to_thread(wait_for, forgotten, "checkpoints behind the writes")
    await asyncio.to_thread(own.start, [away])
    await asyncio.to_thread(
        wait_for, lambda: away.status().snapshots_installed > 0, "a snapshot"
    )
    await asyncio.to_thread(own.wait_until_equal)
    assert (await asyncio.to_thread(away.status)).keys == 5_000
    # It is a whole replica again: a majority with it alone serves.
    await asyncio.to_thread(rest[0].process.kill)
    answer = await asyncio.to_thread(away.request, "GET", "/v1/kv/key-4999")
    assert answer.body == b"69999"


async def surely_put(client: AsyncClient, number: int) -> None:
    key, value = f"key-{number % 5_000}", str(number)
    await surely(lambda: client.put(key, value))


def test_a_node_ends_in_time_while_another_one_stands_still(tmp_path: Path) -> None:
    """Story: a minute, since TLS waits for the other side's part in the end."""
    with running_cluster(tmp_path / "c") as cluster:
        still, ends = cluster.followers()
        still.process.pause()
        try:
            # By then a launcher, or systemd, kills it.
            assert ends.process.stop(15.0) == 0
        finally:
            still.process.resume()
