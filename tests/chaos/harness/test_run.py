"""Whole runs with real processes: few, short, and one of them with a planted bug."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from processes import processes_below
from quorate.chaos.harness import (
    DEFAULT_MIX,
    FaultResult,
    HarnessOptions,
    Moment,
    Started,
    network,
    strikes,
)
from quorate.chaos.harness.network import Told, Way
from quorate.chaos.harness.run import Event, run_harness

from .conftest import Run

pytestmark = pytest.mark.slow

MUTATED = (sys.executable, "-P", "-m", "quorate.chaos.simulator.mutated_node")
# Ends at once, as a node on a machine that lacks something would.
BROKEN = (sys.executable, "-c", "raise SystemExit('no such machine')")


async def test_a_short_run_of_all_kills_loses_nothing(run: Run, tmp_path: Path) -> None:
    options = HarnessOptions(seed=3, rounds=3, writers=8, value_bytes=64)
    summary, events = await run(options)
    assert summary.verdict == "valid", summary
    assert set(summary.faults) == {"kill-one", "kill-leader", "kill-all"}
    for count in summary.faults.values():
        assert (count.fired, count.overlapped) == (1, 1)
    assert summary.counts.acknowledged > 100
    assert summary.counts.reads > 0
    agreed, judged = summary.checks
    assert agreed.startswith("3 nodes at index ")
    looked_at = re.match(r"replay and linearizability each looked at (\d+) ", judged)
    assert looked_at is not None
    # Those of the load, and each key once more through each node.
    in_the_end = 3 * summary.keys
    assert int(looked_at[1]) == summary.counts.operations + in_the_end
    assert judged.endswith("0 keys undecided; 0 operations left out")
    assert [type(event) for event in events if not isinstance(event, Moment)] == [
        Started,
        FaultResult,
        FaultResult,
        FaultResult,
    ]
    report = tmp_path / "report"
    told = json.loads((report / "summary.json").read_bytes())
    assert told["verdict"] == "valid"
    assert told["options"]["seed"] == 3
    assert len(json.loads((report / "schedule.json").read_bytes())) == 3
    lines = (report / "history.jsonl").read_bytes().splitlines()
    history = [json.loads(line) for line in lines]
    writes = [event for event in history if event.get("kind") in ("put", "cas")]
    done = [event for event in writes if event["outcome"] == "ok"]
    assert len(done) == summary.counts.acknowledged
    assert sum(event["event"] == "fault" for event in history) == 3
    assert sum(event["event"] == "kill" for event in history) == 3
    assert sum(event["event"] == "start" for event in history) == 5
    for name in ("n1", "n2", "n3"):
        assert (report / "logs" / f"{name}.log").stat().st_size > 0


@pytest.mark.parametrize(
    "faults",
    [
        ("isolate-leader", "one-way-out", "half-open", "flip"),
        ("pause-leader", "stop-one", "slow", "client-cut"),
    ],
)
async def test_faults_of_links_and_processes_strike_at_once(
    run: Run, tmp_path: Path, faults: tuple[str, ...]
) -> None:
    options = HarnessOptions(
        seed=4, faults=faults, rounds=2, at_once=2, writers=8, value_bytes=64
    )
    summary, _ = await run(options)
    assert summary.verdict == "valid", summary
    assert set(summary.faults) == set(faults)
    page = (tmp_path / "report" / "index.html").read_text()
    for kind in faults:
        assert f"{kind}</td><td>1</td><td>1</td>" in page


async def test_a_fault_that_another_one_left_nothing_to_strike_comes_again_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of `mixed` were void: the leader had been removed, or its disk had failed,
    before its links were cut.
    """
    counts: list[int] = []

    def touched(before: Told, after: Told, ways: Iterable[Way]) -> int:
        counts.append(network.touched(before, after, ways) if counts else 0)
        return counts[-1]

    monkeypatch.setattr(strikes, "touched", touched)
    options = HarnessOptions(
        seed=4,
        faults=("pause-leader", "one-way-in"),
        rounds=1,
        at_once=2,
        writers=8,
        value_bytes=64,
    )
    summary, events = await run(options)
    assert summary.verdict == "valid", summary
    results = [event for event in events if isinstance(event, FaultResult)]
    told = [(each.number, each.kind, each.touched > 0) for each in results]
    assert sorted(told) == [
        (1, "one-way-in", False),
        (1, "one-way-in", True),
        (1, "pause-leader", True),
    ]
    assert [each.at_once for each in results] == [2, 2, 1]


@pytest.mark.parametrize(
    "faults",
    [
        ("eio-sync", "full-disk", "flip-stopped"),
        ("torn-write", "slow-sync", "stall", "wall-jump"),
        ("drift", "failpoint", "failpoint-flush"),
    ],
)
async def test_disks_clocks_and_loops_are_hurt_and_nothing_is_lost(
    run: Run, tmp_path: Path, faults: tuple[str, ...]
) -> None:
    options = HarnessOptions(
        seed=4,
        faults=faults,
        rounds=len(faults),
        writers=8,
        value_bytes=64,
        load={"transfers": 20.0, "leases": 20.0, "levels": 30.0},
        power_loss=True,
    )
    summary, _ = await run(options)
    assert summary.verdict == "valid", summary
    assert {kind for kind, count in summary.faults.items() if count.overlapped} == {
        *faults
    }
    log = "".join(p.read_text() for p in (tmp_path / "report" / "logs").iterdir())
    assert ("Input/output error" in log) == ("eio-sync" in faults)


