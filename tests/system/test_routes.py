"""The client's ways on real nodes: to the leader, and to the next one."""

import asyncio
import re
from pathlib import Path

import pytest
from quorate import AsyncClient

from .harness import DEADLINE_S, Cluster, Running, running_cluster, surely

pytestmark = pytest.mark.slow

_COUNTS = "quorate_native_request_duration_seconds_count"


def answered(node: Running, operation: str) -> int:
    """How many such requests of clients this node has answered."""
    text = node.request_once("GET", "/metrics").body.decode()
    pattern = rf'^{_COUNTS}{{operation="{operation}",result="ok"}} (\d+)'
    return sum(int(count) for count in re.findall(pattern, text, re.MULTILINE))


async def written_at(kv: AsyncClient, node: Running) -> bool:
    """Does a write of this client go to that node itself?"""
    before = answered(node, "write")
    await surely(lambda: kv.put("route", "1"))
    return answered(node, "write") > before


async def test_writes_go_to_whoever_leads_and_reads_to_all_with_balance(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c") as cluster:
        async with asyncio.timeout(3 * DEADLINE_S):
            await follow(cluster)
        cluster.wait_until_equal()


async def follow(cluster: Cluster) -> None:
    leader, follower = cluster.leader(), cluster.followers()[0]
    at = str(follower.node.client)
    async with AsyncClient(at, timeout=DEADLINE_S, sessions=False) as kv:
        while not await written_at(kv, leader):
            continue
        leader.process.kill()
        other = cluster.leader()
        while not await written_at(kv, other):
            continue
        cluster.start([leader])
    async with AsyncClient(at, timeout=DEADLINE_S, balance=True) as kv:
        before = [answered(node, "get") for node in cluster.nodes]
        reads = before
        while any(map(int.__eq__, before, reads)):
            for _ in range(9):
                await surely(lambda: kv.get("route"))
            reads = [answered(node, "get") for node in cluster.nodes]
