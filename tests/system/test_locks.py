"""Locks on real processes: with an old token nothing is written any more (I-65).

Law: what was paused may believe what it likes; what the store has is what counts.
"""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from quorate.client import AsyncClient, Fenced, Held, Lock, Txn

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

# Takes the lock, says its token, and then does as it is told, line by line.
HOLDER = """
import sys
from quorate.client import Client, Fenced
with Client(sys.argv[1], timeout=30) as kv:
    lock = kv.lock("job", ttl=2).acquire()
    print(lock.token, flush=True)
    for line in sys.stdin:
        try:
            kv.put("result", line.strip(), fence=lock.token)
            print("done", flush=True)
        except Fenced:
            print("fenced", flush=True)
"""


class Said(NamedTuple):
    """An answer over HTTP."""

    status: int
    document: dict[str, object]


def post(node: Running, path: str, **body: object) -> Said:
    address = node.node.client
    connection = http.client.HTTPConnection(
        address.host, address.port, timeout=DEADLINE_S
    )
    try:
        connection.request("POST", path, json.dumps(body).encode())
        response = connection.getresponse()
        return Said(response.status, json.loads(response.read()))
    finally:
        connection.close()


def test_a_holder_who_was_paused_writes_nothing_with_his_old_token(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path) as cluster:
        cluster.leader()
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, cluster.endpoints],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            try:
                asyncio.run(paused_holder(cluster, holder))
            finally:
                holder.kill()


