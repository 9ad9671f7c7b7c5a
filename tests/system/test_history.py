"""The past on real nodes: read in every way, compacted, and kept through a crash."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from quorate import AsyncClient
from quorate.cli import group
from quorate.client import Compacted, FutureRevision, ReadLevel

from .harness import DEADLINE_S, Cluster, Running, running_cluster, surely, wait_for

pytestmark = pytest.mark.slow

KEY = "history"
PATH = f"/v1/kv/{KEY}"
VERSIONS = 6
# What the leader keeps by itself, in the test of that.
KEPT = 16


def run(node: Running, *arguments: str) -> Result:
    """`quorate`, asking this node; what fails for an election is asked again."""
    where = [f"--endpoints={node.node.client}", "--timeout=60s"]

    def answered() -> Result | None:
        result = CliRunner().invoke(group, [*arguments, *where])
        if result.exception is not None and not isinstance(
            result.exception, SystemExit
        ):
            raise result.exception
        return None if result.exit_code in (5, 6) else result

    return wait_for(answered, f"an answer to {arguments}")


def client_of(node: Running) -> AsyncClient:
    return AsyncClient(str(node.node.client), learn=False, timeout=DEADLINE_S)


async def put_all(cluster: Cluster, count: int) -> dict[int, bytes]:
    """The key's value at each revision that a put of it made."""
    values: dict[int, bytes] = {}
    async with AsyncClient(cluster.endpoints, timeout=DEADLINE_S) as kv:
        for number in range(count):
            value = b"version %d" % number
            revision = await surely(lambda value=value: kv.put(KEY, value))
            values[revision] = value
    return values


async def delete(cluster: Cluster) -> int:
    """Delete the key; a revision at which it is gone."""
    async with AsyncClient(cluster.endpoints, timeout=DEADLINE_S) as kv:
        await surely(lambda: kv.delete(KEY))
        return await surely(lambda: kv.put("another", "1"))


async def got(
    node: Running,
    revision: int,
    level: ReadLevel = "linearizable",
    min_revision: int = 0,
) -> bytes | None:
    async with client_of(node) as kv:
        entry = await surely(
            lambda: kv.get(
                KEY, level=level, min_revision=min_revision, revision=revision
            )
        )
    return None if entry is None else entry.value


async def listed(node: Running, revision: int) -> dict[str, bytes]:
    async with client_of(node) as kv:

        async def all_of_them() -> dict[str, bytes]:
            found = kv.range(KEY, revision=revision)
            return {one.key.decode(): one.value async for one in found}

        return await surely(all_of_them)


def check(cluster: Cluster, values: Mapping[int, bytes], gone_at: int) -> None:
    """Every revision is read in every way, on every node, and shows what was there."""
    follower = cluster.followers()[0]
    for revision, value in values.items():
        for node in cluster.nodes:
            answer = node.request("GET", f"{PATH}?revision={revision}")
            assert (answer.status, answer.body) == (200, value)
            assert answer.headers["ETag"] == f'"{revision}"'
            assert asyncio.run(got(node, revision)) == value
            assert asyncio.run(listed(node, revision)) == {KEY: value}
        # What is only in its own state, once that has come so far.
        assert asyncio.run(got(follower, revision, "local", gone_at)) == value
        shown = run(follower, "get", KEY, "--rev", str(revision), "--print-value-only")
        assert (shown.exit_code, shown.stdout_bytes) == (0, value + b"\n")
    for node in cluster.nodes:
        assert node.request("GET", f"{PATH}?revision={gone_at}").status == 404
        assert asyncio.run(got(node, gone_at)) is None
    assert run(follower, "get", KEY, "--rev", str(gone_at)).exit_code == 3


def refused(work: Coroutine[None, None, object]) -> tuple[str, int]:
    """How a call of the client ends that is refused for its revision."""
    with pytest.raises((Compacted, FutureRevision)) as caught:
        asyncio.run(work)
    return type(caught.value).__name__, caught.value.revision


def check_gone(cluster: Cluster, revision: int, oldest: int) -> None:
    """A revision is refused in every way, on every node, with the oldest kept one."""
    for node in cluster.nodes:
        for path in (PATH, "/v1/kv/"):
            answer = node.request("GET", f"{path}?revision={revision}")
            assert answer.status == 410
            assert answer.problem == ("compacted", "")
            assert json.loads(answer.body)["revision"] == oldest
        assert refused(got(node, revision)) == ("Compacted", oldest)
        shown = run(node, "get", KEY, "--rev", str(revision))
        assert (shown.exit_code, shown.stdout) == (1, "")
        assert f"kept is {oldest}" in shown.stderr


