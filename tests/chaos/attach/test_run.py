"""Runs against clusters that others have started: sound ones, and one that lies."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from quorate.chaos.attach import AttachOptions, load_faults, run_attached
from quorate.chaos.harness import FaultResult, Moment, Started, Summary
from quorate.client import Client
from quorate.client.options import ClientOptions
from quorate.node.launcher import COMMAND, LocalCluster, NodeProcess, create_cluster

pytestmark = pytest.mark.slow

MUTATED = (sys.executable, "-P", "-m", "quorate.chaos.simulator.mutated_node")
TOKEN = "a-token-of-more-than-32-characters-in-all"
READY_SECONDS_MAX = 60.0
QUORATE = " ".join(COMMAND)

Event = Started | Moment | FaultResult
Begin = Callable[..., LocalCluster]
Attach = Callable[..., Awaitable[Summary]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Three nodes, as somebody would run them."""
    started: list[NodeProcess] = []

    def begin(command: Sequence[str] = COMMAND, **environment: str) -> LocalCluster:
        names = ["n1", "n2", "n3"]
        cluster = create_cluster(tmp_path / "c", names, client_port=0, peer_port=0)
        for node in cluster.nodes:
            process = NodeProcess(node, command=command, environment=environment)
            started.append(process)
            process.start()
        for process in started:
            process.wait_ready(READY_SECONDS_MAX)
        return cluster

    yield begin
    for process in started:
        process.kill()
        # By somebody's command it may have another process by now.
        process.node.stop_process(0.0)


@pytest.fixture
def attach(tmp_path: Path) -> Attach:
    """A short run with a report below `tmp_path`."""

    async def attach(
        cluster: LocalCluster,
        faults: str = "",
        *,
        stop: asyncio.Event | None = None,
        tell: Callable[[Event], None] = lambda _: None,
        client: ClientOptions | None = None,
        **more: object,
    ) -> Summary:
        options = AttachOptions(
            seed=5,
            endpoints=tuple(str(node.client) for node in cluster.nodes),
            writers=8,
            value_bytes=64,
            load={"transfers": 20.0, "watches": 0.0},
        )
        if faults:
            path = tmp_path / "faults.toml"
            path.write_text(faults)
            options = msgspec.structs.replace(options, faults=load_faults(path))
        options = msgspec.structs.replace(options, **more)
        report = tmp_path / "report"
        report.mkdir(exist_ok=True)
        return await run_attached(
            options, client or {}, report, tell, stop or asyncio.Event()
        )

    return attach


def kill_and_start(cluster: LocalCluster, name: str) -> str:
    folder = cluster.directory / name
    return f"""
[fault.kill-{name}]
begin = "echo killing; kill -9 $(cat {folder}/pid)"
end = "{QUORATE} node --dir {folder} > {folder}/log 2>&1 &"
hold = "300ms-1s"
nodes = ["{name}"]
"""


async def test_a_sound_cluster_whose_node_is_killed_and_started_is_valid(
    begin: Begin, attach: Attach, tmp_path: Path
) -> None:
    cluster = begin()
    events: list[Event] = []
    with Client(str(cluster.nodes[0].client)) as client:
        client.put("mine", b"before")
    faults = kill_and_start(cluster, "n2")
    summary = await attach(cluster, faults, rounds=2, tell=events.append)
    assert summary.verdict == "valid", summary
    assert summary.faults["kill-n2"].overlapped == 2
    assert summary.workloads["transfers"].ok >= summary.workloads["transfers"].needed
    report = tmp_path / "report"
    said = sorted(path.name for path in (report / "commands").iterdir())
    assert said == [
        *("0001-kill-n2-begin.txt", "0002-kill-n2-end.txt"),
        *("0003-kill-n2-begin.txt", "0004-kill-n2-end.txt"),
    ]
    assert (report / "commands" / said[0]).read_text() == "killing\n"
    plan = json.loads((report / "schedule.json").read_bytes())
    assert [one["fault"] for one in plan] == ["kill-n2", "kill-n2"]
    history = (report / "history.jsonl").read_bytes()
    lines = [json.loads(line) for line in history.splitlines()]
    assert sum(line["event"] == "fault" for line in lines) == 2
    page = (report / "index.html").read_text()
    assert "A cluster that was running" in page
    assert "kill-n2</td><td>2</td><td>2</td>" in page
    # Nothing of ours is left, and what was there before is.
    with Client(str(cluster.nodes[0].client)) as client:
        assert [entry.key for entry in client.range("")] == [b"mine"]


