"""Requests, and what a real etcd answers to them, kept in etcd_recorded.jsonl.

Law: the recording is made by etcd alone. To make it again, start an etcd 3.5 with an
empty data directory and run this file with its port; what differs here on purpose is
not in it, but in test_etcd_gateway.py.
"""

import base64
import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

FILE = Path(__file__).with_name("etcd_recorded.jsonl")
# What is different in every cluster, or only there from some version of etcd on.
VARYING = ("cluster_id", "member_id", "raft_term", "details")


class Said(NamedTuple):
    """A status and what came with it."""

    status: int
    reply: Any


def b64(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(raw).decode()


def plain(reply: Any) -> Any:
    """The reply without what varies."""
    if isinstance(reply, list):
        return [plain(each) for each in cast("list[Any]", reply)]
    if not isinstance(reply, dict):
        return reply
    document = cast("dict[str, Any]", reply)
    return {name: plain(each) for name, each in document.items() if name not in VARYING}


def call(port: int, path: str, body: str, method: str = "POST") -> Said:
    """One request; the replies of streams are a list."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body.encode())
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    lines = text.splitlines()
    try:
        documents = [plain(json.loads(line)) for line in lines]
    except ValueError:
        return Said(response.status, text)
    streamed = path.endswith("/lease/keepalive") and response.status == 200
    return Said(response.status, documents if streamed else documents[0])


def requests() -> Iterator[tuple[str, str]]:
    """Paths and bodies, in order: each finds what those before it have left."""
    for path, body in (*_first_steps(), *_ranges(), *_puts(), *_transactions()):
        yield path, body if isinstance(body, str) else json.dumps(body)
    for path, body in (*_leases(), *_the_rest(), *_locks()):
        yield path, body if isinstance(body, str) else json.dumps(body)


Requests = Iterator[tuple[str, Any]]
A, Z = b64("a"), b64("z")


def _first_steps() -> Requests:
    yield "/v3/kv/put", {"key": A, "value": b64("1")}
    yield "/v3/kv/put", {"key": A, "value": b64("2"), "prev_kv": True}
    yield "/v3/kv/put", {"key": b64("empty")}
    yield "/v3/kv/put", {"key": b64("c\xff"), "value": b64(bytes(range(256)))}
    for body in (
        "",
        " ",
        "null",
        "{bad",
        '{"key":"!!!"}',
        '{"key":1}',
        '{"key":{}}',
        '{"key":null}',
        "[]",
        '"x"',
        '{"key":"YQ=="',
        '{"key" 1}',
        '{"key":}',
        '{"z":[1 2]}',
        '{"key":"YQ==" "b":1}',
        '{"key":"YQ==",}',
        '{"key":"YQ=="} x',
        '{"key":"YQ==","zzz":{"a":[1,null]}}',
        '{"key":"YR=="}',
        '{"key":"Y\\nQ=="}',
        '{"key":"YQ==","limit":"1.0"}',
        '{"key":"YQ==","limit":99999999999999999999}',
        '{"key":"YQ==","limit":"99999999999999999999"}',
        '{"key":"YQ==","limit":"x"}',
        '{"key":"YQ==","limit":""}',
        '{"key":"YQ==","limit":true}',
        '{"key":"YQ==","limit":-1}',
        '{"key":"YQ==","revision":-5}',
        '{"key":"YQ==","serializable":"true"}',
        '{"key":"YQ==","keys_only":1}',
        '{"key":"YQ==","sort_order":"NOPE"}',
        '{"key":"YQ==","sort_order":"1"}',
        '{"key":"YQ==","range_end":"Yg==","rangeEnd":"eg=="}',
    ):
        yield "/v3/kv/range", body


def _ranges() -> Requests:
    all_of_it = {"key": A, "range_end": Z}
    for changes in (
        {"key": b64("nope"), "range_end": None},
        {"range_end": b64("\0")},
        {"key": b64("\0"), "range_end": b64("\0"), "keys_only": True},
        {"key": Z, "range_end": A},
        {"range_end": None, "rangeEnd": Z, "limit": 1},
        {"limit": "2", "serializable": True},
        {"limit": 3},
        {"limit": 1, "sort_order": "DESCEND", "sort_target": "MOD"},
        {"limit": 1, "sort_order": "DESCEND"},
        {"sort_order": 2, "sort_target": 3, "keys_only": True},
        {"sortOrder": 1, "sortTarget": "VALUE", "keysOnly": True},
        {"sort_order": "ASCEND", "sort_target": "VERSION"},
        {"sort_target": "CREATE"},
        {"count_only": True},
        {"count_only": True, "limit": 1},
        {"range_end": None, "count_only": True},
        {"range_end": None, "keys_only": True},
        {"range_end": None, "min_mod_revision": "90"},
        {"min_mod_revision": 4, "limit": 1},
        {"max_create_revision": 3},
        {"max_mod_revision": "4", "min_create_revision": 3, "sort_order": "DESCEND"},
        {"revision": 2},
        {"revision": "3", "limit": 1},
        {"revision": 1},
        {"revision": 999},
    ):
        body = {n: v for n, v in {**all_of_it, **changes}.items() if v is not None}
        yield "/v3/kv/range", body
    yield "/v3beta/kv/range", {"key": A}
    yield "/v3/kv/range?x=1", {"key": A}


def _puts() -> Requests:
    for path in ("/v3/kv/put", "/v3/kv/deleterange", "/v3/kv/nope", "/v3/kv"):
        yield path, {}
    yield "/v3/kv/put", {"key": b64("new"), "ignore_value": True}
    yield "/v3/kv/put", {"key": b64("new"), "value": A, "ignore_lease": True}
    yield "/v3/kv/put", {"key": A, "value": A, "ignore_value": True}
    yield "/v3/kv/put", {"key": A, "value": A, "lease": 5, "ignore_lease": True}
    yield "/v3/kv/put", {"key": A, "ignore_value": True, "prev_kv": True}
    yield "/v3/kv/put", {"key": A, "value": b64("3"), "ignoreLease": True}
    yield "/v3/kv/put", {"key": A, "value": A, "lease": "12345"}
    yield "/v3/kv/put", {"key": A, "value": A, "lease": -5}
    yield "/v3/kv/deleterange", {"key": b64("nope")}
    yield "/v3/kv/deleterange", {"key": b64("empty"), "prevKv": True}
    yield "/v3/kv/deleterange", {"key": b64("c"), "range_end": b64("d")}
    yield "/v3/kv/range", {"key": A}


def _put(key: str, value: str = "", **more: Any) -> dict[str, Any]:
    return {"request_put": {"key": b64(key), "value": b64(value), **more}}


def _get(key: str, **more: Any) -> dict[str, Any]:
    return {"request_range": {"key": b64(key), **more}}


def _delete(key: str, **more: Any) -> dict[str, Any]:
    return {"request_delete_range": {"key": b64(key), **more}}


def _transactions() -> Requests:
    for part in ({}, None, _put(""), _get(""), _delete("")):
        yield "/v3/kv/txn", {"success": [part]}
    yield "/v3/kv/txn", {}
    yield "/v3/kv/txn", {"success": {}}
    yield "/v3/kv/txn", {"compare": [{}]}
    for compare in (
        {"target": "CREATE", "create_revision": "0"},
        {"target": "VALUE", "value": b64("3")},
        {"target": "VALUE", "value": b64("3"), "result": "NOT_EQUAL"},
        {"target": 3, "value": b64("2"), "result": 1},
        {"target": "MOD", "result": "GREATER", "mod_revision": "99"},
        {"target": "MOD", "result": "LESS", "modRevision": 99},
        {"target": "VERSION", "version": -1, "result": "GREATER"},
        {"target": "VERSION", "version": -1},
        {"target": "VERSION", "version": -1, "result": "LESS"},
        {"target": "LEASE", "lease": -1, "result": "NOT_EQUAL"},
        {"target": "LEASE"},
        {"target": "VALUE", "version": 1},
        {"target": "VERSION", "version": 4, "mod_revision": 2},
        {"target": "NOPE"},
        {"target": "VERSION", "version": 0, "result": "GREATER", "range_end": Z},
        {"target": "VALUE", "value": b64("3"), "range_end": b64("b")},
        {"key": b64("x"), "target": "VALUE", "result": "NOT_EQUAL"},
        {"key": b64("x"), "target": "VERSION", "range_end": b64("y")},
        {"key": b64("x"), "target": "VALUE", "range_end": b64("y")},
    ):
        body = {"compare": [{"key": A, **compare}], "failure": [_get("x")]}
        yield "/v3/kv/txn", body
    both = {"range_end": b64("z"), "prev_kv": True}
    for success in (
        [_put("d", "x"), _put("d", "y")],
        [_delete("d"), _put("d", "y")],
        [_delete("c", range_end=Z), {"request_txn": {"failure": [_put("d")]}}],
        [_put("d"), {"request_txn": {"success": [_put("d")]}}],
        [_put(f"d{number}") for number in range(129)],
        [_put("new", ignore_value=True)],
        [_put("a", "2", ignore_value=True)],
        [_put("new", lease=999)],
        [_get("a", revision=9999)],
        [_get("a", revision=3), _get("a", range_end=Z, revision=4, limit=1)],
        [_get("a"), _put("a", "4", prev_kv=True), _get("a")],
        [_put("a", ignore_value=True), _put("e", "1"), _get("a", range_end=Z)],
        [_delete("x"), _put("f", "2"), _delete("e"), _delete("e"), _get("e")],
        [_put("g", "3"), _put("h", "4"), _delete("f", prev_kv=True)],
        [_get("a", range_end=Z, limit=1), _get("a", range_end=Z, count_only=True)],
        [_get("a", range_end=Z, limit=1, sort_order="DESCEND", keys_only=True)],
        [_get("a", range_end=Z, min_mod_revision=12, limit=1)],
        [{"requestRange": {"key": A}, "requestPut": {"key": A, "value": b64("5")}}],
        [_delete("g", **both), _get("a", range_end=Z)],
        [_delete("nope"), _get("a")],
    ):
        yield "/v3/kv/txn", {"success": success}
    absent = {"key": A, "target": "CREATE", "create_revision": "0"}
    inner = {"compare": [absent], "success": [_put("a", "x")]}
    yield "/v3/kv/txn", {"success": [{"request_txn": inner}]}
    inner = {"compare": [absent], "failure": [_get("a"), _put("a", "x"), _get("a")]}
    yield "/v3/kv/txn", {"success": [_get("a"), {"request_txn": inner}, _get("a")]}
    pairs = [_put(f"k{number:03}", "v", prev_kv=True) for number in range(128)]
    yield "/v3/kv/txn", {"success": pairs}
    yield "/v3/kv/txn", {"success": pairs}
    yield "/v3/kv/txn", {"failure": [_get("a", count_only=True)]}


def _leases() -> Requests:
    for body in (
        {"TTL": 1, "ID": "77"},
        {"TTL": 1, "ID": "77"},
        {"TTL": 99999999999, "ID": 78},
        {"TTL": 9000000001, "ID": 78},
        {"TTL": 9000000000, "ID": 78},
        {"TTL": 0, "ID": 79},
        {"TTL": -4, "ID": 80},
        {"TTL": 600, "ID": -7},
        {"TTL": "700", "ID": 81},
    ):
        yield "/v3/lease/grant", body
    for lease in ("81", -7):
        yield "/v3/kv/put", {"key": b64(f"l{lease}"), "lease": lease, "value": A}
        yield "/v3/kv/range", {"key": b64(f"l{lease}")}
        yield "/v3/kv/put", {"key": b64(f"l{lease}"), "ignore_lease": True}
        yield "/v3/kv/range", {"key": b64(f"l{lease}")}
        yield "/v3/lease/timetolive", {"ID": lease, "keys": True}
        yield "/v3/kv/lease/timetolive", {"ID": lease}
        yield "/v3/lease/keepalive", {"ID": lease}
        compare = {"key": b64(f"l{lease}"), "target": "LEASE", "lease": lease}
        yield "/v3/kv/txn", {"compare": [compare]}
    for body in ("", "{}", '{"ID":0}', '{"ID":81}{"ID":"5"}\n{"ID":-7}'):
        yield "/v3/lease/keepalive", body
    for lease in (0, 424242):
        yield "/v3/lease/timetolive", {"ID": lease}
        yield "/v3/lease/revoke", {"ID": lease}
        yield "/v3/lease/keepalive", {"ID": lease}
    yield "/v3/kv/lease/revoke", {"ID": 78}
    yield "/v3/lease/revoke", {"ID": 78}
    yield "/v3/kv/lease/grant", {"ID": 90}


def _the_rest() -> Requests:
    yield "/v3/kv/compaction", {"revision": "9999"}
    yield "/v3/kv/compaction", {"revision": -3}
    yield "/v3/kv/compaction", {"revision": "4", "physical": True}
    yield "/v3/kv/compaction", {"revision": "4"}
    yield "/v3/kv/range", {"key": A, "revision": 3}
    yield "/v3/kv/range", {"key": A, "revision": 4}
    yield "/v3/kv/txn", {"success": [_get("a", revision=3)]}
    yield "/v3/maintenance/alarm", {"action": "GET"}
    yield "/v3/maintenance/alarm", {}
    yield "/v3/maintenance/defragment", {}
    yield "/v3/maintenance/hashkv", {}
    yield "/v3/auth/status", {}
    yield "/v3/auth/disable", {}
    yield "/v3/auth/authenticate", {"name": "root", "password": "x"}


def _locks() -> Requests:
    name, other = b64("lock"), b64("election")
    yield "/v3/lease/grant", {"ID": 171, "TTL": 600}
    yield "/v3/lease/grant", {"ID": -9, "TTL": 600}
    for body in (
        {"name": name, "lease": 171},
        {"name": name, "lease": "171"},
        {"name": b64("below"), "lease": -9},
        {"name": name, "lease": 999},
        {"name": "!!", "lease": 171},
        {"name": 5, "lease": 171},
        {"lease": 171},
    ):
        yield "/v3/lock/lock", body
    yield "/v3/kv/range", {"key": b64("lock/"), "range_end": b64("lock0")}
    for key in ("lock/ab", "lock/ab", "below/-9", "/ab"):
        yield "/v3/lock/unlock", {"key": b64(key)}
    for path in ("lock/unlock", "lock/trylock"):
        yield f"/v3/{path}", {}
    yield "/v3beta/lock/lock", {"name": name, "lease": 171}
    yield from _elections(other)
    yield "/v3/lease/revoke", {"ID": 171}
    yield "/v3/kv/range", {"key": b64("lock/"), "range_end": b64("lock0")}


def _elections(name: str) -> Requests:
    base = "/v3/election/"
    yield base + "leader", {"name": name}
    for value in ("one", "one", "another"):
        body = {"name": name, "lease": 171, "value": b64(value)}
        yield base + "campaign", body
        yield base + "leader", {"name": name}
    yield base + "campaign", {"name": name, "lease": 999, "value": A}
    # The revision is what the requests before this have come to.
    key = {"name": name, "key": b64("election/ab"), "rev": "30", "lease": "171"}
    for leader in (
        key,
        {**key, "rev": "1"},
        {**key, "rev": -1},
        {**key, "key": b64("election/none")},
        {**key, "lease": "999"},
        {},
        None,
        5,
    ):
        yield base + "proclaim", {"leader": leader, "value": b64("more")}
    yield base + "proclaim", {"value": A}
    yield base + "leader", {"name": name}
    yield base + "leader", "{bad"
    for leader in ({**key, "rev": "1"}, {}, None, key, key):
        yield base + "resign", {"leader": leader}
    yield base + "resign", {}
    yield base + "leader", {"name": name}


def recorded() -> list[Said]:
    """What etcd said, in order."""
    return [Said(*json.loads(line)) for line in FILE.read_text().splitlines()]


def main(port: int) -> None:
    said = [call(port, path, body) for path, body in requests()]
    FILE.write_text("".join(json.dumps(each) + "\n" for each in said))


if __name__ == "__main__":
    main(int(sys.argv[1]))
