"""`quorate bench` against real nodes: it measures, stops when told, leaves nothing."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
from quorate import AsyncClient

from .harness import DEADLINE_S, QUORATE, Cluster, surely, wait_for

pytestmark = pytest.mark.slow


def bench(cluster: Cluster, *arguments: str) -> list[str]:
    return [*QUORATE, "bench", "--endpoints", cluster.endpoints, *arguments]


def keys_below(cluster: Cluster, prefix: str) -> list[bytes]:
    async def read() -> list[bytes]:
        async with AsyncClient(cluster.endpoints, timeout=DEADLINE_S) as kv:

            async def all_keys() -> list[bytes]:
                return [entry.key async for entry in kv.range(prefix, keys_only=True)]

            return await surely(all_keys)

    return asyncio.run(read())


class Kind(msgspec.Struct):
    count: int
    errors: dict[str, int]
    absent: int


class Told(msgspec.Struct):
    """The part of the JSON that these tests read."""

    kinds: dict[str, Kind]
    all: Kind
    seconds: float
    interrupted: bool
    unsent: int


@pytest.mark.parametrize(
    ("workload", "processes"), [("D", 2), ("E", 1), ("F", 2), ("put", 1)]
)
def test_a_second_of_it_is_measured_and_cleaned_up(
    healthy: Cluster, workload: str, processes: int
) -> None:
    prefix = f"bench-{workload}/"
    done = subprocess.run(
        bench(
            healthy,
            *("--workload", workload, "--processes", str(processes)),
            *("--keys", "200", "--duration", "1s", "--warmup", "0"),
            *("--prefix", prefix, "--cleanup", "-o", "json"),
            *("--timeout", f"{DEADLINE_S:g}s"),
        ),
        capture_output=True,
        check=False,
    )
    told = msgspec.json.decode(done.stdout, type=Told)
    # An election on a busy machine may leave a write unknown.
    assert told.all.errors.keys() <= {"unknown"}
    assert done.returncode == (1 if told.all.errors else 0), done.stderr
    assert told.all.count > 0
    assert told.all.absent == 0
    assert told.seconds >= 1.0
    assert keys_below(healthy, prefix) == []


def test_an_open_loop_sends_every_operation(healthy: Cluster) -> None:
    done = subprocess.run(
        bench(
            healthy,
            *("--workload", "put", "--rate", "50", "--operations", "50"),
            *("--warmup", "0", "--prefix", "bench-open/", "-o", "json"),
            *("--processes", "2", "--timeout", f"{DEADLINE_S:g}s"),
        ),
        capture_output=True,
        check=False,
    )
    told = msgspec.json.decode(done.stdout, type=Told)
    assert told.all.count + sum(told.all.errors.values()) == 50
    assert told.unsent == 0


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_it_with_the_results_so_far(
    healthy: Cluster, processes: int
) -> None:
    process = subprocess.Popen(
        bench(
            healthy,
            *("--workload", "put", "--duration", "10m", "--warmup", "0"),
            *("--processes", str(processes), "--prefix", f"bench-stop-{processes}/"),
            *("--cleanup", "-o", "json", "--timeout", f"{DEADLINE_S:g}s"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        # The second line is the first second of the run.
        for _ in range(2):
            assert process.stderr.readline()
        children = children_of(process.pid)
        assert len(children) == (0 if processes == 1 else processes)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE_S)
    told = msgspec.json.decode(output, type=Told)
    assert process.returncode == (1 if told.all.errors else 0), errors
    assert told.interrupted
    assert told.all.count > 0
    assert keys_below(healthy, f"bench-stop-{processes}/") == []
    for pid in children:
        assert not os.path.exists(f"/proc/{pid}")


def test_client_processes_do_not_outlive_a_killed_parent(healthy: Cluster) -> None:
    process = subprocess.Popen(
        bench(healthy, "--duration", "10m", "--processes", "2", "--prefix", "bench-9/"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        for _ in range(2):
            assert process.stderr.readline()
        children = children_of(process.pid)
        assert len(children) == 2
        process.kill()
    wait_for(
        lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children),
        "the client processes end",
    )
