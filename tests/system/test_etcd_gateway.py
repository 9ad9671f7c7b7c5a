"""The etcd gateway of a real node, beside the recording of a real etcd.

What is the same as in etcd is in the recording; here is what can't be, and what etcd's
answers are not small enough for.
"""

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from .etcd_recording import Said, b64, call, recorded, requests
from .harness import Cluster, Running, running_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, nothing_is_left_behind: None
) -> Iterator[Running]:
    """A cluster of one, empty when the first test of this file begins."""
    with running_cluster(tmp_path_factory.mktemp("etcd") / "c", count=1) as cluster:
        yield cluster.nodes[0]


def ask(node: Running, path: str, body: dict[str, Any] | str) -> Said:
    text = body if isinstance(body, str) else json.dumps(body)
    return call(node.node.client.port, f"/v3/{path}", text)


def reply(node: Running, path: str, body: dict[str, Any]) -> Any:
    said = ask(node, path, body)
    assert said.status == 200, said
    return said.reply


def without_time(said: Said) -> Said:
    """What is left of a lease changes while one looks."""
    if not isinstance(said.reply, dict):
        return said
    document = cast("dict[str, Any]", said.reply)
    if "grantedTTL" not in document:
        return said
    left, granted = int(document["TTL"]), int(document["grantedTTL"])
    assert granted - 60 < left <= granted
    return Said(said.status, {**document, "TTL": "?"})


def test_every_recorded_request_is_answered_as_etcd_answers_it(node: Running) -> None:
    for (path, body), expected in zip(requests(), recorded(), strict=True):
        said = call(node.node.client.port, path, body)
        assert without_time(said) == without_time(expected), (path, body)


def test_a_grant_without_an_id_gets_a_positive_one(node: Running) -> None:
    ids = {int(reply(node, "lease/grant", {"TTL": 60})["ID"]) for _ in range(10)}
    assert len(ids) == 10
    assert all(0 < each < 2**63 for each in ids)
    found = reply(node, "lease/leases", {})["leases"]
    assert ids <= {int(each["ID"]) for each in found}
    for each in ids:
        reply(node, "lease/revoke", {"ID": str(each)})


def test_a_revocation_tells_the_revision_at_which_its_keys_went(node: Running) -> None:
    reply(node, "lease/grant", {"TTL": 600, "ID": 500})
    put = reply(node, "kv/put", {"key": b64("hung"), "lease": 500})
    gone = reply(node, "lease/revoke", {"ID": 500})
    before, after = (int(each["header"]["revision"]) for each in (put, gone))
    assert after == before + 1


def test_a_lease_that_ends_takes_its_keys_along(node: Running) -> None:
    reply(node, "lease/grant", {"TTL": 600, "ID": 501})
    reply(node, "kv/put", {"key": b64("hung2"), "lease": 501})
    reply(node, "lease/revoke", {"ID": 501})
    assert "kvs" not in reply(node, "kv/range", {"key": b64("hung2")})
    assert reply(node, "lease/timetolive", {"ID": 501})["TTL"] == "-1"


def test_the_header_names_cluster_member_and_term(node: Running) -> None:
    status = node.status()
    header = json.loads(node.request("POST", "/v3/kv/txn", b"{}").body)["header"]
    assert header["cluster_id"] == str(int(status.cluster_id, 16))
    assert header["member_id"] == str(int(status.id, 16))
    assert header["raft_term"] == str(status.term)


def test_health_and_the_member_list_name_this_node(node: Running) -> None:
    health = node.request("GET", "/health?serializable=true")
    assert (health.status, health.body) == (200, b'{"health":"true","reason":""}')
    assert node.request("GET", "/health").body == health.body
    (member,) = reply(node, "cluster/member/list", {})["members"]
    assert member["name"] == "n1"
    assert member["clientURLs"] == [f"http://{node.node.client}"]
    status = reply(node, "maintenance/status", {})
    assert status["leader"] == member["ID"]
    assert reply(node, "maintenance/hash", {})["hash"] > 0


# -- many and large ----------------------------------------------------------------


