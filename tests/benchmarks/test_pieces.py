"""Pieces of the hot path: each does on its stand-in what it does in earnest."""

import asyncio
from pathlib import Path

import pytest
from quorate.benchmarks.pieces import PIECES, Rooms, compare


@pytest.mark.slow
@pytest.mark.parametrize("name", PIECES)
def test_two_checkouts_take_turns_in_a_piece(name: str, tmp_path: Path) -> None:
    rooms = Rooms("quorate")
    told = asyncio.run(compare(name, [rooms, rooms], 4, tmp_path))
    assert told.startswith(name)
    assert "ratio" in told
    assert asyncio.run(compare(name, [rooms], 1, tmp_path)).endswith(" ns")