async def paused_holder(cluster: Cluster, holder: "subprocess.Popen[str]") -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    old = holder.stdout.readline().strip()
    holder.stdin.write("first\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "done\n"
    os.kill(holder.pid, signal.SIGSTOP)
    async with AsyncClient(cluster.endpoints, timeout=30) as kv:
        # Its time passes, and the next one has the lock.
        async with asyncio.timeout(DEADLINE_S):
            lock = await kv.lock("job", ttl=30).acquire()
        assert number(lock.token) > number(old)
        await kv.put("result", "second", fence=lock.token)
        # He does not know yet.
        holder.stdin.write("late\n")
        holder.stdin.flush()
        os.kill(holder.pid, signal.SIGCONT)
        assert holder.stdout.readline() == "fenced\n"
        # And nobody writes with it, however he asks.
        for txn in (
            Txn().fence(old).put("result", "late"),
            Txn().fence(old).if_absent("no").otherwise().put("result", "late"),
        ):
            with pytest.raises(Fenced):
                await surely(lambda txn=txn: kv.commit(txn))
        with pytest.raises(Fenced):
            await surely(lambda: kv.delete("result", fence=old))
        for node in cluster.nodes:
            target = f"/v1/kv/result?fence={old}"
            assert node.request("PUT", target, b"late").problem[0] == "fenced"
            assert node.request("DELETE", target).problem[0] == "fenced"
            put = {"put": {"key": "result", "value": "late"}}
            data = json.dumps({"fence": [old], "then": [put]}).encode()
            answer = node.request("POST", "/v1/txn", data)
            assert (answer.status, *answer.problem) == (412, "fenced", "not_applied")
        entry = await kv.get("result")
        assert entry is not None
        assert entry.text == "second"
        await lock.release()


def number(token: str) -> int:
    return int(token.partition(".")[0])


async def test_whoever_waits_has_the_lock_after_the_leader_was_killed(
    tmp_path: Path,
) -> None:
    """There is one holder at each moment, and each has a higher token."""
    with running_cluster(tmp_path) as cluster:
        leader = cluster.leader()
        held: list[str] = []
        async with AsyncClient(cluster.endpoints, timeout=30) as kv:
            first = await kv.lock("job", ttl=30).acquire()
            held.append(first.token)

            async def wait() -> Lock:
                lock = await kv.lock("job", ttl=30).acquire()
                held.append(lock.token)
                return lock

            waiting: list[asyncio.Task[Lock]] = []
            for count in range(3):
                waiting.append(asyncio.create_task(wait()))
                await until_in_line(kv, count + 2)
            leader.process.kill()
            await surely(lambda: kv.put("k", "v", fence=first.token))
            assert len(held) == 1
            await first.release()
            for task in waiting:
                async with asyncio.timeout(DEADLINE_S):
                    lock = await task
                await surely(lambda lock=lock: kv.put("k", "v", fence=lock.token))
                for token in held[:-1]:
                    with pytest.raises(Fenced):
                        await surely(lambda token=token: kv.put("k", "", fence=token))
                assert held[-1] == lock.token
                await lock.release()
            assert [record async for record in kv.range("job/")] == []
        numbers = [number(token) for token in held]
        assert len(numbers) == 4
        assert numbers == sorted(set(numbers))


async def until_in_line(kv: AsyncClient, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len([one async for one in kv.range("job/")]) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_all_ways_to_the_same_lock_exclude_each_other(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        cluster.leader()
        node, other, third = cluster.nodes
        async with AsyncClient(cluster.endpoints, timeout=30) as kv:
            async with kv.lock("job", ttl=30) as lock:
                first = number(lock.token)
                said = await asyncio.to_thread(post, node, "/v1/locks/job", ttl=30)
                assert (said.status, said.document["code"]) == (409, "held")
                over_etcd = asyncio.create_task(
                    asyncio.to_thread(post, other, "/v3/lock/lock", name="am9i")
                )
                await until_in_line(kv, 2)
            said = await over_etcd
            assert said.status == 200
            with pytest.raises(Held):
                await kv.lock("job", wait=0).acquire()
            waiting = asyncio.create_task(
                asyncio.to_thread(post, third, "/v1/locks/job", ttl=30, wait=60)
            )
            await until_in_line(kv, 2)
            key = said.document["key"]
            unlocked = await asyncio.to_thread(post, node, "/v3/lock/unlock", key=key)
            assert unlocked.status == 200
            said = await waiting
            assert said.status == 200
            token = str(said.document["token"])
            assert number(token) > first
            await kv.put("k", "v", fence=token)
            answer = node.request("DELETE", f"/v1/locks/job?token={token}")
            assert answer.status == 204
            with pytest.raises(Fenced):
                await kv.put("k", "w", fence=token)


async def test_a_request_whose_client_goes_away_leaves_the_line(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        cluster.leader()
        async with AsyncClient(cluster.endpoints, timeout=30) as kv:
            async with kv.lock("job", ttl=30):
                address = cluster.nodes[0].node.client
                _, writer = await asyncio.open_connection(address.host, address.port)
                body = b'{"ttl": 600, "wait": 600}'
                writer.write(
                    b"POST /v1/locks/job HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body
                )
                await until_in_line(kv, 2)
                writer.close()
                await until_in_line(kv, 1)
            await until_in_line(kv, 0)
            assert await kv.leases() == []


def test_a_command_is_run_under_a_lock_and_ended_when_it_is_lost(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "cluster") as cluster:
        cluster.leader()
        environment = {**os.environ, "QUORATE_ENDPOINTS": cluster.endpoints}

        def lock(*words: str) -> "subprocess.Popen[str]":
            return subprocess.Popen(
                [*QUORATE, "lock", "job", "--ttl", "3s", *words],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        script = "print(*[__import__('os').environ[n] for n in ('QUORATE_LOCK_TOKEN',"
        script += "'QUORATE_LOCK_KEY')]); raise SystemExit(7)"
        with lock("--", sys.executable, "-c", script) as process:
            out, _ = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 7
        token, key = out.split()
        assert key.startswith("job/")
        target = f"/v1/kv/k?fence={token}"
        assert cluster.nodes[0].request("PUT", target, b"v").status == 412
        # It goes on until it is told to end, and then says that it was.
        told = tmp_path / "told"
        script = (
            "import pathlib, signal, sys\n"
            f"told = pathlib.Path({str(told)!r})\n"
            "def end(*_):\n    told.write_text('ended'); sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, end)\n"
            "told.write_text('runs')\n"
            "while True: signal.pause()\n"
        )
        with lock("--", sys.executable, "-c", script) as process:
            wait_for(lambda: told.exists() and told.read_text() == "runs", "it runs")
            leases = json.loads(cluster.nodes[0].request("GET", "/v1/leases").body)
            (lease,) = leases["leases"]
            cluster.nodes[0].request("DELETE", f"/v1/leases/{lease}")
            _, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 4
        assert "the lock was lost" in err
        assert told.read_text() == "ended"
        # Whoever ends the one who holds it ends the command, and releases the lock.
        told.unlink()
        with lock("--", sys.executable, "-c", script) as process:
            wait_for(lambda: told.exists() and told.read_text() == "runs", "it runs")
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0
        assert told.read_text() == "ended"
        shown = json.loads(cluster.nodes[0].request("GET", "/v1/locks/job").body)
        assert shown["holder"] is None
