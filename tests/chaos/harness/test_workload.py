"""The load against a store in this process that is right, or wrong on purpose."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import SupportsIndex

import pytest
from quorate.chaos.harness.cluster import Cluster, Node
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.finale import check_keys, check_recording
from quorate.chaos.harness.history import Done, History, Recording, read_history
from quorate.chaos.harness.ledger import Found, Ledger
from quorate.chaos.harness.verdict import Counts, Violation
from quorate.chaos.harness.workload import Clock, Gap, Workload
from quorate.chaos.histories import NOT_TOLD, check_linearizable, describe
from quorate.client import (
    AsyncClient,
    KeyValue,
    PreconditionFailed,
    ReadLevel,
    ServerFault,
    Unavailable,
    Unknown,
)
from quorate.client.values import to_bytes
from quorate.node.address import Address
from quorate.node.launcher import LocalCluster, LocalNode


class Store:
    """A register per key, and what may go wrong with a put."""

    def __init__(self) -> None:
        self.records: dict[str, Found] = {}
        self.revision = 1
        self.puts = 0
        self.before: Callable[[], Awaitable[None]] | None = None
        self.after: Callable[[], None] | None = None
        self.forgets = False

    def apply(self, key: str, value: bytes) -> int:
        self.revision += 1
        version = self.records[key].version + 1 if key in self.records else 1
        if not (self.forgets and version > 1):
            self.records[key] = Found(value, self.revision, version)
        return self.revision


class StoreClient(AsyncClient):
    """A client of the store, with one turn of the loop for each way."""

    def __init__(self, store: Store) -> None:
        super().__init__("127.0.0.1:1")
        self.store = store

    async def put(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        lease: SupportsIndex = 0,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> int:
        assert isinstance(key, str)
        assert not lease
        assert fence is None
        store = self.store
        store.puts += 1
        await asyncio.sleep(0)
        if store.before is not None:
            await store.before()
        at = store.records[key].revision if key in store.records else 0
        if if_revision is not None and at != if_revision:
            raise PreconditionFailed("at another revision", at)
        revision = store.apply(key, to_bytes(value))
        await asyncio.sleep(0)
        if store.after is not None:
            store.after()
        return revision

    async def get(
        self,
        key: str | bytes,
        *,
        level: ReadLevel = "linearizable",
        max_staleness: float | None = None,
        min_revision: int = 0,
        revision: int = 0,
        timeout: float | None = None,
    ) -> KeyValue | None:
        assert isinstance(key, str)
        assert level == "linearizable"
        assert not revision
        await asyncio.sleep(0)
        found = self.store.records.get(key)
        await asyncio.sleep(0)
        if found is None:
            return None
        return KeyValue(
            key.encode(), found.value, 2, found.revision, found.version, lease=0
        )


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cluster(store: Store, tmp_path: Path) -> Cluster:
    """Three nodes that are up, all of them the store; no process is started."""
    nodes = tuple(
        LocalNode(f"n{i}", tmp_path, Address("127.0.0.1", 1), Address("127.0.0.1", 2))
        for i in (1, 2, 3)
    )
    cluster = Cluster(
        LocalCluster(tmp_path, nodes), command=None, power_loss=False, connections=1
    )
    for node in cluster.nodes:
        node.clients = [StoreClient(store)]
        node.up.set()
    cluster.any_up.set()
    return cluster


class Load:
    """A workload that runs, its ledger, and where its history is."""

    def __init__(self, cluster: Cluster, path: Path, writers: int) -> None:
        self.path = path
        self.ledger = Ledger(32)
        self.counts = Counts()
        self.history = History(path)
        self.recording = Recording()
        self.clock = Clock()
        self.workload = Workload(
            cluster,
            self.ledger,
            self.history,
            self.recording,
            self.clock,
            self.counts,
            seed=1,
            writers=writers,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Workload]:
        with self.history:
            async with asyncio.TaskGroup() as group:
                self.workload.start(group)
                yield self.workload
                self.workload.stop()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            # Counters are plain numbers: nothing can wake who waits for them.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def violation(self) -> Violation:
        """Run until something is objected to."""
        with pytest.raises(ExceptionGroup) as caught:
            async with self.running(), asyncio.timeout(10):
                await asyncio.Event().wait()
        first = caught.value.exceptions[0]
        assert isinstance(first, Violated)
        return first.violation

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]


@pytest.fixture
def load(cluster: Cluster, tmp_path: Path) -> Load:
    return Load(cluster, tmp_path / "history.jsonl", 8)


def sometimes(error: Exception, seed: int, share: float = 0.1) -> Callable[[], None]:
    """Raise `error` one time in ten, or in that share."""
    dice = Random(seed)

    def fail() -> None:
        if dice.random() < share:
            raise error

    return fail


async def test_a_right_store_under_load_is_not_objected_to(
    load: Load, store: Store
) -> None:
    async with load.running():
        await load.until(lambda: load.counts.acknowledged > 300)
        await load.until(lambda: load.counts.reads > 50)
    for key in load.ledger.keys:
        found = store.records.get(key)
        assert load.ledger.check_final(key, "n1", found, load.clock.now()) is None
    assert load.workload.in_flight == 0
    assert load.counts.operations == len(load.events())


async def test_all_operations_are_recorded_as_they_ended_and_judged_as_a_whole(
    load: Load, store: Store
) -> None:
    store.after = sometimes(Unknown("the link broke"), 1)
    async with load.running():
        await load.until(lambda: load.counts.unknown > 60 and load.counts.reads > 50)
    recorded = Counter(
        (operation.kind, operation.outcome) for operation in load.recording.operations
    )
    told = Counter((str(e["kind"]), str(e["outcome"])) for e in load.events())
    assert recorded == told
    assert told["cas", "unknown"]
    total = len(load.recording.operations)
    assert check_recording(load.recording) == (
        f"replay and linearizability each looked at {total} operations, 0 keys"
        " undecided; 0 operations left out"
    )


async def test_a_refused_cas_is_recorded_with_what_it_came_upon(
    load: Load, store: Store, cluster: Cluster
) -> None:
    node = cluster.nodes[0]
    with load.history:
        await load.workload.put("a", node, 0, 0)
        store.after = sometimes(Unknown("the link broke"), 1, share=1.0)
        await load.workload.put("a", node, 0, 2)
        store.after = None
        await load.workload.put("a", node, 0, 2)
    assert [describe(o).partition(" cas ")[2] for o in load.recording.operations] == [
        "a 0=nothing a:1 ok r2",
        "a 2=a:1 a:2 unknown",
        "a 2=a:1 a:3 refused m3",
    ]


async def test_the_last_reads_are_recorded_too(
    load: Load, cluster: Cluster, tmp_path: Path
) -> None:
    async with load.running():
        await load.until(lambda: load.counts.acknowledged > 100)
    node, keys = cluster.nodes[0], load.ledger.keys
    with History(tmp_path / "last.jsonl") as history:
        await check_keys(node, load.ledger, load.recording, history, load.clock)
    lines = list(read_history(tmp_path / "last.jsonl"))
    assert sorted(one.key for one in lines if isinstance(one, Done)) == keys
    last = load.recording.operations[-len(keys) :]
    assert sorted(operation.key.decode() for operation in last) == keys
    assert all(o.outcome == "ok" and o.value is not None for o in last)
    check_recording(load.recording)


async def test_a_stale_read_in_the_recorded_operations_is_found(load: Load) -> None:
    async with load.running():
        await load.until(lambda: load.counts.acknowledged > 300)
    operations = load.recording.operations
    first, *_, last = (o for o in operations if o.key == operations[0].key)
    assert last.end is not None
    stale = load.recording.read_begins("", 77, load.clock.now())
    stale.key, stale.value = first.key, first.value
    stale.outcome, stale.end = "ok", stale.start + 1
    stale.mod_revision = first.revision
    with pytest.raises(Violated) as caught:
        check_recording(load.recording)
    violation = caught.value.violation
    assert violation.kind == "stale read"
    assert violation.subject == first.key.decode()
    assert f"c77 {stale.start}..{stale.end} get" in violation.found
    # The other checker needs no revisions to see it.
    for operation in operations:
        operation.revision = 0
        operation.mod_revision = NOT_TOLD
    assert check_linearizable(operations).objection is not None


async def test_a_blind_writer_leaves_a_key_whose_last_write_is_unknown(
    load: Load, store: Store
) -> None:
    store.after = sometimes(Unknown("the link broke"), 1)
    async with load.running():
        await load.until(lambda: load.counts.unknown > 20)
    left: set[object] = set()
    conditional = 0
    for event in load.events():
        if event["kind"] == "put":
            assert event["key"] not in left
            if event["outcome"] == "unknown":
                left.add(event["key"])
        elif event["kind"] == "cas":
            conditional += event["outcome"] == "unknown"
    assert left
    assert conditional


async def test_a_conditional_writer_goes_on_with_its_key_after_an_unknown_write(
    load: Load, store: Store
) -> None:
    store.after = sometimes(Unknown("the link broke"), 1)

    def keys() -> set[object]:
        return {e["key"] for e in load.events() if e["kind"] == "cas"}

    async with load.running():
        # Of 8 writers two are conditional, with four keys each, for ever.
        await load.until(lambda: load.counts.unknown > 60 and len(keys()) >= 8)
    assert len(keys()) == 8
    for key in load.ledger.keys:
        found = store.records.get(key)
        assert load.ledger.check_final(key, "n1", found, load.clock.now()) is None


async def test_a_store_that_forgets_a_write_is_noticed(
    load: Load, store: Store
) -> None:
    store.forgets = True
    violation = await load.violation()
    assert violation.kind in ("stale read", "condition wrongly refused")


async def test_a_write_that_is_refused_and_happens_is_noticed(
    load: Load, store: Store
) -> None:
    store.after = sometimes(Unavailable("nobody took it"), 1)
    violation = await load.violation()
    assert violation.kind in ("refused write applied", "condition wrongly refused")


async def test_a_node_that_says_that_it_has_a_bug_is_a_violation(
    load: Load, store: Store
) -> None:
    store.after = sometimes(ServerFault("internal: a bug"), 1)
    violation = await load.violation()
    assert violation.kind == "wrong refusal"
    assert "ServerFault: internal: a bug" in violation.found


async def test_probers_go_on_when_nobody_answers(load: Load, store: Store) -> None:
    answered = asyncio.Event()

    async def wait() -> None:
        await answered.wait()

    store.before = wait
    load.workload.writers = 0
    async with load.running():
        await load.until(lambda: store.puts >= 9)
        assert load.counts.writes == 0
        answered.set()
    assert load.counts.acknowledged >= 9


async def test_a_gap_ends_with_a_write_that_began_after_it(
    load: Load, store: Store, cluster: Cluster
) -> None:
    answered = asyncio.Event()

    async def wait() -> None:
        await answered.wait()

    store.before = wait
    with load.history:
        early = asyncio.ensure_future(load.workload.put("a", cluster.nodes[0], 0))
        await load.until(lambda: store.puts == 1)
        began_s = load.clock.now()
        waiting = asyncio.ensure_future(
            load.workload.next_acknowledgement(began_s, 10.0)
        )
        await load.until(lambda: load.clock.now() > began_s)
        answered.set()
        await early
        assert not waiting.done()
        await load.workload.put("b", cluster.nodes[0], 0)
        assert await waiting > began_s


async def test_the_longest_gap_is_between_two_acknowledgements() -> None:
    gap = Gap(10.0)
    for now_s in (10.5, 11.0, 13.0, 13.1):
        gap.note(now_s)
    assert gap.longest_s == 2.0
    gap.restart(20.0)
    gap.note(20.25)
    assert gap.longest_s == 0.25


async def test_no_acknowledgement_in_time_is_a_violation(load: Load) -> None:
    with load.history, pytest.raises(Violated) as caught:
        await load.workload.next_acknowledgement(0.0, 0.01)
    assert caught.value.violation.kind == "no progress"


async def test_only_nodes_that_are_up_are_chosen(cluster: Cluster) -> None:
    first, second, third = cluster.nodes
    first.up.clear()
    dice = Random(1)
    assert {(await cluster.pick(dice)).name for _ in range(50)} == {"n2", "n3"}
    second.up.clear()
    third.up.clear()
    cluster.any_up.clear()
    picking = asyncio.ensure_future(cluster.pick(dice))
    await asyncio.sleep(0)
    assert not picking.done()
    come_up(cluster, third)
    assert await picking is third


def come_up(cluster: Cluster, node: Node) -> None:
    node.up.set()
    cluster.any_up.set()
