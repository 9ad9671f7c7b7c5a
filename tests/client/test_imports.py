"""What a program loads that only talks to a cluster."""

import subprocess
import sys

FOREIGN = ("aiohttp", "click", "cryptography", "prometheus_client", "uvloop")
OURS = ("chaos", "cli", "node", "raft", "storage")


def loaded_by(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_client_loads_nothing_that_only_a_node_needs() -> None:
    loaded = loaded_by("from quorate import AsyncClient, Client, KeyValue")
    assert {"quorate.client", "quorate.wire"} <= loaded
    assert loaded.isdisjoint(FOREIGN)
    assert loaded.isdisjoint(f"quorate.{room}" for room in OURS)


def test_wire_loads_no_event_loop_and_no_socket() -> None:
    loaded = loaded_by("import quorate.wire")
    assert "quorate.wire" in loaded
    assert loaded.isdisjoint((*FOREIGN, "asyncio", "socket", "ssl", "quorate.client"))
