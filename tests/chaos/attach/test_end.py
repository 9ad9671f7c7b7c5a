"""How a run against somebody's cluster ends, whoever is still there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.chaos.attach import AttachOptions, run_attached
from quorate.chaos.attach import run as running
from quorate.chaos.attach.cluster import Attached
from quorate.chaos.attach.run import AttachedRun
from quorate.chaos.harness import DEFAULT_MIX, finale
from quorate.chaos.harness.history import History
from quorate.chaos.harness.janitor import Janitor
from quorate.chaos.harness.served import Endpoint, NodeStatus
from quorate.chaos.harness.workloads import Mix
from quorate.client import AsyncClient, KeyValue
from quorate.node.launcher import NodeProcess, create_cluster


class Nothing:
    """A range without a key."""

    async def __aiter__(self) -> AsyncIterator[KeyValue]:
        for entry in ():
            yield entry


class Empty:
    """A client of a node that has no key."""

    def range(self, prefix: str, **_: object) -> Nothing:
        del prefix
        return Nothing()


class Told(Endpoint):
    """A node that is at another index each time, or does not answer."""

    def __init__(self, name: str, index: int | None, step: int) -> None:
        super().__init__(name, "127.0.0.1:1", "127.0.0.1:1", 1)
        self.clients = [cast("AsyncClient", Empty())]
        self._index, self._step = index, step

    async def status(self) -> NodeStatus | None:
        if self._index is None:
            return None
        self._index += self._step
        return NodeStatus(
            name=self.name,
            id=self.name * 8,
            role="leader" if self.name == "n1" else "follower",
            leader="n1" * 8,
            term=3,
            commit_index=self._index,
            applied_index=self._index,
            last_index=self._index,
            proposals_pending=0,
            reads_pending=0,
            revision=30,
            keys=9,
            state_hash="aa",
        )

    async def close(self) -> None:
        await self.control.close()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finale, "HASHES_SECONDS_MAX", 0.1)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "history.jsonl") as history:
        yield history


def run_in(
    tmp_path: Path, *, duration_s: float | None = None, load: Mix | None = None
) -> AttachedRun:
    options = AttachOptions(
        seed=1, endpoints=("127.0.0.1:1",), duration_s=duration_s, load=load or {}
    )
    return AttachedRun(options, {}, tmp_path, lambda _: None)


async def test_where_no_hashes_could_be_compared_the_run_is_void(
    tmp_path: Path, history: History
) -> None:
    run = run_in(tmp_path)
    apart = Attached([Told("n1", 100, 1), Told("n2", 9000, 1)], 1)
    await run._ask_all(apart, history)
    assert run.reasons == [
        f"{name} was seen at no index with another node: its hash was not compared"
        for name in ("n1", "n2")
    ]


async def test_where_the_hash_of_one_node_was_not_compared_the_run_is_void(
    tmp_path: Path, history: History
) -> None:
    run = run_in(tmp_path)
    nodes = [Told("n1", 100, 0), Told("n2", 100, 0), Told("n3", 9000, 1)]
    await run._ask_all(Attached([*nodes], 1), history)
    assert [reason.split()[0] for reason in run.reasons] == ["n3"]


async def test_a_load_that_waits_for_nodes_that_have_all_gone_ends(
    tmp_path: Path, history: History
) -> None:
    run = run_in(tmp_path, duration_s=0.1)
    cluster = Attached([Told("n1", None, 0), Told("n2", None, 0)], 1)

    async def nothing(*_: object) -> float:
        return 0.0

    def start(group: asyncio.TaskGroup) -> None:
        group.create_task(cluster.pick(Random(1)))

    def ignore(*_: object) -> None:
        pass

    load: Any = SimpleNamespace(start=ignore, stop=ignore, next_acknowledgement=nothing)
    loads: Any = SimpleNamespace(start=start, need=ignore)
    async with asyncio.timeout(5):
        await run._load_and_faults(cluster, history, load, loads)


async def test_where_all_nodes_have_gone_nobody_is_asked_and_the_run_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path, load=dict(DEFAULT_MIX))

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(run, "_load_and_faults", nothing)
    cluster = Attached([Told("n1", None, 0), Told("n2", None, 0)], 1)
    await run._run_on(cluster)
    assert run.reasons == [
        *("n1 does not answer in the end", "n2 does not answer in the end"),
    ]
    assert "watches: not judged: nobody told all revisions" in run.void_reasons()


@pytest.mark.parametrize("names", [["n1"], ["n1", "n2", "n3"]])
async def test_one_node_or_nodes_at_one_index_are_enough(
    tmp_path: Path, history: History, names: list[str]
) -> None:
    run = run_in(tmp_path)
    told = await run._ask_all(Attached([Told(n, 100, 0) for n in names], 1), history)
    assert run.reasons == []
    assert told.startswith(f"0 keys read through each of {len(names)} nodes; ")


@pytest.mark.slow
async def test_whoever_is_killed_leaves_the_nodes_alone_whose_folder_has_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its janitor ended all nodes below that folder, which are somebody else's."""
    cluster = create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0)
    process = NodeProcess(cluster.nodes[0])
    killed: list[Janitor] = []

    class Killed(Janitor):
        def dismiss(self) -> None:
            child, self._process = self._process, None
            if child is not None:
                # As when nobody is there to say that all is clean.
                child.communicate()
                killed.append(self)

    monkeypatch.setattr(running, "Janitor", Killed)
    try:
        process.start()
        process.wait_ready(60.0)
        options = AttachOptions(seed=1, endpoints=("127.0.0.1:1",), patience_s=0.1)
        report = tmp_path / "c"
        told = await run_attached(options, {}, report, lambda _: None, asyncio.Event())
        assert told.verdict == "void"
        assert killed
        assert process.alive
    finally:
        process.kill()
