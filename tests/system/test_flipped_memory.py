"""A byte flips in a node's memory: the states differ, the node is fenced and heals."""

import os
import signal
import sys
from datetime import datetime
from pathlib import Path

import pytest
from quorate import Client

from .flipping_node import FLIPPED
from .harness import DEADLINE_S, Running, running_cluster, wait_for

pytestmark = pytest.mark.slow

PROGRAM = (sys.executable, "-P", str(Path(__file__).with_name("flipping_node.py")))
KEY, RIGHT, WRONG = "flipped", b"right", b"righu"
FOUND = "another copy is fetched"


def said_at(node: Running, text: str) -> datetime:
    """When the node's log first said it."""
    line = next(line for line in node.log().splitlines() if text in line)
    return datetime.fromisoformat(line.split()[0])


@pytest.mark.parametrize("leads", [False, True])
def test_a_flipped_byte_is_found_fenced_and_healed(tmp_path: Path, leads: bool) -> None:
    with (
        running_cluster(tmp_path / "c", command=PROGRAM) as cluster,
        Client(cluster.endpoints, timeout=DEADLINE_S) as client,
    ):
        client.put("before", "anything")
        cluster.wait_until_equal()
        spoilt = cluster.leader() if leads else cluster.followers()[0]
        os.kill(spoilt.pid, signal.SIGUSR1)
        client.put(KEY, RIGHT)
        seen: list[bytes | int] = []

        def healed() -> bool:
            # Something is written all the time: else there is nothing to compare.
            client.put("meanwhile", b"%d" % len(seen))
            answer = spoilt.request_once("GET", f"/v1/kv/{KEY}?consistency=local")
            seen.append(answer.body if answer.status == 200 else answer.status)
            return spoilt.status().healed > 0

        wait_for(healed, "the spoilt node has another copy")
        assert FLIPPED in spoilt.log()
        took = said_at(spoilt, FOUND) - said_at(spoilt, FLIPPED)
        print(f"\nfound after {took.total_seconds():.2f} s")
        last_wrong = max((n for n, it in enumerate(seen) if it == WRONG), default=-1)
        # Refused or right, once it was refused.
        assert 503 not in seen[: last_wrong + 1], seen
        assert set(seen[last_wrong + 1 :]) <= {404, 503, RIGHT}, seen
        cluster.wait_until_equal()
        answer = spoilt.request("GET", f"/v1/kv/{KEY}?consistency=local")
        assert answer.body == RIGHT
