"""What a session with a prompt says in the end, beside what the load was told."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from quorate.chaos.harness.history import History
from quorate.chaos.harness.workload import Clock
from quorate.chaos.prompt import session as sessions
from quorate.chaos.prompt.session import Session


async def test_where_no_hashes_were_compared_a_session_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anything: Any = SimpleNamespace()

    async def compared(_: object) -> Any:
        return SimpleNamespace(indexes=0, reasons=["n1 was not compared"])

    async def read(*_: object) -> int:
        return 7

    monkeypatch.setattr(sessions, "compare_hashes", compared)
    monkeypatch.setattr(sessions, "read_all", read)
    nothing = (anything, anything, anything)
    session = Session(*nothing, asyncio.Event(), lambda: None)
    session.counts.acknowledged = 1000
    session.clock = Clock()
    cluster: Any = SimpleNamespace(nodes=[1, 2])
    with History(tmp_path / "history.jsonl") as history:
        told = await session._compare(cluster, history)
    assert told.startswith("7 keys read through each of 2 nodes")
    outcome = session.outcome([], [])
    assert outcome.verdict == "void"
    assert outcome.reasons == ["n1 was not compared"]
