"""What a node may do whose disk was damaged, and when its clock was wrong at all."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.faults import Kind, draw_rounds
from quorate.chaos.harness.history import History
from quorate.chaos.harness.machines import Machines, Strike
from quorate.chaos.harness.workload import Clock

BYTES = bytes(range(200))


class Refusing:
    """A cluster whose node refuses to start once, and does something to its disk."""

    def __init__(
        self, folder: Path, doing: Callable[[Path], object], code: int
    ) -> None:
        self.file = folder / "data/stores/1/journal/1.seg"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(BYTES)
        process = SimpleNamespace(last_words=lambda: "damage found", exit_code=code)
        local = SimpleNamespace(directory=folder)
        self.node: Any = SimpleNamespace(name="n1", process=process, local=local)
        self._doing = doing
        self.started = 0

    def kill(self, _: object) -> float:
        return 0.0

    async def reap(self, _: object) -> None:
        pass

    async def start_unless_refused(self, _: object) -> bool:
        self._doing(self.file)
        return False

    async def bury(self, node: Any, codes: tuple[int, ...]) -> None:
        if node.process.exit_code not in codes:
            raise AssertionError(f"exit code {node.process.exit_code}")

    async def start(self, _: object) -> None:
        self.started += 1


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "history.jsonl") as history:
        yield history


async def strike(cluster: Any, history: History, kind: Kind = "flip-stopped") -> Strike:
    (fault,) = next(draw_rounds(Random(1), [kind], 3)).faults
    fault = replace(fault, hold_s=0.0, strength=0.0)
    struck: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    machines = Machines(cluster, history, Clock())
    return await machines.strike(fault, cluster.node, 1, struck)


async def test_with_the_bit_as_it_was_a_node_starts_that_refused(
    tmp_path: Path, history: History
) -> None:
    seen: list[bytes] = []
    cluster = Refusing(tmp_path, lambda file: seen.append(file.read_bytes()), 1)
    told = await strike(cluster, history)
    assert told.touched == 1
    assert cluster.started == 1
    assert seen != [BYTES]
    assert cluster.file.read_bytes() == BYTES


def cut_off(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("doing", [Path.unlink, cut_off])
async def test_a_node_that_refuses_and_deletes_what_is_damaged_is_a_violation(
    tmp_path: Path, history: History, doing: Callable[[Path], object]
) -> None:
    cluster = Refusing(tmp_path, doing, 1)
    with pytest.raises(Violated) as caught:
        await strike(cluster, history)
    assert caught.value.violation.kind == "damage deleted"
    assert not cluster.started


async def test_a_node_that_refuses_although_nothing_was_hit_is_a_violation(
    tmp_path: Path, history: History
) -> None:
    cluster = Refusing(tmp_path, lambda _: None, 1)
    cluster.file.write_bytes(b"")
    with pytest.raises(Violated) as caught:
        await strike(cluster, history)
    assert caught.value.violation.kind == "refused to start"


async def test_a_node_that_dies_of_its_damage_has_not_refused(
    tmp_path: Path, history: History
) -> None:
    cluster = Refusing(tmp_path, lambda _: None, -11)
    with pytest.raises(AssertionError, match="exit code -11"):
        await strike(cluster, history)


@pytest.mark.parametrize("kind", ["stall", "drift", "wall-jump"])
@pytest.mark.parametrize("answer", [0, None])
async def test_a_clock_or_loop_is_wrong_only_where_the_node_says_so(
    tmp_path: Path, history: History, kind: Kind, answer: int | None
) -> None:
    async def say(*_: object, **__: object) -> int | None:
        return answer

    cluster = Refusing(tmp_path, lambda _: None, 1)
    cluster.node.door = SimpleNamespace(say=say)
    told = await strike(cluster, history, kind)
    assert told.touched == (answer is not None)
