"""`quorate watch`: each change as it comes, and how it ends."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from quorate.client import Compacted, Event, KeyValue, Unavailable

from .fake_client import FakeClient

Run = Callable[..., Result]

OLD = KeyValue(b"k", b"old", 2, 2, 1, 0)
NEW = KeyValue(b"k", b"new\xff", 2, 3, 2, 0)


@pytest.fixture(autouse=True)
def changes(cluster: FakeClient) -> None:
    cluster.events += [
        Event(2, b"k", OLD),
        Event(3, b"k", NEW, OLD),
        Event(4, b"k", None, NEW),
    ]


def test_a_change_is_its_kind_its_key_and_its_value(
    run: Run, cluster: FakeClient
) -> None:
    for event in list(cluster.events):
        assert isinstance(event, Event)
        cluster.events += [Event(event.revision, event.key, event.kv)]
    del cluster.events[:3]
    result = run("watch", "k")
    assert result.stdout_bytes == b"PUT\nk\nold\nPUT\nk\nnew\xff\nDELETE\nk\n\n"
    assert result.exit_code == 0


def test_what_was_there_before_comes_first(run: Run, cluster: FakeClient) -> None:
    result = run("watch", "k", "--previous")
    assert result.stdout_bytes == (
        b"PUT\nk\nold\nPUT\nk\nold\nk\nnew\xff\nDELETE\nk\nnew\xff\nk\n\n"
    )


def test_json_is_an_object_a_line(run: Run, cluster: FakeClient) -> None:
    lines = run("watch", "-o", "json").stdout.splitlines()
    first, second, third = map(json.loads, lines)
    assert (first["type"], first["revision"]) == ("put", 2)
    assert "previous" not in first
    assert second["kv"]["value64"] == "bmV3/w=="
    assert second["previous"]["value64"] == "b2xk"
    assert third == {
        "type": "delete",
        "revision": 4,
        "key": "k",
        "key64": "aw==",
        "previous": second["kv"],
    }


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], (None, None, 0, False)),
        (["k"], (None, b"k", 0, False)),
        (["k", "--prefix"], (b"k", None, 0, False)),
        (["", "--prefix"], (b"", None, 0, False)),
        (["k", "--rev", "7", "--previous"], (None, b"k", 7, True)),
    ],
)
def test_it_asks_for_what_its_options_say(
    run: Run,
    cluster: FakeClient,
    arguments: list[str],
    asked: tuple[bytes | None, bytes | None, int, bool],
) -> None:
    run("watch", *arguments)
    prefix, key, revision, previous = asked
    wanted = {"key": key, "revision": revision, "previous": previous}
    assert cluster.calls == [("watch", {"prefix": prefix, **wanted})]


def test_it_ends_after_so_many_events(run: Run, cluster: FakeClient) -> None:
    assert run("watch", "--count", "2").stdout_bytes.count(b"PUT") == 2
    assert len(cluster.events) == 1


def test_ctrl_c_is_how_it_ends(run: Run, cluster: FakeClient) -> None:
    cluster.events[1:] = [KeyboardInterrupt()]
    result = run("watch")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "PUT\nk\nold\n", "")


def test_what_was_compacted_is_said_behind_what_was_told(
    run: Run, cluster: FakeClient
) -> None:
    cluster.events[1:] = [Compacted("compacted: told so", 9)]
    result = run("watch")
    assert (result.exit_code, result.stdout) == (1, "PUT\nk\nold\n")
    assert "the oldest revision that is kept is 9" in result.stderr


def test_nobody_to_ask_exits_with_5(run: Run, cluster: FakeClient) -> None:
    cluster.events[:] = [Unavailable("no node takes the watch")]
    assert run("watch").exit_code == 5


@pytest.mark.parametrize(
    "arguments", [["--prefix"], ["--rev", "0"], ["--count", "0"], ["a", "b"]]
)
def test_what_makes_no_sense_is_usage(
    run: Run, cluster: FakeClient, arguments: list[str]
) -> None:
    assert run("watch", *arguments).exit_code == 2
    assert cluster.calls == []
