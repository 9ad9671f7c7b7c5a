"""Disks that fail and disks that fill up, under nodes that serve."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from quorate import AsyncClient
from quorate.client import NoSpace, QuorateError
from quorate.node.api.service import DISK_FULL, SHUTTING_DOWN
from quorate.node.config import load_config
from quorate.node.launcher import LocalNode, create_cluster
from quorate.node.node import Node
from quorate.storage.errors import JournalFailed
from quorate.wire import encode_compact

from .failing_disk import FailingEnv, Faults
from .harness import DEADLINE_S, POLL_S, QUORATE, Cluster, wait_for

pytestmark = pytest.mark.slow

MIB = 1 << 20
PROGRAM = Path(__file__).with_name("failing_disk.py")


def one_node(tmp_path: Path) -> LocalNode:
    (node,) = create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0).nodes
    return node


@asynccontextmanager
async def running(local: LocalNode, faults: Faults) -> AsyncGenerator[Node]:
    """A cluster of one voter in this event loop, once it leads."""
    config = load_config(local.directory / "quorate.toml", {})
    async with Node(config, FailingEnv(faults)) as node:
        await until(node, lambda: not node.troubles())
        yield node


async def until(node: Node, condition: Callable[[], bool]) -> None:
    """Look after each turn of the node until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await node.loop.turned()


async def test_the_first_failed_sync_ends_the_node_and_is_never_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local, faults = one_node(tmp_path), Faults()
    segment = f"{local.directory}/data/stores/1/journal/0000000000000001.seg"
    async with running(local, faults) as node, AsyncClient(str(local.client)) as client:
        assert await client.put("a", "before") == 2
        assert node.failed is not None
        assert not node.failed.done()
        faults.syncs_until_failure = 0
        with pytest.raises(QuorateError):
            await client.put("a", "lost", timeout=1.0)
        async with asyncio.timeout(DEADLINE_S):
            failure = await node.failed
        assert isinstance(failure, JournalFailed)
        assert (failure.action, failure.path) == ("sync", segment)
        # The disk is well again, but what it holds is not known: nothing goes on.
        faults.syncs_until_failure = -1
        syncs = node.statistics().journal_syncs
        with pytest.raises(QuorateError):
            await client.put("a", "refused", timeout=0.3)
        assert SHUTTING_DOWN in node.troubles()
        assert node.statistics().journal_syncs == syncs
    fatal = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(fatal) == 1
    assert segment in fatal[0]

    async with running(local, Faults()), AsyncClient(str(local.client)) as client:
        entry = await client.get("a")
        # The lost one was written and not synced: it may be there, the refused may not.
        assert entry is not None
        assert entry.value in (b"before", b"lost")


async def test_a_disk_that_fails_while_the_node_ends_holds_it_up_no_longer(
    tmp_path: Path,
) -> None:
    """Story: it waited for ever for a batch whose error it had been told."""
    local, faults = one_node(tmp_path), Faults()
    async with running(local, faults) as node:
        await until(node, lambda: not node.loop.persisting)
        flushed = node.replica.database.store.applied_index
        faults.syncs_until_failure = 0
        assert node.replica.propose(encode_compact(1))
        async with asyncio.timeout(DEADLINE_S):
            await node.stop()
        assert node.failed is not None
        assert isinstance(node.failed.result(), JournalFailed)
        assert node.replica.database.store.applied_index == flushed


def test_a_process_whose_journal_fails_exits_with_1_and_names_the_file(
    tmp_path: Path,
) -> None:
    local = one_node(tmp_path)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(local.directory / "quorate.toml")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    journal = f"{local.directory}/data/stores/1/journal/"
    assert any(
        "critical" in line and journal in line and "Input/output error" in line
        for line in done.stderr.splitlines()
    ), done.stderr
    assert "Traceback" not in done.stderr


