"""The process that flushes for a node: it may die, and it never outlives its node."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from quorate import Client

from .harness import DEADLINE_S, Cluster, Running, wait_for

pytestmark = pytest.mark.slow

VALUE = 100_000
# A flush is due after 16 MiB.
PUTS = 200


def worker_of(node: Running) -> int | None:
    """The one child of the node's process; None while there is none."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == node.pid and fields[0] != "Z":
            return int(entry.name)
    return None


def write(cluster: Cluster, mark: bytes) -> None:
    with Client(cluster.endpoints, timeout=DEADLINE_S) as kv:
        for number in range(PUTS):
            kv.put(f"key-{number}", mark + os.urandom(8) + bytes(VALUE))


def wait_for_flush(node: Running, index: int) -> int:
    """Until the node's engine has more than `index`; how much."""

    def flushed() -> int | None:
        found = node.status().checkpoint_index
        return found if found > index else None

    return wait_for(flushed, f"a flush behind index {index}")


def test_a_node_goes_on_when_its_worker_dies_and_leaves_none_behind(
    own: Cluster,
) -> None:
    write(own, b"one")
    before = {node.name: wait_for_flush(node, 1) for node in own.nodes}
    for node in own.nodes:
        os.kill(wait_for(partial(worker_of, node), "a worker"), signal.SIGKILL)
    write(own, b"two")
    for node in own.nodes:
        wait_for_flush(node, before[node.name])
        assert "another one does its work" in node.log()
    own.wait_until_equal()
    for node in own.nodes:
        for number in (0, PUTS // 2, PUTS - 1):
            body = node.request("GET", f"/v1/kv/key-{number}").body
            assert body.startswith(b"two")
            assert len(body) == VALUE + 11
    # Killed with its worker at work or not: nobody is left, and all is there again.
    node = own.followers()[0]
    worker = wait_for(partial(worker_of, node), "another worker")
    node.process.kill()
    wait_for(lambda: not Path(f"/proc/{worker}").exists(), "the end of the worker")
    own.start([node])
    own.wait_until_equal()
