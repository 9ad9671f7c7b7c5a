"""The whole way, without an etcd: a node of ours stands in for it.

Two nodes say the same to everything that is sent; when one of them lies, it is found.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..harness import running_cluster
from .asking import At, Body, Call, Step, Watch
from .comparing import Said
from .talking import INTERRUPTED_MAX, Differ, Interrupted, Pair, Server

pytestmark = pytest.mark.slow

EVENT: Body = {"request_put": {"key": b"b", "value": b"2"}}
STEPS: list[Step] = [
    Call("kv/put", {"key": b"a", "value": b"1", "prev_kv": True}),
    Call("lease/grant", {"ID": 71, "TTL": 600}),
    Call("kv/put", {"key": b"a", "lease": 71, "ignore_value": True}, 3),
    Call("kv/txn", {"success": [EVENT], "failure": []}, 7),
    Call("kv/txn", {"success": [{"request_range": {"key": b"a", "revision": 2**62}}]}),
    Call("kv/range", {"key": b"a", "range_end": b"\0", "revision": At("now", -1)}),
    Call("lease/timetolive", {"ID": 71, "keys": True}),
    Call("lease/keepalive", {"ID": 71}),
    Call("kv/range", {"key": b"b", "sort_order": "DESCEND", "sort_target": "MOD"}, 7),
    Watch(
        [
            {"key": b"a", "range_end": b"c", "start_revision": At("now", -1)},
            {"key": b"a", "filters": ["NODELETE"], "watch_id": 1},
            {"key": b"a", "range_end": b"c", "filters": ["NOPUT"], "prev_kv": True},
            {"key": b"b", "start_revision": At("now", 9)},
            {"key": b"b", "start_revision": At("compacted", -1)},
            {"key": b"b", "range_end": b"a"},
            {"key": b"a", "filters": ["NOPUT", "NODELETE"]},
        ],
        [Call("kv/deleterange", {"key": b"a", "range_end": b"c"})],
    ),
    Call("kv/compaction", {"revision": At("now", 0)}),
    Call("kv/range", {"key": b"a", "revision": At("compacted", -1)}),
    Call("lease/revoke", {"ID": 71}),
    Call("lease/revoke", {"ID": 71}),
]

Lie = Callable[[str, Any], None]


class LikeEtcd(Server):
    """Leaves out what etcd 3.5 does not have in its errors."""

    def ask(self, path: str, text: str) -> Said:
        said = super().ask(path, text)
        for reply in said.replies:
            reply.pop("details", None)
        return said


def nothing(path: str, reply: Any) -> None:
    """The truth."""


class Liar(Server):
    """Tells what the node says, but for one thing."""

    lie: Lie = staticmethod(nothing)

    def ask(self, path: str, text: str) -> Said:
        said = super().ask(path, text)
        for reply in said.replies:
            self.lie(path, reply)
        return said

    def _same_speaker(self, reply: object) -> None:
        super()._same_speaker(reply)
        self.lie("watch", reply)


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, nothing_is_left_behind: None
) -> Iterator[tuple[Server, Liar]]:
    directory = tmp_path_factory.mktemp("talking")
    with (
        running_cluster(directory / "one", count=1) as one,
        running_cluster(directory / "other", count=1) as other,
    ):
        first = LikeEtcd("etcd", one.nodes[0].node.client.port)
        second = Liar("here", other.nodes[0].node.client.port)
        yield first, second
        first.close()
        second.close()


def test_two_that_say_the_same_do_so_from_any_state(
    servers: tuple[Server, Liar],
) -> None:
    """Also when one of them was ahead, and had keys and leases, when it began."""
    ahead = servers[0]
    for _ in range(3):
        assert ahead.ask("kv/put", '{"key": "YQ=="}').status == 200
    assert ahead.ask("lease/grant", '{"ID": 71, "TTL": 600}').status == 200
    pair = Pair(*servers)
    pair.run(STEPS)
    pair.run(STEPS)
    assert (pair.sequences, pair.watches) == (2, 2)
    assert pair.requests > 2 * len(STEPS)


def no_more(path: str, reply: Any) -> None:
    """A field is left out, of one kind of answer."""
    if path == "kv/range" and "error" not in reply:
        reply.pop("count", None)


def one_less(path: str, reply: Any) -> None:
    """The revision is another one, of one kind of answer."""
    if path == "kv/deleterange" and reply.get("deleted") == "1":
        reply["header"]["revision"] = str(int(reply["header"]["revision"]) - 1)


def other_words(path: str, reply: Any) -> None:
    """A refusal has another text."""
    if path == "kv/txn" and "message" in reply:
        reply["message"] = reply["error"] = reply["message"].replace("mvcc: ", "")


def event_changed(path: str, reply: Any) -> None:
    """One event of a watch has another value."""
    if path == "watch":
        for event in reply.get("events", ()):
            event["kv"].pop("create_revision", None)


def end_hidden(path: str, reply: Any) -> None:
    """A watch that was compacted away seems to be of another revision."""
    if path == "watch" and "compact_revision" in reply:
        reply["compact_revision"] = "2"


@pytest.mark.parametrize(
    ("lie", "where"),
    [
        (no_more, "[1][0].count: "),
        (one_less, "[1][0].header.revision: "),
        (other_words, "[1][0].message: "),
        (event_changed, ".kv.create_revision: "),
        (end_hidden, ".compact_revision: "),
    ],
)
def test_a_node_that_lies_is_found_and_shown_as_curl_would_ask(
    servers: tuple[Server, Liar],
    monkeypatch: pytest.MonkeyPatch,
    lie: Lie,
    where: str,
) -> None:
    pair = Pair(*servers)
    monkeypatch.setattr(Liar, "lie", staticmethod(quiet_at_first(lie)))
    with pytest.raises(Differ) as found:
        pair.run(STEPS)
    lines = str(found.value).splitlines()
    assert any(where in line for line in lines)
    shown = [line for line in lines if line.startswith("curl ")]
    assert shown[0] == (
        "curl -s $URL/v3/kv/put"
        """ -d '{"key": "YQ==", "value": "MQ==", "prev_kv": true}'"""
    )


def quiet_at_first(lie: Lie) -> Lie:
    """It lies from the first put of a step on: the store is made empty before."""
    begun = False

    def told(path: str, reply: Any) -> None:
        nonlocal begun
        begun = begun or path == "lease/grant"
        if begun:
            lie(path, reply)

    return told


def test_a_node_that_is_away_for_long_is_no_answer(
    servers: tuple[Server, Liar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted says nothing, and may not be what most of it is."""
    pair = Pair(*servers)

    def away(path: str, reply: Any) -> None:
        if path == "kv/txn":
            raise Interrupted

    monkeypatch.setattr(Liar, "lie", staticmethod(away))
    for number in range(INTERRUPTED_MAX):
        pair.run(STEPS)
        assert pair.interrupted == number + 1
    with pytest.raises(Interrupted):
        pair.run(STEPS)


def test_another_server_in_the_place_of_one_is_noticed(
    servers: tuple[Server, Liar],
) -> None:
    first, second = servers
    assert first.ask("kv/range", '{"key": "YQ=="}').status == 200
    first.close()
    first._port, second._port = second._port, first._port
    try:
        with (
            pytest.raises(AssertionError, match="another one"),
            first.watch('{"create_request": {"key": "YQ=="}}') as lines,
        ):
            next(lines)
    finally:
        first._port, second._port = second._port, first._port
