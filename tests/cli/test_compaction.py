"""compaction, and get from the past: what is printed and what failures exit with."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from quorate import client

from .fake_client import FakeClient

Run = Callable[..., Result]


@pytest.fixture
def filled(run: Run, cluster: FakeClient) -> FakeClient:
    """A cluster at revision 4."""
    for key, value in (("k", "1"), ("k", "2"), ("l", "3")):
        run("put", key, value)
    cluster.calls.clear()
    return cluster


def test_get_shows_a_key_as_it_was(run: Run, filled: FakeClient) -> None:
    assert run("get", "k", "--rev", "2").output == "k\n1\n"
    assert run("get", "k", "--rev", "3").output == "k\n2\n"
    assert run("get", "l", "--rev=3").exit_code == 3
    assert run("get", "l").output == "l\n3\n"


def test_get_shows_a_range_as_it_was(run: Run, filled: FakeClient) -> None:
    assert run("get", "", "--prefix", "--rev", "3").output == "k\n2\n"
    shown = json.loads(run("get", "k", "--from-key", "--rev=2", "-o", "json").output)
    assert [(kv["key"], kv["value64"]) for kv in shown["kvs"]] == [("k", "MQ==")]
    table = run("get", "a", "--range-end", "z", "--rev", "2", "-o", "table").output
    assert "| k " in table
    assert "| l " not in table


def test_compaction_says_what_it_has_done(run: Run, filled: FakeClient) -> None:
    assert run("compaction", "2").output == "compacted revision 2\n"
    assert run("compaction", "3", "-o", "json").output == '{"compacted": 3}\n'
    assert filled.calls == [("compact", 2), ("compact", 3)]
    assert run("get", "k", "--rev", "3").output == "k\n2\n"


def test_what_is_gone_or_not_there_yet_exits_with_1_and_the_nearest_revision(
    run: Run, filled: FakeClient
) -> None:
    run("compaction", "3")
    for arguments in (
        ["get", "k", "--rev", "2"],
        ["get", "k", "--prefix", "--rev", "2"],
        ["compaction", "2"],
        ["compaction", "3"],
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the oldest revision that is kept is 3" in result.stderr
    for arguments in (
        ["get", "k", "--rev", "5"],
        ["get", "k", "--prefix", "--rev", "5"],
        ["compaction", "5"],
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no such revision yet: the newest is 4" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["compaction"],
        ["compaction", "0"],
        ["compaction", "x"],
        ["compaction", "1", "2"],
        ["compaction", "-1"],
        ["get", "k", "--rev", "0"],
        ["get", "k", "--rev", "x"],
        ["get", "k", "--rev"],
    ],
)
def test_wrong_usage_exits_with_2_and_asks_nobody(
    run: Run, cluster: FakeClient, arguments: list[str]
) -> None:
    assert run(*arguments).exit_code == 2
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.InvalidRequest("odd"), 2),
        (client.Forbidden("no"), 1),
        (client.Unavailable("nobody"), 5),
        (client.Unknown("lost"), 6),
    ],
)
def test_each_failure_has_its_exit_code(
    run: Run, cluster: FakeClient, error: Exception, code: int
) -> None:
    cluster.errors = [error]
    result = run("compaction", "1")
    assert result.exit_code == code
    assert str(error) in result.stderr
    assert result.stdout == ""
