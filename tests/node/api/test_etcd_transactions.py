"""Transactions of etcd's that are large: what they may cost before they are refused."""

import base64
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from quorate.node.api.etcd import ranges, transactions, txn_documents
from quorate.node.api.etcd.txn_documents import parse_txn
from quorate.wire.frames import RequestKind
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.transactions import PARTS_MAX

from .support import open_port
from .test_etcd_bodies import refusal
from .test_etcd_gateway import post, store

TOO_MANY = (3, "etcdserver: too many operations in txn request")
TOO_LARGE = "etcdserver: request is too large"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def put(number: int) -> dict[str, Any]:
    return {"request_put": {"key": b64(f"{number:06}")}}


def get(number: int, revision: int) -> dict[str, Any]:
    return {"request_range": {"key": b64(f"{number:06}"), "revision": revision}}


def spread(operations: list[dict[str, Any]], width: int) -> dict[str, Any]:
    """As many transactions side by side as are needed, each with so many of them."""
    groups = [operations[at : at + width] for at in range(0, len(operations), width)]
    return {"success": [{"request_txn": {"success": each}} for each in groups]}


def document(puts: int) -> bytes:
    return json.dumps(spread([put(number) for number in range(puts)], 100)).encode()


def test_parts_are_counted_at_all_depths_together() -> None:
    # The eleven transactions inside are parts as well.
    assert len(parse_txn(document(PARTS_MAX - 11)).success) == 11
    assert refusal(lambda: parse_txn(document(PARTS_MAX - 10))) == TOO_MANY
    assert refusal(lambda: parse_txn(document(5000))) == TOO_MANY


def test_keys_are_compared_when_parts_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    deletes = txn_documents._deletes

    def counting(wanted: Any, keys: set[bytes]) -> bool:
        nonlocal compared
        compared += len(keys)
        return deletes(wanted, keys)

    monkeypatch.setattr(txn_documents, "_deletes", counting)

    def mixed(count: int) -> bytes:
        """So many puts, and as many ranges that hold none of them."""
        ranges = [
            {
                "request_delete_range": {
                    "key": b64(f"a{n:06}"),
                    "range_end": b64(f"a{n:06}b"),
                }
            }
            for n in range(count)
        ]
        return json.dumps(spread([*map(put, range(count)), *ranges], 60)).encode()

    parse_txn(mixed(500))
    assert 0 < compared <= PARTS_MAX**2
    compared = 0
    assert refusal(lambda: parse_txn(mixed(1700))) == TOO_MANY
    assert compared == 0


@pytest.mark.parametrize("name", ["compare", "success", "failure"])
def test_parts_are_counted_before_they_take_memory(name: str) -> None:
    many = "[" + "1," * 200_000 + "1]"
    for text in (
        f'{{"{name}": {many}}}',
        f'{{"success": [{{"request_txn": {{"{name}": {many}}}}}]}}',
        # Of two the last counts, and the other one costs nothing either.
        f'{{"{name}": {many}, "{name}": {many}}}',
    ):
        data = text.encode()
        tracemalloc.start()
        try:
            assert refusal(lambda data=data: parse_txn(data)) == TOO_MANY
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # As a list it takes thirty times its bytes; what is inside is copied, as bytes.
        assert most < 6 * len(data)


# -- old revisions ---------------------------------------------------------------------


async def test_nothing_old_is_read_for_what_has_too_many_parts() -> None:
    async with open_port() as port:
        store(port, 3)
        body = spread([get(number, 2) for number in range(2000)], 100)
        reply = await post(port, "kv/txn", body)
        assert (reply.json()["code"], reply.json()["message"]) == TOO_MANY
        assert port.service.asked == []


async def test_what_was_at_an_old_revision_is_read_once() -> None:
    async with open_port() as port:
        store(port, 3)
        port.service.past[2] = dict(port.service.records)
        body = {"success": [get(1, 2)] * 100, "failure": [get(1, 2)] * 100}
        reply = await post(port, "kv/txn", body)
        assert reply.status == 200
        kinds = [asked.kind for asked in port.service.asked]
    assert kinds == [RequestKind.GET, RequestKind.WRITE]


