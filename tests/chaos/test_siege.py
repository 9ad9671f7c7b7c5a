"""What a siege tells of its faults."""

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from quorate.chaos.harness.faults import draw_rounds
from quorate.chaos.harness.machines import Strike
from quorate.chaos.harness.workload import Clock
from quorate.chaos.siege import Siege


@pytest.mark.parametrize("touched", [0, 2])
async def test_a_fault_that_met_nothing_has_not_struck(
    tmp_path: Path, touched: int
) -> None:
    node = SimpleNamespace(name="n1")

    def targets(*_: object) -> list[object]:
        return [node]

    async def strike(*_: object) -> Strike:
        return Strike(1.0, touched)

    async def find_leader(_: float) -> object:
        return node

    recorded: list[object] = []
    cluster: Any = SimpleNamespace(find_leader=find_leader)
    striker: Any = SimpleNamespace(
        targets=targets,
        strike=strike,
        history=SimpleNamespace(record=recorded.append),
    )
    siege = Siege(tmp_path, 3, ["client-cut"], 1)
    round_ = next(draw_rounds(Random(1), ["client-cut"], 3))
    await siege._round(round_, cluster, striker, Clock())
    assert len(recorded) == 1
    assert len(siege.struck) == (touched > 0)
