"""import and export: whole folders in and out, and nothing outside of them."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from quorate import client
from quorate.cli.export_files import UnsafeKey, safe_path
from quorate.cli.import_files import Tally, read_regular_file, walk
from quorate.client import KeyValue

from .fake_client import FakeClient

Run = Callable[..., Result]


def value_of(cluster: FakeClient) -> dict[bytes, bytes]:
    return {key: record.value for key, record in cluster.records.items()}


def store(cluster: FakeClient, records: dict[bytes, bytes]) -> None:
    for key, value in records.items():
        cluster.records[key] = KeyValue(key, value, 2, 2, 1, 0)


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "top").write_bytes(b"1")
    (source / "a" / "empty").write_bytes(b"")
    (source / "a" / "b" / "deep").write_bytes(bytes(range(256)))
    return source


def test_each_file_becomes_a_key_behind_the_prefix(
    run: Run, cluster: FakeClient, source: Path
) -> None:
    result = run("import", str(source), "--prefix", "p/")
    assert result.exit_code == 0
    assert result.stdout == "imported 3 files, 257 bytes\n"
    assert result.stderr == ""
    assert value_of(cluster) == {
        b"p/top": b"1",
        b"p/a/empty": b"",
        b"p/a/b/deep": bytes(range(256)),
    }


def test_what_was_imported_is_exported_the_same(
    run: Run, cluster: FakeClient, source: Path, tmp_path: Path
) -> None:
    run("import", str(source), "--prefix", "p/")
    result = run("export", str(tmp_path / "out"), "--prefix", "p/")
    assert result.exit_code == 0
    assert result.stdout == "exported 3 files, 257 bytes\n"
    assert files_below(tmp_path / "out") == files_below(source)


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write there could have any file stored that the importer can read."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "b").mkdir(parents=True)
    (inside / "c").mkdir()
    (inside / "a").touch()
    (inside / "b" / "key").touch()
    outside.mkdir()
    (outside / "key").write_bytes(b"secret")
    root, tally = os.open(inside, os.O_RDONLY), Tally("imported")
    paths = walk(root, tally)
    assert [next(paths), next(paths)] == [b"a", b"b/key"]
    for name in ("b", "c"):
        (inside / name).rename(tmp_path / name)
        (inside / name).symlink_to(outside)
    assert list(paths) == []
    assert tally.failures == 1
    with pytest.raises(NotADirectoryError):
        read_regular_file(root, b"b/key")
    os.close(root)


def test_file_names_are_any_bytes(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    name = bytes(byte for byte in range(1, 256) if byte != ord("/"))[:255]
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_bytes(b"x")
    assert run("import", str(tmp_path / "in")).exit_code == 0
    assert value_of(cluster) == {name: b"x"}
    assert run("export", str(tmp_path / "out")).exit_code == 0
    assert os.listdir(os.fsencode(tmp_path / "out")) == [name]


def test_links_and_special_files_are_skipped(
    run: Run, cluster: FakeClient, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (source / "link").symlink_to(tmp_path / "secret")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "pipe")
    result = run("import", str(source))
    assert result.exit_code == 0
    assert "skipped 3 links" in result.stderr
    assert set(value_of(cluster)) == {b"top", b"a/empty", b"a/b/deep"}


def test_a_folder_that_does_not_exist_is_an_error(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    assert run("import", str(tmp_path / "absent")).exit_code == 1
    assert cluster.calls == []


def test_only_so_many_files_are_on_their_way_at_once(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    for i in range(40):
        (tmp_path / f"{i:02}").touch()
    assert run("import", str(tmp_path), "--in-flight", "5").exit_code == 0
    assert len(cluster.records) == 40
    assert cluster.in_flight_seen == 5


def test_a_lost_put_is_put_again_until_it_is_known(
    run: Run, cluster: FakeClient, source: Path
) -> None:
    cluster.errors = [client.Unknown("lost"), client.Unavailable("nobody")]
    result = run("import", str(source), "--in-flight", "1")
    assert result.exit_code == 0
    assert len(cluster.calls) == 5
    assert len(cluster.records) == 3


def test_retrying_ends_and_the_other_files_are_stored(
    run: Run, cluster: FakeClient, source: Path
) -> None:
    cluster.errors = [client.Unavailable("nobody")]
    result = run("import", str(source), "--in-flight", "1", "--retry-for", "1ms")
    assert result.exit_code == 1
    assert "'a/b/deep': nobody" in result.stderr or "'top': nobody" in result.stderr
    assert "1 failed" in result.stderr
    assert result.stdout.startswith("imported 2 files")


def test_a_refused_file_is_not_retried(
    run: Run, cluster: FakeClient, source: Path
) -> None:
    cluster.errors = [client.TooLarge("key too long")]
    result = run("import", str(source))
    assert result.exit_code == 1
    assert "key too long" in result.stderr
    assert len(cluster.calls) == 3


def test_a_file_larger_than_a_value_fails_alone(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate((4 << 20) + 1)
    (tmp_path / "small").write_bytes(b"x")
    result = run("import", str(tmp_path))
    assert result.exit_code == 1
    assert "'large': larger than a value may be" in result.stderr
    assert set(cluster.records) == {b"small"}


def test_many_failures_are_counted_and_not_all_shown(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}").touch()
    cluster.errors = [client.TooLarge("no")] * 30
    result = run("import", str(tmp_path))
    assert result.stderr.count("': no") == 20
    assert "30 failed" in result.stderr


UNSAFE = [
    b"",
    b"/etc/passwd",
    b"../escape",
    b"a/../../escape",
    b"..",
    b".",
    b"a//b",
    b"a/",
    b"a/./b",
    b"nul\0",
    b"a/nul\0/b",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_key_that_is_no_path_below_the_folder_is_refused_alone(
    run: Run, cluster: FakeClient, tmp_path: Path, name: bytes
) -> None:
    store(cluster, {b"p/" + name: b"evil", b"p/good": b"fine"})
    out = tmp_path / "deep" / "out"
    result = run("export", str(out), "--prefix", "p/", "--force")
    assert result.exit_code == 1
    assert "1 failed" in result.stderr
    assert files_below(tmp_path) == {"deep/out/good": b"fine"}


@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from([b"a", b"..", b"."])).map(b"/".join)
)
def test_a_safe_path_never_leads_out(name: bytes) -> None:
    try:
        segments = safe_path(name)
    except UnsafeKey:
        return
    assert b"/".join(segments) == name
    joined = os.path.normpath(os.path.join(b"/root", name))
    assert joined.startswith(b"/root/")
    assert joined == b"/root/" + name


def test_a_name_that_is_too_long_for_a_file_fails_alone(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    store(cluster, {b"x" * 300: b"", b"good": b""})
    result = run("export", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "File name too long" in result.stderr
    assert list(files_below(tmp_path / "out")) == ["good"]


def test_an_existing_file_is_left_alone_without_force(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    (tmp_path / "k").write_bytes(b"mine")
    store(cluster, {b"k": b"theirs"})
    result = run("export", str(tmp_path))
    assert result.exit_code == 1
    assert "File exists" in result.stderr
    assert files_below(tmp_path) == {"k": b"mine"}
    assert run("export", str(tmp_path), "--force").exit_code == 0
    assert files_below(tmp_path) == {"k": b"theirs"}


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_planted_links_do_not_lead_out_of_the_folder(
    run: Run, cluster: FakeClient, tmp_path: Path, force: list[str]
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "file").write_bytes(b"mine")
    (out / "folder").symlink_to(outside)
    (out / "file").symlink_to(outside / "file")
    store(cluster, {b"folder/new": b"evil", b"file": b"evil"})
    assert run("export", str(out), *force).exit_code == 1
    assert files_below(outside) == {"file": b"mine"}
    # With --force the link itself was replaced, not written through.
    assert (out / "file").is_symlink() is (not force)


def test_a_key_that_is_also_a_folder_fails_alone(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    store(cluster, {b"a": b"file", b"a/b": b"below"})
    for force in ([], ["--force"]):
        out = tmp_path / f"out{len(force)}"
        result = run("export", str(out), *force)
        assert result.exit_code == 1
        assert files_below(out) == {"a": b"file"}


def test_a_replacement_that_fails_leaves_nothing_behind(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    store(cluster, {b"a": b"file"})
    assert run("export", str(tmp_path), "--force").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class _Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_who_is_killed_leaves_no_cut_file_under_a_keys_name(
    run: Run,
    cluster: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    force: list[str],
) -> None:
    seen: list[str] = []

    def killed(descriptor: int, mode: str) -> None:
        os.write(descriptor, b"ha")
        os.close(descriptor)
        seen.extend(path.name for path in tmp_path.iterdir())
        raise _Killed

    monkeypatch.setattr(os, "fdopen", killed)
    store(cluster, {b"k": b"half"})
    with pytest.raises(_Killed):
        run("export", str(tmp_path), *force)
    (beside,) = seen
    assert beside.startswith(".quorate-")
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_is_told_as_exported_is_on_the_disk(
    run: Run,
    cluster: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    force: list[str],
) -> None:
    """Story: it was in memory alone, and a power loss left files empty or none."""
    steps: list[str] = []
    really = os.fsync

    def synced(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path)
        named = [
            str(at) for at in sorted(files_below(tmp_path)) if ".quorate" not in at
        ]
        steps.append(f"{re.sub('.quorate-.*', 'new', str(path))}: {' '.join(named)}")
        really(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    store(cluster, {b"d/e/k": b"v", b"k": b"v"})
    assert run("export", str(tmp_path / "x" / "out"), *force).exit_code == 0
    both = "x/out/d/e/k x/out/k"
    assert steps == [
        "x/out/d/e/new: ",
        "x/out/new: x/out/d/e/k",
        *(f"{at}: {both}" for at in ("x/out", "x/out/d", "x/out/d/e", "x", ".")),
    ]


def test_a_disk_that_does_not_keep_a_file_is_told(
    run: Run, cluster: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store(cluster, {b"k": b"v"})
    really = os.fsync
    monkeypatch.setattr(os, "fsync", fail)
    done = run("export", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "'k': Input/output error" in done.stderr
    assert files_below(tmp_path) == {}
    turns: Iterator[Callable[[int], None]] = iter((really, fail))

    def fail_later(descriptor: int) -> None:
        next(turns)(descriptor)

    monkeypatch.setattr(os, "fsync", fail_later)
    done = run("export", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "can't be made durable: Input/output error" in done.stderr
    assert "exported" not in done.stdout


def test_a_file_system_without_hard_links_will_do(
    run: Run, cluster: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **others: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "mine").write_bytes(b"mine")
    store(cluster, {b"k": b"value", b"mine": b"theirs"})
    done = run("export", str(tmp_path))
    assert done.exit_code == 1
    assert "File exists" in done.stderr
    assert files_below(tmp_path) == {"k": b"value", "mine": b"mine"}


def test_exported_files_are_for_the_owner_alone(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    store(cluster, {b"d/k": b"v"})
    run("export", str(tmp_path / "out"))
    assert (tmp_path / "out" / "d" / "k").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "d").stat().st_mode & 0o777 == 0o700


def test_an_unavailable_cluster_ends_an_export_with_5(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    cluster.errors = [client.Unavailable("nobody")]
    assert run("export", str(tmp_path / "out")).exit_code == 5
