"""etcd's watch on a real node: its messages, one a chunk, as etcd 3.5 writes them."""

import http.client
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from .etcd_recording import b64, call
from .harness import Running, running_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, nothing_is_left_behind: None
) -> Iterator[Running]:
    """A cluster of one."""
    with running_cluster(tmp_path_factory.mktemp("etcd") / "c", count=1) as cluster:
        yield cluster.nodes[0]


def port(node: Running) -> int:
    return node.node.client.port


def do(node: Running, path: str, body: dict[str, Any]) -> dict[str, Any]:
    said = call(port(node), f"/v3/{path}", json.dumps(body))
    assert said.status == 200, said
    return cast("dict[str, Any]", said.reply)


def revision(reply: dict[str, Any]) -> int:
    return int(reply["header"]["revision"])


@contextmanager
def watching(node: Running, *bodies: dict[str, Any]) -> Generator[Iterator[Any]]:
    """The messages of one stream, of which each is one line."""
    connection = http.client.HTTPConnection("127.0.0.1", port(node), timeout=30)
    try:
        text = " ".join(json.dumps(body) for body in bodies)
        connection.request("POST", "/v3/watch", text)
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Transfer-Encoding") == "chunked"
        yield (json.loads(line)["result"] for line in response)
    finally:
        connection.close()


def create(**wanted: Any) -> dict[str, Any]:
    return {"create_request": wanted}


def told(message: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from cluster to cluster."""
    header = message["header"]
    assert set(header) - {"revision"} == {"cluster_id", "member_id", "raft_term"}
    return {name: value for name, value in message.items() if name != "header"}


def test_events_have_the_form_that_etcd_gives_them(node: Running) -> None:
    key = b64("form")
    with watching(node, create(key=key, prev_kv=True, watch_id="7")) as messages:
        assert told(next(messages)) == {"watch_id": "7", "created": True}
        first = revision(do(node, "kv/put", {"key": key, "value": b64("1")}))
        second = revision(do(node, "kv/put", {"key": key, "value": b64("2")}))
        third = revision(do(node, "kv/deleterange", {"key": key}))
        one = {
            "key": key,
            "create_revision": str(first),
            "mod_revision": str(first),
            "version": "1",
            "value": b64("1"),
        }
        two = one | {"mod_revision": str(second), "version": "2", "value": b64("2")}
        seen = [next(messages) for _ in range(3)]
    assert [told(message)["events"] for message in seen] == [
        [{"kv": one}],
        [{"kv": two, "prev_kv": one}],
        [
            {
                "type": "DELETE",
                "kv": {"key": key, "mod_revision": str(third)},
                "prev_kv": two,
            }
        ],
    ]
    assert [revision(message) for message in seen] == [first, second, third]
    assert {message["watch_id"] for message in seen} == {"7"}


def test_a_watch_goes_on_from_a_revision_and_leaves_out_what_is_filtered(
    node: Running,
) -> None:
    key = b64("filtered")
    first = revision(do(node, "kv/put", {"key": key, "value": b64("1")}))
    do(node, "kv/deleterange", {"key": key})
    do(node, "kv/put", {"key": key, "value": b64("2")})
    past = {"key": key, "start_revision": str(first)}
    with watching(node, create(**past)) as messages:
        assert told(next(messages)) == {"created": True}
        kinds = [next(messages)["events"][0].get("type") for _ in range(3)]
        assert kinds == [None, "DELETE", None]
    with watching(node, create(**past, filters=["NOPUT"])) as messages:
        next(messages)
        (event,) = next(messages)["events"]
        assert event["type"] == "DELETE"


def test_many_watches_share_a_stream(node: Running) -> None:
    wanted = [create(key=b64(f"many/{n}")) for n in range(3)]
    everything = {"createRequest": {"key": "AA==", "rangeEnd": "AA=="}}
    with watching(node, *wanted, everything) as messages:
        created = [next(messages) for _ in range(4)]
        assert [told(each).get("watch_id", "0") for each in created] == list("0123")
        do(node, "kv/put", {"key": b64("many/2")})
        seen = {next(messages)["watch_id"] for _ in range(2)}
        assert seen == {"2", "3"}


def test_what_was_compacted_cancels_a_watch_and_leaves_the_stream(
    node: Running,
) -> None:
    key = b64("compacted")
    do(node, "kv/put", {"key": key})
    kept = revision(do(node, "kv/put", {"key": key}))
    do(node, "kv/compaction", {"revision": str(kept)})
    late, live = create(key=key, start_revision="1"), create(key=key)
    with watching(node, late, live) as messages:
        seen = [told(next(messages)) for _ in range(3)]
        assert {"canceled": True, "compact_revision": str(kept)} in seen
        assert {"created": True} in seen
        assert {"watch_id": "1", "created": True} in seen
        do(node, "kv/put", {"key": key})
        assert next(messages)["watch_id"] == "1"


def test_a_watch_of_an_empty_range_ends_as_it_begins(node: Running) -> None:
    empty = create(key=b64("b"), range_end=b64("a"), watch_id="5", start_revision="1")
    with watching(node, empty, create(key=b64("b"))) as messages:
        assert told(next(messages)) == {
            "watch_id": "-1",
            "created": True,
            "canceled": True,
            "cancel_reason": "mvcc: watcher range is empty",
        }
        # It has no id, and the stream goes on.
        assert told(next(messages)) == {"created": True}


def test_an_id_that_another_watch_has_is_refused(node: Running) -> None:
    key = b64("ids")
    bodies = [create(key=key), create(key=key), create(key=key, watch_id="1")]
    with watching(node, *bodies, create(key=key, watch_id="7")) as messages:
        created = [told(next(messages)) for _ in range(4)]
        assert [each.get("watch_id", "0") for each in created] == ["0", "1", "-1", "7"]
        assert created[2] == {
            "watch_id": "-1",
            "created": True,
            "canceled": True,
            "cancel_reason": "mvcc: duplicate watch ID provided on the WatchStream",
        }
        do(node, "kv/put", {"key": key})
        assert [next(messages).get("watch_id", "0") for _ in range(3)] == list("017")


def test_a_start_below_zero_is_older_than_all(node: Running) -> None:
    """It is not the next revision: what was missed would stay unseen."""
    key = b64("below")
    do(node, "kv/put", {"key": key})
    kept = revision(do(node, "kv/put", {"key": key}))
    do(node, "kv/compaction", {"revision": str(kept)})
    with watching(node, create(key=key, start_revision="-3")) as messages:
        seen = [told(next(messages)) for _ in range(2)]
    assert seen == [
        {"created": True},
        {"canceled": True, "compact_revision": str(kept)},
    ]


@pytest.mark.parametrize(
    "body",
    ["{", '{"create_request": 3}', '{"create_request": {"key": "*"}}', "[]"],
)
def test_a_request_that_is_none_is_refused(node: Running, body: str) -> None:
    said = call(port(node), "/v3/watch", body)
    assert said.status == 400
    assert cast("dict[str, Any]", said.reply)["code"] == 3
