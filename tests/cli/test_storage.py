"""`quorate storage`: what it shows of a store, whole and damaged."""

import itertools
import json
from pathlib import Path

from click.testing import CliRunner
from quorate.cli import group
from quorate.storage.engine import Engine
from quorate.storage.env import RealEnv


def _store(path: Path) -> str:
    names = itertools.count(1)
    engine = Engine(RealEnv(), str(path), lambda: next(names).to_bytes(16, "big"))
    engine.write({b"a": b"1", b"b": b"2"}, 1)
    engine.flush()
    engine.write({b"a": None}, 2)
    engine.flush()
    engine.close()
    return str(path)


def test_inspect_shows_runs_and_entries(tmp_path: Path) -> None:
    directory = _store(tmp_path / "store")
    result = CliRunner().invoke(group, ["storage", "inspect", directory, "-o", "json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert (report["applied_index"], report["entries"], report["tombstones"]) == (
        2,
        3,
        1,
    )
    assert [run["tables"] for run in report["runs"]] == [1, 1]
    shown = CliRunner().invoke(group, ["storage", "inspect", directory])
    assert "3 entries" in shown.output


def test_verify_names_the_damaged_file_and_goes_on(tmp_path: Path) -> None:
    directory = _store(tmp_path / "store")
    whole = CliRunner().invoke(group, ["storage", "verify", directory])
    assert whole.exit_code == 0, whole.output
    path = min((tmp_path / "store").glob("*.sst"))
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    result = CliRunner().invoke(group, ["storage", "verify", directory])
    assert result.exit_code == 1
    assert result.output.count("DAMAGED") == 1
    assert str(path) in result.output
    assert "offset 0" in result.output


def test_a_directory_that_is_no_store_is_an_error(tmp_path: Path) -> None:
    for command in ("inspect", "verify"):
        result = CliRunner().invoke(group, ["storage", command, str(tmp_path)])
        assert result.exit_code == 1
        assert "no manifest" in result.output
