"""Real nodes die at the place that is named, and have what they acknowledged."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from quorate.chaos.harness.door import FAULTS, Door, Rules
from quorate.chaos.harness.machines import FLUSH_POINTS, POINTS
from quorate.chaos.simulator.failpoints import FAILPOINTS
from quorate.client import Client, QuorateError
from quorate.node.fault_door import STEPS
from quorate.node.launcher import NodeProcess, create_cluster

READY_SECONDS_MAX = 60.0
KILLED = -9


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[NodeProcess, Door]]:
    """A node of its own, that a harness may hurt; it is not started."""
    (local,) = create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0).nodes
    door = Door(local.directory)
    process = NodeProcess(local, environment={FAULTS: str(door.pipe)})
    yield process, door
    process.kill()


def test_the_places_are_those_of_the_simulator() -> None:
    assert {*POINTS, *FLUSH_POINTS} <= {*FAILPOINTS}
    assert {point for point in POINTS if "." not in point} == {*STEPS}


@pytest.mark.slow
async def test_a_node_dies_at_each_place_and_keeps_what_it_acknowledged(
    node: tuple[NodeProcess, Door],
) -> None:
    process, door = node
    kept: list[str] = []
    # Who is alone has nobody to send anything to.
    alone = [point for point in POINTS if point != "messages-sent"]
    for point in (*alone, *FLUSH_POINTS):
        process.start()
        process.wait_ready(READY_SECONDS_MAX)
        with Client(str(process.node.client), timeout=READY_SECONDS_MAX) as client:
            client.put(point, b"before")
            kept.append(point)
            step = "" if "." in point else point
            rules = Rules(die_before=point if "." in point else "")
            # It may be dead before it could say that it has heard.
            await door.say(rules, lambda: process.alive, die_at=step)
            if point in FLUSH_POINTS:
                process.terminate()
            else:
                with suppress(QuorateError):
                    client.put(point, b"after", timeout=1.0)
        assert ended(process) == KILLED, point
    process.start()
    process.wait_ready(READY_SECONDS_MAX)
    with Client(str(process.node.client), timeout=READY_SECONDS_MAX) as client:
        assert {entry.key.decode() for entry in client.range("")} == {*kept}


def ended(process: NodeProcess) -> int | None:
    """The exit code, once it has ended by itself."""
    deadline_s = time.monotonic() + READY_SECONDS_MAX
    while process.alive and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return process.exit_code