async def test_a_cluster_that_lies_is_caught(begin: Begin, attach: Attach) -> None:
    cluster = begin((*MUTATED, "every-node-answers-alone"))
    folder = cluster.directory
    # One that is cut off, as far as commands without privileges go: it stands still.
    pause = f"""
[fault.pause]
begin = "kill -STOP $(cat {folder}/n1/pid)"
end = "kill -CONT $(cat {folder}/n1/pid)"
hold = "2s"
"""
    summary = await attach(cluster, pause, rounds=5, writers=32)
    assert summary.verdict == "violated", summary
    assert summary.violations[0].subject.startswith("quorate-chaos/")


async def test_nodes_that_want_a_token_get_it_and_no_report_has_it(
    begin: Begin, attach: Attach, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    cluster = begin(QUORATE_CLIENT_TOKEN_FILE=str(tokens))
    refused = await attach(cluster, duration_s=1.0)
    assert refused.verdict == "void"
    assert "token" in refused.reasons[0]
    summary = await attach(cluster, duration_s=2.0, client={"token": TOKEN})
    assert summary.verdict == "valid", summary
    for path in (tmp_path / "report").rglob("*.*"):
        assert TOKEN.encode() not in path.read_bytes()


async def test_writes_that_are_refused_for_longer_than_allowed_are_a_violation(
    begin: Begin, attach: Attach
) -> None:
    cluster = begin()
    pids = " ".join(f"$(cat {node.directory}/pid)" for node in cluster.nodes)
    # It ends, and what it has done goes on for a while.
    faults = f"""
[fault.freeze]
begin = "kill -STOP {pids}"
end = "(sleep 5; kill -CONT {pids}) &"
hold = "0s"
"""
    summary = await attach(cluster, faults, rounds=1, recover_s=1.0)
    assert summary.verdict == "violated", summary
    assert "an acknowledged write within 1 s" in summary.violations[0].expected


async def test_an_interrupted_run_ends_its_fault_and_takes_its_keys_away(
    begin: Begin, attach: Attach, tmp_path: Path
) -> None:
    cluster = begin()
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    faults = f"""
[fault.mark]
begin = "touch {begun}"
end = "touch {ended}"
hold = "10m"
"""
    stop = asyncio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Moment) and begun.exists():
            stop.set()

    summary = await attach(cluster, faults, rounds=1, stop=stop, tell=tell)
    assert summary.verdict == "void"
    assert summary.reasons == ["it was interrupted"]
    assert ended.exists()
    with Client(str(cluster.nodes[0].client)) as client:
        assert list(client.range("")) == []


async def test_a_command_that_ends_a_fault_is_not_interrupted(
    begin: Begin, attach: Attach, tmp_path: Path
) -> None:
    cluster = begin()
    ending, ended = tmp_path / "ending", tmp_path / "ended"
    faults = f"""
[fault.mark]
begin = "true"
end = "touch {ending}; sleep 2; touch {ended}"
hold = "0s"
"""
    stop = asyncio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Moment) and ending.exists():
            stop.set()

    summary = await attach(cluster, faults, rounds=1, stop=stop, tell=tell)
    assert summary.reasons == ["it was interrupted"]
    assert ended.exists()


async def test_commands_that_fail_leave_a_run_void_with_what_they_said(
    begin: Begin, attach: Attach
) -> None:
    cluster = begin()
    faults = """
[fault.nothing]
begin = "echo no such machine; exit 7"
[fault.stuck]
begin = "true"
end = "echo still down; exit 1"
hold = "0s"
"""
    summary = await attach(cluster, faults, rounds=2)
    assert summary.verdict == "void"
    told = "; ".join(summary.reasons)
    assert "stuck was not ended: exit code 1: still down" in told


async def test_endpoints_that_are_no_cluster_are_void_before_anything_is_tried(
    begin: Begin, attach: Attach
) -> None:
    cluster = begin()
    address = str(cluster.nodes[0].client)
    twice = await attach(cluster, endpoints=(address, address), duration_s=1.0)
    assert twice.reasons == ["two of the endpoints are the same node"]
    nobody = await attach(
        cluster, endpoints=("127.0.0.1:1",), duration_s=1.0, patience_s=0.5
    )
    assert nobody.verdict == "void"
    assert nobody.reasons[0].startswith("127.0.0.1:1: ")
    assert nobody.counts.operations == 0