async def test_what_is_read_at_old_revisions_has_a_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "READ_BYTES_MAX", 1500)
    async with open_port() as port:
        store(port, 10, 1000)
        port.service.past[2] = dict(port.service.records)
        body = {"success": [get(number, 2) for number in range(10)]}
        reply = await post(port, "kv/txn", body)
        assert (reply.status, reply.json()["message"]) == (400, TOO_LARGE)
        assert len(port.service.asked) == 2


async def test_what_is_read_at_old_revisions_has_the_time_of_one_call() -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, timeout_ms_default=1)
    async with open_port(limits=limits) as port:
        port.service.holding = True
        body = {"success": [get(1, 2), get(2, 2)]}
        reply = await post(port, "kv/txn", body)
        assert (reply.status, reply.json()["code"]) == (503, 14)
        assert reply.json()["message"] == "etcdserver: request timed out"
        assert reply.headers["quorate-outcome"] == "not_applied"
        assert len(port.service.asked) == 1


SHOWN: list[dict[str, Any]] = [
    {"limit": 3},
    {"limit": 30},
    {"limit": 3, "keys_only": True},
    {"limit": 3, "count_only": True},
    {"count_only": True},
    {"limit": 3, "sort_order": "DESCEND"},
    {"limit": 3, "sort_target": "MOD", "sort_order": "ASCEND"},
    {"limit": 3, "min_mod_revision": 5},
    {"limit": 30, "max_mod_revision": 5},
    {"limit": 3, "max_mod_revision": 5},
    {"limit": 4, "max_mod_revision": 5},
    {"limit": 3, "max_mod_revision": 4, "sort_order": "DESCEND"},
]


@pytest.mark.parametrize("changes", SHOWN)
async def test_an_old_range_in_a_transaction_is_the_same_as_alone(
    changes: dict[str, Any],
) -> None:
    async with open_port() as port:
        store(port, 20, 10)
        port.service.past[21] = dict(port.service.records)
        wanted = {"key": "AA==", "range_end": "AA==", "revision": 21, **changes}
        alone = (await post(port, "kv/range", wanted)).json()
        body = {"success": [{"request_range": wanted}]}
        responses: Any = (await post(port, "kv/txn", body)).json()["responses"]
        inside = responses[0]["response_range"]
    del alone["header"], inside["header"]
    assert inside == alone


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 3},
        {"limit": 3, "min_mod_revision": 1},
        {"count_only": True},
        {"max_mod_revision": 3},
    ],
)
async def test_of_an_old_range_only_what_is_shown_has_a_size(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "READ_BYTES_MAX", 4000)
    async with open_port() as port:
        store(port, 3000, 1000)
        port.service.past[2] = dict(port.service.records)
        wanted = {"key": "AA==", "range_end": "AA==", "revision": 2, **changes}
        reply = await post(port, "kv/txn", {"success": [{"request_range": wanted}]})
        assert reply.status == 200
        found: Any = reply.json()["responses"]
        assert found[0]["response_range"]["count"] == "3000"


@pytest.mark.parametrize("changes", [{}, {"limit": 5}, {"sort_order": "DESCEND"}])
async def test_an_old_range_that_shows_too_much_is_too_large(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "READ_BYTES_MAX", 4000)
    async with open_port() as port:
        store(port, 20, 1000)
        port.service.past[2] = dict(port.service.records)
        wanted = {"key": "AA==", "range_end": "AA==", "revision": 2, **changes}
        reply = await post(port, "kv/txn", {"success": [{"request_range": wanted}]})
        assert (reply.status, reply.json()["message"]) == (400, TOO_LARGE)


async def test_what_is_counted_at_an_old_revision_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranges, "COUNTED_KEYS_MAX", 1000)
    async with open_port() as port:
        store(port, 3000)
        port.service.past[2] = dict(port.service.records)
        for changes in ({"limit": 3}, {"max_mod_revision": 3}, {"count_only": True}):
            wanted = {"key": "AA==", "range_end": "AA==", "revision": 2, **changes}
            body = {"success": [{"request_range": wanted}]}
            reply = await post(port, "kv/txn", body)
            assert (reply.status, reply.json()["code"]) == (429, 8)
