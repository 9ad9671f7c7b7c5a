"""Leases on real nodes: they end everywhere, outlive leaders, go at one revision."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from quorate import AsyncClient
from quorate.cli import group
from quorate.client import Event, LeaseNotFound

from .harness import DEADLINE_S, Cluster, Running, running_cluster, surely, wait_for

pytestmark = pytest.mark.slow

# Time is counted in ticks, so it may be over this much earlier.
TICK_S = 0.05


def client_of(*nodes: Running) -> AsyncClient:
    """A client that asks these nodes alone."""
    endpoints = ",".join(str(node.node.client) for node in nodes)
    return AsyncClient(endpoints, learn=False, timeout=DEADLINE_S)


def there(node: Running, key: str) -> bool:
    """Is the key in this node's own state?"""
    answer = node.request("GET", f"/v1/kv/{key}?consistency=local")
    assert answer.status in (200, 404), answer.body
    return answer.status == 200


def everywhere(nodes: Sequence[Running], key: str, *, is_there: bool) -> None:
    wait_for(
        lambda: all(there(node, key) is is_there for node in nodes),
        f"{key} is {'there' if is_there else 'gone'} on all nodes",
    )


async def put(kv: AsyncClient, key: str, lease: int = 0) -> int:
    return await surely(lambda: kv.put(key, "1", lease=lease))


def test_a_key_goes_on_all_nodes_when_nobody_keeps_its_lease_alive(
    healthy: Cluster,
) -> None:
    async def grant() -> int:
        async with client_of(healthy.nodes[0]) as kv:
            lease = await kv.lease(5).grant()
            await put(kv, "leased", lease.id)
            await put(kv, "not-leased")
            # A put without a lease takes it off.
            await put(kv, "taken-off", lease.id)
            await put(kv, "taken-off")
            await lease.abandon()
            return lease.id

    async def found(node: Running, lease: int) -> bool:
        async with client_of(node) as kv:
            try:
                await surely(lambda: kv.lease_info(lease))
            except LeaseNotFound:
                return False
            return True

    lease = asyncio.run(grant())
    everywhere(healthy.nodes, "leased", is_there=False)
    for node in healthy.nodes:
        assert there(node, "not-leased")
        assert there(node, "taken-off")
        assert not asyncio.run(found(node, lease))
        answer = node.request("PUT", f"/v1/kv/late?lease={lease:016x}", b"1")
        assert answer.problem == ("lease_not_found", "not_applied")
    for key in ("not-leased", "taken-off"):
        healthy.nodes[0].request("DELETE", f"/v1/kv/{key}")


async def test_a_lease_that_is_kept_alive_through_a_follower_outlives_the_leader(
    own: Cluster,
) -> None:
    leader = await asyncio.to_thread(own.leader)
    followers = await asyncio.to_thread(own.followers)
    async with client_of(followers[0]) as kv, kv.lease(20) as lease:
        await put(kv, "kept", lease.id)
        before = await surely(lease.info)
        assert before.left >= lease.left - TICK_S
        await asyncio.to_thread(leader.process.kill)
        after = await asyncio.to_thread(own.leader)
        assert after in followers
        info = await surely(lease.info)
        # The new leader knows no less of it than its keeper was told.
        assert info.left >= lease.left - TICK_S
        for node in followers:
            assert (await asyncio.to_thread(node.request, "GET", "/v1/kv/kept")).body
        kept = await surely(lambda: kv.keep_alive(lease.id))
        assert kept.left >= 20 - TICK_S - DEADLINE_S * 0.1
        # It is still kept alive by itself, too, and by the new leader.
        left = lease.left
        await asyncio.to_thread(wait_for, lambda: lease.left > left, "kept alive")
        assert not lease.lost.is_set()
        await asyncio.to_thread(own.start, [leader])
        await asyncio.to_thread(everywhere, own.nodes, "kept", is_there=True)
    await asyncio.to_thread(everywhere, own.nodes, "kept", is_there=False)
    await asyncio.to_thread(own.wait_until_equal)


async def test_a_lease_is_not_shortened_and_ends_when_its_leader_and_keeper_die(
    own: Cluster,
) -> None:
    leader = await asyncio.to_thread(own.leader)
    followers = await asyncio.to_thread(own.followers)
    async with client_of(*followers) as kv:
        lease = await kv.lease(8).grant()
        await put(kv, "orphan", lease.id)
        await lease.abandon()
        await asyncio.to_thread(leader.process.kill)
        while not lease.over:
            entry = await surely(lambda: kv.get("orphan"))
            # Only what is certain after it was read counts.
            if lease.left > TICK_S:
                assert entry is not None
            await asyncio.sleep(0.05)
        await asyncio.to_thread(everywhere, followers, "orphan", is_there=False)


