"""What an operator of the harness does when a command does not come to an end."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from quorate.chaos.harness import members
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.faults import draw_rounds
from quorate.chaos.harness.history import History
from quorate.chaos.harness.ledger import Ledger
from quorate.chaos.harness.machines import Strike
from quorate.chaos.harness.members import Members, run_quorate
from quorate.chaos.harness.workload import Clock


async def test_a_command_that_takes_too_long_has_failed_and_is_ended() -> None:
    """A soak broke off with a traceback: a backup took a minute on a busy machine."""
    code, out, said = await run_quorate(0.01, "status", "--endpoints", "127.0.0.1:1")
    assert (code, out) == (-1, b"")
    assert said == "`quorate status --endpoints 127.0.0.1:1` took more than 0.01 s"
    code, out, said = await run_quorate(60.0, "--help")
    assert (code, said) == (0, "")
    assert b"Usage: quorate" in out


class Ruled:
    """A cluster of two nodes; only so many requests to hand over are not in vain."""

    def __init__(self, in_vain: int) -> None:
        self.in_vain = in_vain
        self.asked = 0
        self.nodes: list[Any] = [
            SimpleNamespace(
                name=name, up=asyncio.Event(), control=SimpleNamespace(move_leader=move)
            )
            for name, move in (("n1", self._move), ("n2", self._move))
        ]
        self.nodes[0].up.set()
        self.led_by = self.nodes[0]

    async def _move(self, *, timeout: float) -> None:
        del timeout
        self.asked += 1
        if self.asked > self.in_vain:
            self.led_by = self.nodes[1]

    async def leader(self) -> tuple[object, object]:
        await asyncio.sleep(0)
        return self.led_by, None

    async def find_leader(self, seconds: float) -> object:
        del seconds
        return self.led_by


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    monkeypatch.setattr(members, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(members, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(members, "CHANGED_SECONDS_MAX", 0.3)
    with History(tmp_path / "history.jsonl") as history:
        yield history


async def move(cluster: Any, history: History) -> Strike:
    (fault,) = next(draw_rounds(Random(1), ["move-leader"], 2)).faults
    struck: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    operators = Members(cluster, history, Clock(), Ledger(1))
    return await operators.strike(fault, cluster.nodes[1], struck)


@pytest.mark.parametrize("in_vain", [0, 2])
async def test_the_leadership_is_moved_until_another_one_leads(
    history: History, in_vain: int
) -> None:
    cluster = Ruled(in_vain)
    strike = await move(cluster, history)
    assert cluster.led_by.name == "n2"
    assert strike.who == ("n1",)


async def test_a_leadership_that_never_moves_is_a_violation(history: History) -> None:
    with pytest.raises(Violated, match="no progress: n1"):
        await move(Ruled(1000), history)
