"""Where a run keeps its files, and what is left of them."""

import os
from pathlib import Path

import pytest
from quorate.chaos.harness.errors import SetupFailed
from quorate.chaos.harness.folders import Folders, on_memory

NONE: frozenset[str] = frozenset()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folders of these tests lie in one that is watched."""
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(root))
    monkeypatch.setattr("quorate.chaos.harness.folders._MEMORY", NONE)
    return root


def test_nothing_is_left_of_a_run_without_named_folders(temporary: Path) -> None:
    folders = Folders(None, None)
    folders.nodes.mkdir()
    folders.write("summary.json", {"verdict": "valid"})
    assert folders.remaining(keep=False) is None
    folders.close(keep=False)
    assert list(temporary.iterdir()) == []


def test_the_evidence_of_a_violation_is_kept(temporary: Path) -> None:
    folders = Folders(None, None)
    folders.nodes.mkdir()
    kept = folders.remaining(keep=True)
    folders.close(keep=True)
    assert [str(path) for path in temporary.iterdir()] == [kept]
    assert folders.nodes.is_dir()


def test_a_named_report_is_kept_and_the_nodes_are_not(
    tmp_path: Path, temporary: Path
) -> None:
    folders = Folders(None, tmp_path / "out" / "report")
    folders.nodes.mkdir()
    folders.write("summary.json", {"verdict": "valid"})
    assert folders.remaining(keep=False) == str(tmp_path / "out" / "report")
    folders.close(keep=False)
    assert (tmp_path / "out" / "report" / "summary.json").read_text() == (
        '{\n  "verdict": "valid"\n}\n'
    )
    assert list(temporary.iterdir()) == []


def test_named_folders_need_no_temporary_one(tmp_path: Path, temporary: Path) -> None:
    folders = Folders(tmp_path / "nodes", tmp_path / "report")
    folders.close(keep=False)
    assert (tmp_path / "report").is_dir()
    assert list(temporary.iterdir()) == []


def test_logs_are_collected_by_the_names_of_their_nodes(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "nodes", tmp_path / "report")
    log = tmp_path / "log"
    log.write_text("started\n")
    folders.collect_logs({"n1": log, "n2": tmp_path / "never"})
    assert os.listdir(folders.report / "logs") == ["n1.log"]
    assert (folders.report / "logs" / "n1.log").read_text() == "started\n"


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("disk / ext4 rw 0 0\n", False),
        ("disk / ext4 rw 0 0\nmemory /a tmpfs rw 0 0\n", True),
        ("memory / tmpfs rw 0 0\ndisk /a ext4 rw 0 0\n", False),
        ("memory /a tmpfs rw 0 0\ndisk /a ext4 rw 0 0\n", False),
        ("disk / ext4 rw 0 0\nmemory /abc tmpfs rw 0 0\n", False),
        ("disk / ext4 rw 0 0\nmemory /a/b\\040c tmpfs rw 0 0\n", True),
    ],
)
def test_a_file_system_in_memory_is_told_by_the_nearest_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, expected: bool
) -> None:
    listed = tmp_path / "mounts"
    listed.write_text(mounts)
    monkeypatch.setattr("quorate.chaos.harness.folders._MOUNTS", listed)
    monkeypatch.setattr("quorate.chaos.harness.folders._MEMORY", {"tmpfs"})
    assert on_memory(Path("/a/b c/d")) is expected


def test_without_a_list_of_mounts_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quorate.chaos.harness.folders._MOUNTS", tmp_path / "none")
    monkeypatch.setattr("quorate.chaos.harness.folders._MEMORY", {"tmpfs"})
    assert on_memory(tmp_path) is False


def test_a_report_that_can_not_be_is_said_and_leaves_nothing(
    tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupFailed, match="no report there: Not a directory"):
        Folders(None, tmp_path / "file" / "report")
    assert list(temporary.iterdir()) == []


def test_after_a_bug_of_the_harness_all_is_left_and_it_says_where(
    temporary: Path,
) -> None:
    folders = Folders(None, None)
    folders.nodes.mkdir()
    with pytest.raises(ValueError, match="a bug") as caught, folders.kept_after_a_bug():
        raise ValueError("a bug")
    folders.close(keep=False)
    assert folders.nodes.is_dir()
    (left,) = temporary.iterdir()
    assert caught.value.__notes__ == [f"what is left of the run: {left}"]


def test_a_file_that_is_still_written_while_all_is_removed_goes_as_well(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = Folders(None, None)
    folders.nodes.mkdir()
    remove = os.rmdir
    late = iter(["table", "manifest"])

    def rmdir(path: str, **how: int) -> None:
        if str(path).endswith("nodes") and (name := next(late, None)) is not None:
            (folders.nodes / name).touch()
        remove(path, **how)

    monkeypatch.setattr("os.rmdir", rmdir)
    folders.close(keep=False)
    assert list(temporary.iterdir()) == []


def test_what_can_not_be_removed_is_an_error_in_the_end(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rmdir(path: str, **_: int) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("os.rmdir", rmdir)
    monkeypatch.setattr("quorate.chaos.harness.folders._REMOVED_SECONDS_MAX", 0.1)
    with pytest.raises(PermissionError):
        Folders(None, None).close(keep=False)


def test_after_an_interruption_nothing_is_left(temporary: Path) -> None:
    folders = Folders(None, None)
    with pytest.raises(KeyboardInterrupt), folders.kept_after_a_bug():
        raise KeyboardInterrupt
    folders.close(keep=False)
    assert list(temporary.iterdir()) == []