async def test_revoking_takes_all_keys_at_one_revision(healthy: Cluster) -> None:
    keys = [f"many/{number:02}" for number in range(40)]
    async with client_of(*healthy.nodes) as kv:
        lease = await surely(lambda: kv.lease(600, lease=0xA7).grant())
        for key in keys:
            await put(kv, key, lease.id)
        bystander = await put(kv, "many/bystander")
        async with kv.watch("many/", puts=False, revision=bystander) as changes:
            answer = await asyncio.to_thread(
                healthy.nodes[1].request, "DELETE", "/v1/leases/00000000000000a7"
            )
            assert answer.status == 200, answer.body
            document = json.loads(answer.body)
            assert document["deleted"] == len(keys)
            seen: list[Event] = []
            async with asyncio.timeout(DEADLINE_S):
                while len(seen) < len(keys):
                    seen.append(await anext(changes))
        assert {event.revision for event in seen} == {document["revision"]}
        assert [event.key.decode() for event in seen] == keys
        assert all(event.deleted for event in seen)
        for node in healthy.nodes:
            await asyncio.to_thread(everywhere, [node], keys[0], is_there=False)
        assert [one.key async for one in kv.range("many/")] == [b"many/bystander"]
        # What was there can still be read, and says on what it hung.
        entry = await surely(lambda: kv.get(keys[0], revision=bystander))
        assert entry is not None
        assert entry.lease == 0xA7
        await lease.abandon()
        await surely(lambda: kv.delete("many/bystander"))


def test_leases_and_their_keys_outlive_the_restart_of_all_nodes(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c") as cluster:
        asyncio.run(grant_for_long(cluster))
        for kill in (False, True):
            if kill:
                for node in cluster.nodes:
                    node.process.kill()
            else:
                cluster.stop()
            cluster.start()
            asyncio.run(check_after_restart(cluster))
        asyncio.run(revoke(cluster))
        everywhere(cluster.nodes, "long", is_there=False)
        cluster.wait_until_equal()


async def grant_for_long(cluster: Cluster) -> None:
    async with client_of(*cluster.nodes) as kv:
        for number in (1, 2**64 - 1):
            lease = await surely(lambda n=number: kv.lease(600, lease=n).grant())
            await lease.abandon()
        await put(kv, "long", 1)


async def check_after_restart(cluster: Cluster) -> None:
    for node in cluster.nodes:
        async with client_of(node) as kv:
            assert await surely(kv.leases) == [1, 2**64 - 1]
            info = await surely(lambda kv=kv: kv.lease_info(1, keys=True))
            assert (info.ttl, info.keys) == (600, (b"long",))
            # Its time begins anew.
            assert 600 - DEADLINE_S < info.left <= 600
            entry = await surely(lambda kv=kv: kv.get("long"))
            assert entry is not None
            assert entry.lease == 1


async def revoke(cluster: Cluster) -> None:
    async with client_of(*cluster.nodes) as kv:
        await surely(lambda: kv.revoke(1))
        assert await surely(kv.leases) == [2**64 - 1]


def test_http_and_the_command_line_see_the_same_leases(healthy: Cluster) -> None:
    first, second, _ = healthy.nodes
    answer = first.request("PUT", "/v1/kv/mine?ttl=10m", b"1")
    assert answer.status == 200, answer.body
    name = answer.headers["Quorate-Lease"]

    def told(*arguments: str) -> str:
        where = [f"--endpoints={second.node.client}", "--timeout=60s"]
        result = CliRunner().invoke(group, ["lease", *arguments, *where])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert name in told("list").splitlines()
    assert told("keep-alive", name, "--once") == (
        f"lease {name} keepalived with TTL(600s)\n"
    )
    assert told("timetolive", name, "--keys").splitlines()[1] == "mine"
    shown = json.loads(first.request("GET", f"/v1/leases/{name}?keys=1").body)
    assert shown["keys"] == [{"key": "mine", "key64": "bWluZQ=="}]
    assert told("revoke", name) == f"lease {name} revoked\n"
    everywhere(healthy.nodes, "mine", is_there=False)
    gone = first.request("GET", f"/v1/leases/{name}")
    assert gone.problem == ("lease_not_found", "")
