"""How long a cluster may refuse writes: from when on that is counted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from quorate.chaos.harness import HarnessOptions
from quorate.chaos.harness import run as running
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.faults import Kind, draw_rounds
from quorate.chaos.harness.folders import Folders
from quorate.chaos.harness.history import History, Recording
from quorate.chaos.harness.ledger import Ledger
from quorate.chaos.harness.machines import Strike
from quorate.chaos.harness.run import Harness
from quorate.chaos.harness.until import leaves
from quorate.chaos.harness.verdict import Counts, FaultResult
from quorate.chaos.harness.workload import Clock, Gap, Workload

PROGRESS_SECONDS = 0.2
NODE: Any = SimpleNamespace(name="n1")


class Struck:
    """A strike that lasts longer than writes may be refused, and a load."""

    def __init__(self, folder: Path, history: History) -> None:
        self.clock = Clock()
        self.ledger = Ledger(1)
        nobody: Any = None
        self.load = Workload(
            *(nobody, self.ledger, history, Recording(), self.clock, Counts()),
            seed=1,
            writers=1,
        )
        self.striker: Any = SimpleNamespace(
            targets=self._targets, strike=self._strike, history=history
        )
        folders = Folders(folder / "nodes", folder / "report")
        self.harness = Harness(
            HarnessOptions(seed=1, rounds=1), folders, lambda _: None
        )
        self.harness.clock = self.clock
        self.writes_meanwhile = self.writes_after = False

    def _targets(self, *_: object) -> list[Any]:
        return [NODE]

    def _write(self) -> None:
        attempt = self.ledger.write_begins("k", "n1", self.clock.now())
        revision = self.ledger.newest_revision + 1
        assert self.load._acknowledged(attempt, revision) is None

    async def _strike(
        self,
        fault: object,
        leader: object,
        number: int,
        struck: "asyncio.Future[float]",
    ) -> Strike:
        del fault, leader, number
        at_s = self.clock.now()
        struck.set_result(at_s)
        await asyncio.sleep(0.01)
        if self.writes_meanwhile:
            self._write()
        await asyncio.sleep(2 * PROGRESS_SECONDS)
        if self.writes_after:
            asyncio.get_running_loop().call_later(0.05, self._write)
        return Strike(at_s, 1)

    async def strike(self, kind: Kind) -> FaultResult:
        round_ = next(draw_rounds(Random(1), [kind], 3))
        gap = Gap(self.clock.now())
        return await self.harness._strike(
            round_.faults[0], NODE, round_, self.load, self.striker, gap
        )


@pytest.fixture
def struck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Struck]:
    monkeypatch.setattr(running, "PROGRESS_SECONDS_MAX", PROGRESS_SECONDS)
    with History(tmp_path / "history.jsonl") as history:
        yield Struck(tmp_path, history)


async def test_the_time_without_writes_counts_from_the_end_of_a_fault(
    struck: Struck,
) -> None:
    struck.writes_after = True
    result = await struck.strike("kill-all")
    assert result.gap_ms > 2000 * PROGRESS_SECONDS


async def test_whose_writes_do_not_go_on_behind_a_fault_is_violated(
    struck: Struck,
) -> None:
    struck.writes_meanwhile = True
    with pytest.raises(ExceptionGroup) as caught:
        await struck.strike("kill-all")
    (violated,) = leaves(caught.value)
    assert isinstance(violated, Violated)
    assert violated.violation.kind == "no progress"


async def test_a_change_of_members_takes_no_majority_away(struck: Struck) -> None:
    struck.writes_after = True
    with pytest.raises(ExceptionGroup) as caught:
        await struck.strike("remove")
    assert isinstance(leaves(caught.value)[0], Violated)
