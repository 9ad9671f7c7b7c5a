"""Bits that flip: one at a time, only where they may, and back again."""

from pathlib import Path
from random import Random

import pytest
from quorate.chaos.harness import damage
from quorate.chaos.harness.damage import Flip, draw_flip

ENGINE = "data/stores/1/engine"
FILES = {
    "data/identity": b"never",
    "data/stores/1/journal/0000000000000001.seg": b"journal",
    f"{ENGINE}/MANIFEST": b"manifest",
    f"{ENGINE}/LOCK": b"lock",
    f"{ENGINE}/aa.sst": b"table",
    f"{ENGINE}/bb.blob": b"values",
    f"{ENGINE}/empty.sst": b"",
    f"{ENGINE}/work/cc.sst": b"unfinished",
    "data/stores/1/.held-1/dd.sst": b"held",
}


def store(directory: Path) -> Path:
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def hit(directory: Path, *, tables: bool) -> set[str]:
    found = {draw_flip(directory, Random(n), tables=tables) for n in range(100)}
    return {str(f.path.relative_to(directory)) for f in found if f is not None}


def test_of_a_running_node_only_tables_are_hit(tmp_path: Path) -> None:
    found = hit(store(tmp_path), tables=True)
    assert found == {f"{ENGINE}/aa.sst", f"{ENGINE}/bb.blob"}


def test_of_a_stopped_node_any_file_of_its_store_is_hit(tmp_path: Path) -> None:
    journal = "data/stores/1/journal/0000000000000001.seg"
    tables = {f"{ENGINE}/aa.sst", f"{ENGINE}/bb.blob"}
    found = hit(store(tmp_path), tables=False)
    assert found == {journal, f"{ENGINE}/MANIFEST", *tables}


def test_one_bit_is_flipped_and_flipped_back(tmp_path: Path) -> None:
    store(tmp_path)
    flip = draw_flip(tmp_path, Random(1), tables=False)
    assert flip is not None
    before = flip.path.read_bytes()
    flip.apply()
    after = flip.path.read_bytes()
    pairs = zip(before, after, strict=True)
    assert sum((a ^ b).bit_count() for a, b in pairs) == 1
    flip.apply()
    assert flip.path.read_bytes() == before


def test_where_there_is_nothing_nothing_is_hit(tmp_path: Path) -> None:
    assert draw_flip(tmp_path, Random(1), tables=True) is None


def test_a_table_that_goes_before_it_is_hit_leaves_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path)
    gone: list[Path] = []

    def draw(directory: Path, dice: Random, *, tables: bool) -> Flip | None:
        flip = draw_flip(directory, dice, tables=tables)
        if flip is not None and not gone:
            gone.append(flip.path)
            flip.path.unlink()
        return flip

    monkeypatch.setattr(damage, "draw_flip", draw)
    flip = damage.flip_one(tmp_path, Random(1), tables=True)
    assert flip is not None
    assert [flip.path] != gone
    assert flip.path.read_bytes() != FILES[str(flip.path.relative_to(tmp_path))]
