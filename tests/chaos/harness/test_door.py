"""The door into a node: open to the harness that started it, and to nobody else."""

import asyncio
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from quorate.chaos.harness.door import FAULTS, Door, Rules
from quorate.client import AsyncClient, LeaseNotFound
from quorate.node import fault_door
from quorate.node.launcher import NodeProcess, create_cluster
from quorate.storage import faulty_env


def test_both_sides_mean_the_same_by_the_rules() -> None:
    assert FAULTS == fault_door.FAULTS
    assert Rules.__struct_fields__ == faulty_env.Rules.__struct_fields__
    assert Rules.__struct_defaults__ == faulty_env.Rules.__struct_defaults__


async def test_what_is_said_is_done_when_its_answer_has_come(tmp_path: Path) -> None:
    door = Door(tmp_path)
    told = Path(f"{door.pipe}.told")
    fd = os.open(door.pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        saying = asyncio.ensure_future(door.say(Rules(syncs=-1), lambda: True))
        while not saying.done() and not _readable(fd):  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert os.read(fd, 4096) == b'{"number":1,"rules":{"syncs":-1}}\n'
        answer(told, b'{"number":0,"hits":9}\n')
        for _ in range(100):
            await asyncio.sleep(0)
        assert not saying.done()
        answer(told, b'{"number":1,"hits":7}\n')
        assert await saying == 7
    finally:
        os.close(fd)


def answer(told: Path, line: bytes) -> None:
    with told.open("ab") as file:
        file.write(line)


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


async def test_nobody_is_hurt_in_a_node_that_has_ended(tmp_path: Path) -> None:
    assert await Door(tmp_path).say(Rules(), lambda: False) is None


@pytest.mark.slow
def test_a_node_without_a_lifeline_refuses_to_have_a_door(tmp_path: Path) -> None:
    (node,) = create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0).nodes
    done = subprocess.run(
        [sys.executable, "-m", "quorate", "node", "--dir", str(node.directory)],
        env={**os.environ, FAULTS: str(tmp_path / "pipe")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"{FAULTS} is for nodes that a harness started" in done.stderr
    assert not (node.directory / "data").exists()


@pytest.mark.slow
async def test_the_time_of_leases_goes_by_a_clock_that_drifts(tmp_path: Path) -> None:
    """One of ten minutes is over long before, and on a true clock it is not."""
    (node,) = create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0).nodes
    door = Door(node.directory)
    with NodeProcess(node, environment={FAULTS: str(door.pipe)}) as process:
        process.start()
        process.wait_ready(60.0)
        async with AsyncClient(str(node.client), timeout=60.0) as client:
            lease = client.lease(600.0, lease=7)
            await lease.grant()
            await lease.abandon()
            assert (await client.lease_info(7)).ttl == 600.0
            await door.say(Rules(), lambda: process.alive, drift=300.0)
            async with asyncio.timeout(200):
                with suppress(LeaseNotFound):
                    # Nothing tells who waits for a lease to be over.
                    while (await client.lease_info(7)).ttl:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
