"""lock and elect, and writes with a token: what is printed, and what they exit with."""

import json
import sys
from collections.abc import Callable

import pytest
from click.testing import Result
from quorate.client import Unavailable

from .fake_client import FakeClient

Run = Callable[..., Result]


def exits(code: int) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", f"raise SystemExit({code})")


@pytest.mark.slow
def test_a_command_is_run_under_the_lock_and_its_exit_code_is_ours(
    run: Run, cluster: FakeClient
) -> None:
    assert run("lock", "job", *exits(0)).exit_code == 0
    result = run("lock", "job", "--ttl", "1m", "--wait", "0", *exits(7))
    assert result.exit_code == 7
    assert cluster.calls == [
        ("lock", (b"job", 10.0, None)),
        ("lock", (b"job", 60.0, 0.0)),
    ]
    assert cluster.released == 2


@pytest.mark.slow
def test_the_command_finds_the_token_and_the_key(run: Run, cluster: FakeClient) -> None:
    script = "import os, sys; e = os.environ; sys.exit(e['QUORATE_LOCK_TOKEN'] != "
    script += f"{cluster.token!r} or e['QUORATE_LOCK_KEY'] != 'job/1')"
    assert run("lock", "job", "--", sys.executable, "-c", script).exit_code == 0


@pytest.mark.slow
def test_a_signal_that_ends_the_command_is_told_as_shells_do(
    run: Run, cluster: FakeClient
) -> None:
    script = "import os; os.kill(os.getpid(), 9)"
    assert run("lock", "job", "--", sys.executable, "-c", script).exit_code == 137


@pytest.mark.slow
def test_a_lost_lock_ends_the_command_and_exits_with_4(
    run: Run, cluster: FakeClient
) -> None:
    cluster.lost = True
    script = "import signal; signal.pause()"
    result = run("lock", "job", "--", sys.executable, "-c", script)
    assert result.exit_code == 4
    assert "the lock was lost" in result.stderr
    assert cluster.released == 1


def test_a_lock_that_is_not_to_be_had_exits_with_4(
    run: Run, cluster: FakeClient
) -> None:
    cluster.held = True
    result = run("lock", "job", "--wait", "0s", "--", "never-run")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "somebody else holds it" in result.stderr
    assert cluster.released == 0


def test_a_command_that_is_not_there_releases_the_lock(
    run: Run, cluster: FakeClient
) -> None:
    result = run("lock", "job", "--", "/nonexistent/command")
    assert result.exit_code == 1
    assert "/nonexistent/command: No such file" in result.stderr
    assert cluster.released == 1


def test_without_a_command_key_and_token_are_printed(
    run: Run, cluster: FakeClient
) -> None:
    cluster.lost = True
    result = run("lock", "job")
    assert (result.exit_code, result.stdout) == (4, f"job/1\n{cluster.token}\n")
    shown = json.loads(run("lock", "job", "-o", "json").stdout)
    assert shown == {
        "key": "job/1",
        "key64": "am9iLzE=",
        "token": cluster.token,
        "revision": 2,
    }


@pytest.mark.slow
def test_a_release_that_fails_is_told_and_changes_no_exit_code(
    run: Run, cluster: FakeClient
) -> None:
    lock = cluster.lock

    def failing(name: bytes, *, ttl: float, wait: float | None) -> object:
        made = lock(name, ttl=ttl, wait=wait)
        cluster.errors.append(Unavailable("nobody"))
        return made

    cluster.lock = failing  # pyright: ignore[reportAttributeAccessIssue]
    result = run("lock", "job", *exits(3))
    assert result.exit_code == 3
    assert "not released: nobody" in result.stderr


@pytest.mark.parametrize("wait", ["-1", "x", "11m", "0.0001ms0"])
def test_a_wait_that_makes_no_sense_is_wrong_usage(
    run: Run, cluster: FakeClient, wait: str
) -> None:
    assert run("lock", "job", f"--wait={wait}").exit_code == 2
    assert cluster.calls == []


def test_who_listens_takes_no_value(run: Run, cluster: FakeClient) -> None:
    for arguments in (("me", "--listen"), ("--listen", "--wait", "1s")):
        assert run("elect", "e", *arguments).exit_code == 2


# -- writes with a token ---------------------------------------------------------------


def test_writes_with_the_token_of_a_lost_lock_exit_with_4(
    run: Run, cluster: FakeClient
) -> None:
    assert run("put", "k", "v", "--fence", cluster.token).exit_code == 0
    result = run("put", "k", "w", "--fence", "1.YQ")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "fenced" in result.stderr
    assert run("del", "k", "--fence", "1.YQ").exit_code == 4
    assert cluster.records[b"k"].value == b"v"
    assert run("del", "k", "--fence", cluster.token).output == "1\n"


def test_a_transaction_has_the_fences_of_its_document_and_of_the_options(
    run: Run, cluster: FakeClient
) -> None:
    document = f'{{"fence": "{cluster.token}", "then": []}}'.encode()
    assert run("txn", stdin=document).exit_code == 0
    again = ("--fence", cluster.token)
    assert run("txn", *again, *again, stdin=document).exit_code == 0
    result = run("txn", "--fence", "1.YQ", stdin=document)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "fenced" in result.stderr
    assert run("txn", "--fence", "nonsense", stdin=document).exit_code == 2
    other = b'{"fence": ["1.YQ"], "then": [{"put": {"key": "k", "value": "v"}}]}'
    assert run("txn", stdin=other).exit_code == 4
    assert cluster.records == {}
