"""`quorate storage`: what it shows of a store, whole and damaged."""

import errno
import itertools
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from quorate.cli import group
from quorate.storage.engine import Engine, EngineOptions, care
from quorate.storage.engine.blob import Blob
from quorate.storage.engine.manifest import (
    BlobMeta,
    TableMeta,
    load_manifest,
    save_manifest,
)
from quorate.storage.engine.table import Table
from quorate.storage.engine.version import open_file
from quorate.storage.env import Env, RealEnv


def _store(path: Path) -> str:
    names = itertools.count(1)
    engine = Engine(RealEnv(), str(path), lambda: next(names).to_bytes(16, "big"))
    engine.write({b"a": b"1", b"b": b"2"}, 1)
    engine.flush()
    engine.write({b"a": None}, 2)
    engine.flush()
    engine.close()
    return str(path)


def _last_row(table: str) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[-2].strip("| ").split("|")]


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


def test_inspect_tells_what_is_compressed_and_what_it_cannot_read(
    tmp_path: Path,
) -> None:
    names = itertools.count(1)
    batch = {b"%03d" % n: b"again and again " * 8 for n in range(200)}
    for index, codec in enumerate(("zstd", "none"), 1):
        engine = Engine(
            RealEnv(),
            str(tmp_path),
            lambda: next(names).to_bytes(16, "big"),
            EngineOptions(compression=(codec,)),
        )
        engine.write(batch, index)
        engine.flush()
        engine.close()
    newest, oldest = care.inspect(RealEnv(), str(tmp_path)).runs
    assert newest.compressed_blocks == 0
    assert oldest.blocks
    assert oldest.compressed_blocks == oldest.blocks
    shown = CliRunner().invoke(group, ["storage", "inspect", str(tmp_path)]).output
    assert _last_row(shown)[-2:] == [str(oldest.blocks)] * 2
    manifest = load_manifest(RealEnv(), str(tmp_path))
    assert manifest is not None
    path = tmp_path / manifest.runs[-1][0].name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    report = care.inspect(RealEnv(), str(tmp_path))
    assert report.runs[-1].compressed_blocks is None
    assert report.runs[-1].entries == oldest.entries
    shown = CliRunner().invoke(group, ["storage", "inspect", str(tmp_path)]).output
    assert _last_row(shown)[-2:] == ["?", "?"]


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
        assert "not a directory of the storage engine" in result.output
    store = tmp_path / "store"
    (Path(_store(store)) / "MANIFEST").unlink()
    lost = CliRunner().invoke(group, ["storage", "verify", str(store)])
    assert "is damaged at offset 0: there is no manifest" in lost.output


def test_verify_goes_on_where_the_disk_does_not_give_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _store(tmp_path / "store")
    first, second = sorted((tmp_path / "store").glob("*.sst"))

    def opened(env: Env, folder: str, meta: TableMeta | BlobMeta) -> Table | Blob:
        if meta.name == first.name:
            raise OSError(errno.EIO, "Input/output error", str(first))
        return open_file(env, folder, meta)

    monkeypatch.setattr(care, "open_file", opened)
    result = CliRunner().invoke(group, ["storage", "verify", directory])
    assert result.exit_code == 1
    (damaged,) = (line for line in result.output.splitlines() if "DAMAGED" in line)
    assert str(first) in damaged
    assert "Input/output error" in result.output
    assert str(second) in result.output


def test_a_file_that_is_not_needed_any_more_may_go_while_all_is_verified(
    tmp_path: Path,
) -> None:
    """A node that served meanwhile had its store called damaged."""
    directory = _store(tmp_path / "store")
    env = RealEnv()
    checking = care.verify(env, directory)
    assert next(checking)[2] == ""
    manifest = load_manifest(env, directory)
    assert manifest is not None
    (gone,), (kept,) = manifest.runs
    save_manifest(env, directory, msgspec.structs.replace(manifest, runs=((kept,),)))
    Path(directory, gone.name).unlink()
    assert [(path, wrong) for path, _, wrong in checking] == [
        (f"{directory}/{kept.name}", "")
    ]
    Path(directory, kept.name).unlink()
    assert [wrong for _, _, wrong in care.verify(env, directory)] == [
        "",
        "offset 0: a table is missing",
    ]
