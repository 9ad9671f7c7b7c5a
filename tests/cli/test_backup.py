"""backup save: what is asked of a node."""

import errno
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from quorate.node import rebirth
from quorate.node.api.targets import duration_ms, parse_query, split_target
from quorate.node.backup import BackupHead
from quorate.node.database import NotUnderstood
from quorate.wire import DEFAULT_LIMITS

Run = Callable[..., Result]
HOSTS = ("127.0.0.1", "localhost", "127.1")


class Asked(HTTPServer):
    """Reads what it is asked as a node does, and has what a test gives it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asking)
        self.timeouts_ms: list[int] = []
        self.status = 429
        # What it sends, one after the other; all but the last are cut off.
        self.answers: list[bytes] = []
        # In the middle of each.
        self.pause_s = 0.0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Asking(BaseHTTPRequestHandler):
    """One connection to it."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Asked)
        target = split_target(self.path)
        assert target.path == "/v1/backup"
        (timeout,) = parse_query(target.query, frozenset(("timeout",))).values()
        self.server.timeouts_ms.append(
            duration_ms("timeout", timeout, 1, DEFAULT_LIMITS.timeout_ms_max)
        )
        if not self.server.answers:
            self.send_error(self.server.status)
            return
        answer = self.server.answers.pop(0)
        missing = 0 if self.server.answers == [] else 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer) + missing))
        self.end_headers()
        half = len(answer) // 2
        self.wfile.write(answer[:half])
        time.sleep(self.server.pause_s)
        self.wfile.write(answer[half:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def asked() -> Iterator[Asked]:
    with Asked() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("timeout", "milliseconds"),
    [("5s", 5000), ("500ms", 500), ("1.5", 1500), ("10m", 600_000), ("0.1ms", 1)],
)
def test_a_node_understands_every_timeout(
    run: Run, asked: Asked, tmp_path: Path, timeout: str, milliseconds: int
) -> None:
    file = tmp_path / "backup"
    done = run(
        *("backup", "save", str(file)),
        *("--endpoints", asked.endpoint, "--timeout", timeout),
    )
    assert asked.timeouts_ms == [milliseconds], done.stderr
    assert done.exit_code == 5
    assert not file.exists()


def whole(wall_ms: int = 8) -> bytes:
    head = BackupHead(1, 2, 3, 4, 5, 6, 7, "00" * 20, wall_ms, 9)
    body = msgspec.msgpack.encode(head)
    data = b"QRBACKUP" + len(body).to_bytes(4, "little") + body + bytes(9)
    return data + sha256(data).digest()


def save(run: Run, asked: Asked, file: Path, times: int = 1) -> Result:
    # The same place by other names, so that each is asked.
    hosts = [f"{host}:{asked.server_port}" for host in HOSTS[:times]]
    return run("backup", "save", str(file), "--endpoints", ",".join(hosts))


def test_a_backup_is_for_its_owner_alone(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    asked.answers = [whole()]
    assert save(run, asked, tmp_path / "backup").exit_code == 0
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600


def test_a_backup_is_saved_where_there_are_no_hard_links(
    run: Run, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup"

    def refuse(*arguments: object, **others: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def refuse_late(*arguments: object, **others: object) -> None:
        file.write_bytes(b"of somebody else")
        refuse()

    asked.answers = [whole()]
    monkeypatch.setattr(os, "link", refuse)
    assert save(run, asked, file).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    assert file.read_bytes() == whole()
    assert file.stat().st_mode & 0o777 == 0o600
    # What appears there meanwhile is not overwritten.
    file.unlink()
    asked.answers = [whole()]
    monkeypatch.setattr(os, "link", refuse_late)
    done = save(run, asked, file)
    assert done.exit_code == 1
    assert "nothing is overwritten" in done.stderr
    assert file.read_bytes() == b"of somebody else"


def test_a_backup_may_take_longer_than_its_begin(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    asked.answers, asked.pause_s = [whole()], 0.5
    args = ("--endpoints", asked.endpoint, "--timeout", "200ms")
    done = run("backup", "save", str(tmp_path / "backup"), *args)
    assert done.exit_code == 0, done.stderr


def test_who_takes_no_connection_is_waited_for_no_longer_than_was_said(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    asked.answers = [whole()]
    # Its queue is full, and whoever else comes gets no answer, as from a lost machine.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        place = deaf.getsockname()
        with socket.create_connection(place):
            endpoints = f"127.0.0.1:{place[1]},{asked.endpoint}"
            args = ("--endpoints", endpoints, "--timeout", "300ms")
            begun = time.monotonic()
            done = run("backup", "save", str(tmp_path / "backup"), *args)
    assert done.exit_code == 0, done.stderr
    assert time.monotonic() - begun < 20.0


def test_what_another_save_writes_is_left_alone(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    part = tmp_path / "backup.part"
    part.write_bytes(b"of somebody else")
    done = save(run, asked, tmp_path / "backup")
    assert done.exit_code == 1
    assert "can be removed" in done.stderr
    assert part.read_bytes() == b"of somebody else"


def test_the_next_node_is_asked_when_one_does_not_send_all(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    asked.answers = [whole()[:-40], b"x" * (3 << 20), whole()]
    done = save(run, asked, tmp_path / "backup", 3)
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "backup").read_bytes() == whole()


def test_a_backup_that_lacks_its_end_is_asked_for_elsewhere(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    """A node that finds its disk damaged ends early, and in order."""
    asked.answers = [whole()[:-1]]
    done = save(run, asked, tmp_path / "backup", 2)
    assert done.exit_code == 5
    assert "cut off" in done.stderr
    assert "429" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_no_lack_of_nodes(run: Run, asked: Asked, tmp_path: Path) -> None:
    asked.status = 401
    assert save(run, asked, tmp_path / "backup").exit_code == 1


def test_what_a_node_says_of_its_refusal_is_shown_as_text(
    run: Run, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(asking: Asking, status: int) -> None:
        body = b'{"status": 503, "detail": "no leader was found", "code": "no_leader"}'
        asking.send_response(status)
        asking.send_header("Content-Length", str(len(body)))
        asking.end_headers()
        asking.wfile.write(body)

    asked.status = 503
    monkeypatch.setattr(Asking, "send_error", refuse)
    refused = save(run, asked, tmp_path / "backup")
    assert refused.exit_code == 5
    assert (
        refused.stderr == f"Error: {asked.endpoint}: no_leader: no leader was found\n"
    )


def test_a_full_disk_is_not_the_fault_of_nodes(
    run: Run, asked: Asked, tmp_path: Path
) -> None:
    asked.answers = [whole() + bytes(1 << 20)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        done = save(run, asked, tmp_path / "backup")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.exit_code == 1
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wall_ms", [-1, 1 << 62])
def test_a_backup_with_an_odd_time_is_as_good(
    run: Run, tmp_path: Path, wall_ms: int
) -> None:
    file = tmp_path / "backup"
    file.write_bytes(whole(wall_ms))
    done = run("backup", "verify", str(file))
    assert done.exit_code == 0
    assert "whole" in done.stdout


def test_a_backup_that_only_a_newer_build_understands_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(*arguments: object, **others: object) -> int:
        raise NotUnderstood("the cluster has version 2")

    monkeypatch.setattr(rebirth, "reborn_from", newer)
    file = tmp_path / "backup"
    file.write_bytes(whole())
    done = run("backup", "restore", str(file), str(tmp_path / "n1"))
    assert done.exit_code == 1
    assert done.stderr == "Error: the cluster has version 2\n"
    assert list((tmp_path / "n1").iterdir()) == []