@pytest.fixture(scope="module")
def many(node: Running) -> dict[str, str]:
    """2,500 keys of 4 KiB below `many/`: three pages of keys, ten of values."""
    for first in range(0, 2500, 100):
        puts = [
            {"request_put": {"key": b64(f"many/{n:05}"), "value": b64(f"{n:04096}")}}
            for n in range(first, first + 100)
        ]
        reply(node, "kv/txn", {"success": puts})
    return {"key": b64("many/"), "range_end": b64("many0")}


def keys_of(answer: Any) -> list[int]:
    return [int(base64.b64decode(kv["key"])[5:]) for kv in answer["kvs"]]


def test_a_range_of_many_pages_is_one_answer(
    node: Running, many: dict[str, str]
) -> None:
    answer = reply(node, "kv/range", dict(many))
    assert keys_of(answer) == list(range(2500))
    assert answer["count"] == "2500"
    assert "more" not in answer
    for number, kv in enumerate(answer["kvs"]):
        assert int(base64.b64decode(kv["value"])) == number


@pytest.mark.parametrize("limit", [1, 999, 1000, 1001, 2499, 2500, 2501])
def test_the_count_is_right_with_every_limit(
    node: Running, many: dict[str, str], limit: int
) -> None:
    answer = reply(node, "kv/range", {**many, "limit": limit, "keys_only": True})
    assert keys_of(answer) == list(range(min(limit, 2500)))
    assert answer["count"] == "2500"
    assert answer.get("more", False) is (limit < 2500)


def test_a_large_answer_with_a_limit_knows_the_count_before_it_begins(
    node: Running, many: dict[str, str]
) -> None:
    answer = reply(node, "kv/range", {**many, "limit": 2000, "serializable": True})
    assert keys_of(answer) == list(range(2000))
    assert (answer["count"], answer["more"]) == ("2500", True)


def test_filters_and_sorting_see_all_pages(node: Running, many: dict[str, str]) -> None:
    answer = reply(node, "kv/range", {**many, "keys_only": True, "limit": 1200})
    middle = answer["kvs"][1150]["mod_revision"]
    newer = {**many, "min_mod_revision": middle, "keys_only": True}
    answer = reply(node, "kv/range", {**newer, "limit": 50})
    assert keys_of(answer) == list(range(1100, 1150))
    assert (answer["count"], answer["more"]) == ("2500", True)
    answer = reply(node, "kv/range", {**newer, "limit": 1400})
    assert keys_of(answer) == list(range(1100, 2500))
    assert "more" not in answer
    answer = reply(node, "kv/range", {**many, "sort_order": "DESCEND", "limit": 600})
    assert keys_of(answer) == list(range(2499, 1899, -1))
    assert (answer["count"], answer["more"]) == ("2500", True)


def test_only_a_count_is_counted(node: Running, many: dict[str, str]) -> None:
    answer = reply(node, "kv/range", {**many, "count_only": True})
    assert answer.keys() == {"header", "count"}
    assert answer["count"] == "2500"


def test_all_pages_are_of_one_revision_while_others_write(
    node: Running, many: dict[str, str]
) -> None:
    """The two keys are written together, far apart: no answer has only one of them."""
    stop = threading.Event()
    first, last = b64("many/00000"), b64("many/02499")

    def write_both(number: int) -> None:
        value = b64(f"{number:04096}")
        puts = [{"request_put": {"key": key, "value": value}} for key in (first, last)]
        reply(node, "kv/txn", {"success": puts})

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write_both(number)

    write_both(0)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            kvs = reply(node, "kv/range", dict(many))["kvs"]
            assert len(kvs) == 2500
            assert kvs[0]["value"] == kvs[-1]["value"]
    finally:
        stop.set()
        writer.join()
    for number, key in ((0, first), (2499, last)):
        reply(node, "kv/put", {"key": key, "value": b64(f"{number:04096}")})