@pytest.mark.parametrize("faults", [("remove", "promote"), ("replace", "backup")])
async def test_members_come_and_go_and_nothing_is_lost(
    run: Run, tmp_path: Path, faults: tuple[str, ...]
) -> None:
    options = HarnessOptions(
        seed=4,
        faults=faults,
        rounds=2,
        writers=4,
        value_bytes=64,
        load={"watches": 0.0, "transfers": 20.0},
        power_loss=True,
    )
    summary, events = await run(options)
    assert summary.verdict == "valid", summary
    assert {kind for kind, count in summary.faults.items() if count.overlapped} == {
        *faults
    }
    gone = next(e for e in events if isinstance(e, FaultResult) and e.kind == faults[0])
    log = tmp_path / "report" / "logs" / f"{gone.targets[0]}.log"
    assert "was removed from the cluster" in log.read_text()
    voters = 3 + (faults[1] == "promote")
    assert summary.checks[0].startswith(f"{voters} nodes at index ")


async def test_another_ca_takes_the_place_of_the_first_and_nothing_is_lost(
    run: Run, tmp_path: Path
) -> None:
    options = HarnessOptions(
        seed=4,
        faults=("rotate-ca", "join"),
        rounds=2,
        writers=4,
        value_bytes=64,
        load={"transfers": 20.0},
        power_loss=True,
    )
    summary, _ = await run(options)
    assert summary.verdict == "valid", summary
    assert summary.faults["rotate-ca"].overlapped
    logs = [p.read_text() for p in (tmp_path / "report" / "logs").iterdir()]
    assert sum("a new certificate: " in log for log in logs) >= 3


async def test_all_workloads_run_beside_a_replica_and_are_judged(run: Run) -> None:
    options = HarnessOptions(
        seed=4,
        faults=("kill-one",),
        rounds=1,
        writers=4,
        replicas=1,
        value_bytes=64,
        load=dict(DEFAULT_MIX),
    )
    summary, _ = await run(options)
    assert summary.verdict == "valid", summary
    assert summary.checks[0].startswith("4 nodes at index ")
    assert [line.partition(":")[0] for line in summary.checks[2:]] == [*DEFAULT_MIX]
    for name, count in summary.workloads.items():
        assert count.ok >= count.needed == 7, name


async def test_followers_that_answer_alone_are_noticed_by_clients(run: Run) -> None:
    options = HarnessOptions(
        seed=3,
        faults=("isolate-one",),
        rounds=1,
        writers=16,
        mutant="every-node-answers-alone",
        command=(*MUTATED, "every-node-answers-alone"),
    )
    summary, _ = await run(options)
    assert summary.verdict == "violated"
    assert {violation.kind for violation in summary.violations} <= {
        *("stale read", "condition wrongly refused"),
    }


async def test_acknowledging_before_the_sync_is_noticed_when_power_is_lost(
    run: Run,
) -> None:
    options = HarnessOptions(
        seed=3,
        faults=("kill-all",),
        rounds=1,
        writers=4,
        power_loss=True,
        mutant="ack-before-sync",
        command=(*MUTATED, "ack-before-sync"),
    )
    summary, _ = await run(options)
    assert summary.verdict == "violated"
    assert summary.violations


async def test_a_cluster_that_never_comes_up_is_void_and_not_violated(run: Run) -> None:
    summary, events = await run(HarnessOptions(seed=3, rounds=3, command=BROKEN))
    assert summary.verdict == "void"
    assert "no such machine" in summary.reasons[0]
    assert events == []


async def test_a_run_that_is_interrupted_is_void_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("quorate.chaos.harness.folders._MEMORY", ())
    stop = asyncio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Started):
            stop.set()

    options = HarnessOptions(seed=3, duration_s=600.0, writers=4)
    summary = await run_harness(options, tell, stop)
    assert summary.verdict == "void"
    assert summary.reasons == ["it was interrupted"]
    assert processes_below(tmp_path) == []
    assert os.listdir(tmp_path) == []


async def test_relays_that_are_killed_leave_a_run_void(tmp_path: Path) -> None:
    options = HarnessOptions(
        seed=4,
        faults=("pause-one", "slow"),
        rounds=4,
        writers=4,
        value_bytes=64,
        directory=tmp_path / "nodes",
        report=tmp_path / "report",
    )

    def tell(event: Event) -> None:
        if isinstance(event, Started):
            paths = Path(f"/proc/{os.getpid()}/task").glob("*/children")
            for pid in {word for path in paths for word in path.read_text().split()}:
                if "harness.network" in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(int(pid), signal.SIGKILL)

    summary = await run_harness(options, tell, asyncio.Event())
    assert summary.verdict == "void"
    assert summary.reasons == ["the relays' process has ended"]