async def test_little_free_space_refuses_writes_but_no_reads(tmp_path: Path) -> None:
    local, faults = one_node(tmp_path), Faults()
    async with running(local, faults) as node, AsyncClient(str(local.client)) as client:
        assert await client.put("a", "before") == 2
        faults.free_bytes = 1 * MIB
        await until(node, lambda: node.replica.no_space)
        assert node.troubles() == (DISK_FULL,)
        for _ in range(3):
            with pytest.raises(NoSpace):
                await client.put("a", "refused")
        entry = await client.get("a")
        assert entry is not None
        assert entry.value == b"before"
        # The other half of what is kept is for what gives something up.
        faults.free_bytes = 40 * MIB
        await until(node, lambda: not node.replica.spent)
        with pytest.raises(NoSpace):
            await client.put("a", "refused")
        assert await client.delete("a")
        faults.free_bytes = None
        await until(node, lambda: not node.troubles())
        assert await client.put("a", "after") == 4


async def test_a_journal_that_gets_no_new_segment_waits_for_space_and_goes_on(
    tmp_path: Path,
) -> None:
    local, faults = one_node(tmp_path), Faults()
    async with running(local, faults) as node, AsyncClient(str(local.client)) as client:
        faults.no_new_segments = True
        accepted = 0
        # A segment has 16 MiB: the fifth of these at the latest needs another one.
        waiting = asyncio.ensure_future(client.put("big 0", bytes(4 * MIB), timeout=60))
        while not node.replica.no_space:
            await asyncio.wait({waiting}, timeout=POLL_S)
            if waiting.done():
                accepted = waiting.result()
                key = f"big {accepted}"
                waiting = asyncio.ensure_future(
                    client.put(key, bytes(4 * MIB), timeout=60)
                )
        assert accepted >= 3
        with pytest.raises(NoSpace):
            await client.put("a", "refused")
        entry = await client.get("big 0")
        assert entry is not None
        assert not waiting.done()
        faults.no_new_segments = False
        # What was proposed before is neither lost nor done twice.
        assert await waiting == accepted + 1
        await until(node, lambda: not node.troubles())
        assert await client.put("a", "after") == accepted + 2


def mount_is_allowed(directory: Path) -> bool:
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(directory)]
    try:
        done = subprocess.run(probe, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def fill(path: Path) -> None:
    """Write until the disk is full: this ends with an error."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(MIB))


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_full_disk_on_one_node_refuses_writes_until_there_is_space(
    tmp_path: Path, role: str
) -> None:
    """A small disk of its own for each node, which a stranger's file fills."""
    if not mount_is_allowed(tmp_path):
        pytest.skip("mounting a tmpfs in a namespace needs root")
    names = ["n1", "n2", "n3"]
    local = create_cluster(tmp_path / "c", names, client_port=0, peer_port=0)
    reserve = {"QUORATE_LIMITS_JOURNAL_RESERVE_BYTES": str(8 * MIB)}
    cluster = Cluster(local, reserve)
    for each in cluster.nodes:
        each.data.mkdir()
        mount = f'mount -t tmpfs -o size=64m tmpfs "{each.data}" && exec "$@"'
        command = ("unshare", "-m", "sh", "-c", mount, "sh", *QUORATE)
        each.process.command = (*command, "node", "--dir", str(each.node.directory))
    try:
        cluster.start()
        node = cluster.leader() if role == "leader" else cluster.followers()[0]
        assert node.request("PUT", "/v1/kv/a", b"before").status == 200
        ballast = Path(f"/proc/{node.pid}/root{node.data}/ballast")
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        wait_for(lambda: "the disk is full" in node.log(), "the node to notice")
        refused = node.request_once("PUT", "/v1/kv/a", b"refused")
        assert (refused.status, refused.problem) == (507, ("no_space", "not_applied"))
        assert node.request("GET", "/v1/kv/a").body == b"before"
        ballast.unlink()
        wait_for(lambda: node.node.ready(), "the node to be ready again")
        assert node.request("PUT", "/v1/kv/a", b"after").status == 200
        cluster.wait_until_equal()
    finally:
        cluster.stop()