def test_a_value_of_the_largest_size_comes_back(node: Running) -> None:
    value = b64(bytes(4 << 20))
    reply(node, "kv/put", {"key": b64("large"), "value": value})
    assert reply(node, "kv/range", {"key": b64("large")})["kvs"][0]["value"] == value
    said = ask(node, "kv/put", {"key": b64("large"), "value": b64(bytes(4194305))})
    assert (said.status, said.reply["message"]) == (
        400,
        "etcdserver: request is too large",
    )
    kept = reply(node, "kv/put", {"key": b64("large"), "ignore_value": True})
    assert "prev_kv" not in kept
    assert reply(node, "kv/range", {"key": b64("large")})["kvs"][0]["version"] == "2"


def test_one_command_touches_ten_thousand_keys_at_most(node: Running) -> None:
    for first in range(0, 10_050, 120):
        last = min(first + 120, 10_050)
        puts = [{"request_put": {"key": b64(f"heap/{n}")}} for n in range(first, last)]
        reply(node, "kv/txn", {"success": puts})
    heap = {"key": b64("heap/"), "range_end": b64("heap0")}
    said = ask(node, "kv/deleterange", heap)
    assert (said.status, said.reply["code"]) == (429, 8)
    assert reply(node, "kv/range", {**heap, "count_only": True})["count"] == "10050"
    # Fewer at a time is how it is done.
    part = {"key": b64("heap/5"), "range_end": b64("heap/6")}
    deleted = int(reply(node, "kv/deleterange", part)["deleted"])
    left = int(reply(node, "kv/deleterange", heap)["deleted"])
    assert deleted + left == 10_050


# -- what a put that ignores something must not lose -------------------------------


def test_an_ignoring_put_never_brings_an_old_value_back(node: Running) -> None:
    """Each writer moves the key to a lease of its own while another counts in it."""
    counted = b64("counted")
    reply(node, "lease/grant", {"TTL": 600, "ID": 700})
    reply(node, "kv/put", {"key": counted, "value": b64("0")})
    refused = 0

    def hang() -> None:
        nonlocal refused
        for number in range(30):
            lease = 700 if number % 2 else 0
            body = {"key": counted, "ignore_value": True, "lease": lease}
            said = ask(node, "kv/put", body)
            assert said.status == 200 or said.reply["code"] == 8, said
            refused += said.status != 200

    others = [threading.Thread(target=hang) for _ in range(2)]
    for each in others:
        each.start()
    for number in range(1, 61):
        put = {"key": counted, "value": b64(str(number)), "prev_kv": True}
        previous = reply(node, "kv/put", put)["prev_kv"]
        assert base64.b64decode(previous["value"]) == b"%d" % (number - 1)
    for each in others:
        each.join()
    assert refused < 60


def test_a_transaction_with_an_ignoring_put_is_all_or_nothing(node: Running) -> None:
    absent = {"key": b64("never"), "ignore_value": True}
    puts = [{"request_put": {"key": b64("beside")}}, {"request_put": absent}]
    said = ask(node, "kv/txn", {"success": puts})
    assert (said.status, said.reply["message"]) == (400, "etcdserver: key not found")
    assert "kvs" not in reply(node, "kv/range", {"key": b64("beside")})
    # In the branch that is not taken it does no harm, as in etcd.
    taken = reply(node, "kv/txn", {"success": puts[:1], "failure": puts})
    assert taken["succeeded"]


# -- three nodes -------------------------------------------------------------------


def test_every_node_takes_everything(healthy: Cluster) -> None:
    members = {
        each["name"]: each
        for each in reply(healthy.nodes[0], "cluster/member/list", {})["members"]
    }
    urls = {f"http://{each.node.client}" for each in healthy.nodes}
    assert {url for each in members.values() for url in each["clientURLs"]} == urls
    for number, each in enumerate(healthy.nodes):
        key = b64(f"etcd/{number}")
        lease = reply(each, "lease/grant", {"TTL": 60})["ID"]
        reply(each, "kv/put", {"key": key, "value": key, "lease": lease})
        (alive,) = reply(each, "lease/keepalive", {"ID": lease})
        assert alive["result"]["TTL"] == "60"
        other = healthy.nodes[number - 1]
        (kv,) = reply(other, "kv/range", {"key": key})["kvs"]
        assert (kv["value"], kv["lease"]) == (key, lease)
        reply(other, "lease/revoke", {"ID": lease})
        assert "kvs" not in reply(each, "kv/range", {"key": key})