def test_the_past_is_read_in_every_way_until_it_is_compacted(own: Cluster) -> None:
    values = asyncio.run(put_all(own, VERSIONS))
    gone_at = asyncio.run(delete(own))
    check(own, values, gone_at)
    assert {each.status().compacted for each in own.nodes} == {0}
    oldest = sorted(values)[VERSIONS // 2]
    follower = own.followers()[0]
    answer = follower.request("POST", f"/v1/compaction?revision={oldest}")
    # It may have been asked twice, and done the first time.
    assert answer.status in (200, 410), answer.body
    if answer.status == 200:
        told = json.loads(answer.body)
        assert told["compacted"] == oldest
        assert told["revision"] >= gone_at
    again = follower.request("POST", f"/v1/compaction?revision={oldest}")
    assert again.problem == ("compacted", "not_applied")
    assert json.loads(again.body)["revision"] == oldest
    kept = {revision: v for revision, v in values.items() if revision >= oldest}
    check(own, kept, gone_at)
    check_gone(own, oldest - 1, oldest)
    for each in own.nodes:
        each.process.kill()
    own.start()
    check(own, kept, gone_at)
    check_gone(own, oldest - 1, oldest)
    own.wait_until_equal()
    assert {each.status().compacted for each in own.nodes} == {oldest}
    done = run(follower, "compaction", str(oldest + 1))
    if done.exit_code == 0:
        assert done.stdout == f"compacted revision {oldest + 1}\n"
    else:
        assert f"kept is {oldest + 1}" in done.stderr, "as above"
    check_gone(own, oldest, oldest + 1)


def test_a_revision_that_is_not_there_yet_is_refused_and_not_waited_for(
    healthy: Cluster,
) -> None:
    for node in healthy.nodes:
        newest = node.status().revision
        for path in (PATH, "/v1/kv/"):
            answer = node.request("GET", f"{path}?revision={newest + 1000}")
            assert answer.problem == ("future_revision", "")
            assert json.loads(answer.body)["revision"] >= newest
        answer = node.request("POST", f"/v1/compaction?revision={newest + 1000}")
        assert answer.problem == ("future_revision", "not_applied")
        name, _ = refused(got(node, newest + 1000))
        assert name == "FutureRevision"
        assert run(node, "get", KEY, "--rev", str(newest + 1000)).exit_code == 1
        assert run(node, "compaction", str(newest + 1000)).exit_code == 1


def test_a_list_shows_one_revision_whichever_nodes_its_pages_come_from(
    healthy: Cluster,
) -> None:
    names = [f"list/{number}" for number in range(9)]
    for name in names:
        assert healthy.nodes[0].request("PUT", f"/v1/kv/{name}", b"old").status == 200
    query, keys, revisions = "", list[str](), set[int]()
    while True:
        # Each page from the next node, from its own state.
        node = healthy.nodes[len(keys) % 3]
        level = "&consistency=local&min_revision=2" if query else ""
        path = f"/v1/kv/?prefix=list/&limit=2{level}{query}"
        page = json.loads(node.request("GET", path).body)
        revisions.add(page["revision"])
        for record in page["kvs"]:
            keys.append(record["key"])
            assert record["value64"] == "b2xk"
        if not page["more"]:
            break
        query = f"&cursor={page['cursor']}"
        healthy.nodes[0].request("DELETE", f"/v1/kv/{names[len(keys) - 1]}")
        healthy.nodes[0].request("PUT", f"/v1/kv/{names[-1]}", b"new")
    assert keys == names
    assert len(revisions) == 1
    for name in names:
        healthy.nodes[0].request("DELETE", f"/v1/kv/{name}")


def compacted_by_itself(nodes: list[Running]) -> int | None:
    """The oldest revision, once all of these keep no more than they should."""
    states = [each.status() for each in nodes]
    done = all(0 < s.revision - s.compacted <= KEPT + KEPT // 8 for s in states)
    oldest = {status.compacted for status in states}
    return oldest.pop() if done and len(oldest) == 1 else None


def write_until_compacted(cluster: Cluster, living: list[Running]) -> tuple[int, int]:
    """The oldest and the newest revision, after much was written."""
    values = asyncio.run(put_all(cluster, 3 * KEPT))
    newest = max(values)
    oldest = wait_for(lambda: compacted_by_itself(living), "a compaction")
    assert newest - oldest >= KEPT
    for revision in range(newest - KEPT, newest + 1):
        answer = living[0].request("GET", f"{PATH}?revision={revision}")
        assert answer.status == 200
        assert answer.body == values.get(revision, answer.body)
    for node in living:
        answer = node.request("GET", f"{PATH}?revision={oldest - 1}")
        assert answer.problem == ("compacted", "")
    return oldest, newest


def test_the_leader_compacts_by_itself_and_so_does_the_next(tmp_path: Path) -> None:
    environment = {"QUORATE_LIMITS_HISTORY_REVISIONS": str(KEPT)}
    with running_cluster(tmp_path / "c", environment=environment) as cluster:
        _, before = write_until_compacted(cluster, cluster.nodes)
        leader = cluster.leader()
        leader.process.stop()
        left = [each for each in cluster.nodes if each is not leader]
        oldest, _ = write_until_compacted(cluster, left)
        assert oldest > before
