"""Transfers between accounts, by transactions, while the leader is killed: I-36.

And transactions in JSON, which any node takes.
"""

import asyncio
import json
import random

import pytest
from quorate import AsyncClient, Txn
from quorate.client import KeyValue, Unavailable, Unknown

from .harness import DEADLINE_S, Cluster, surely

pytestmark = pytest.mark.slow

ACCOUNTS = [b"account-%d" % number for number in range(5)]
START = 100
TELLERS = 4
TRANSFERS = 60


async def balances(kv: AsyncClient) -> list[KeyValue]:
    """All accounts at one revision."""
    read = Txn()
    for account in ACCOUNTS:
        read.get(account)
    seen = await surely(lambda: kv.commit(read))
    found = [entry for entry in seen.results if isinstance(entry, KeyValue)]
    assert len(found) == len(ACCOUNTS)
    return found


async def transfer(kv: AsyncClient, dice: random.Random) -> bool:
    """Move something if nobody else moved anything of the two; did it happen?"""
    source, target = dice.sample(ACCOUNTS, 2)
    seen = await surely(lambda: kv.commit(Txn().get(source).get(target)))
    a, b = seen.results
    assert isinstance(a, KeyValue)
    assert isinstance(b, KeyValue)
    amount = dice.randint(0, int(a.value))
    txn = (
        Txn()
        .if_revision(source, a.mod_revision)
        .if_value(target, b.value)
        .put(source, b"%d" % (int(a.value) - amount))
        .put(target, b"%d" % (int(b.value) + amount))
        .otherwise()
        .get(source)
    )
    try:
        return bool(await kv.commit(txn))
    except (Unavailable, Unknown):
        return False


async def teller(cluster: Cluster, number: int, after: asyncio.Event) -> int:
    dice = random.Random(number)
    done = 0
    async with AsyncClient(cluster.endpoints, timeout=DEADLINE_S, balance=True) as kv:
        for count in range(TRANSFERS):
            done += await transfer(kv, dice)
            found = await balances(kv)
            assert sum(int(entry.value) for entry in found) == START * len(ACCOUNTS)
            if count == TRANSFERS // 3:
                after.set()
    return done


async def test_transfers_conserve_what_there_is_while_the_leader_dies(
    own: Cluster,
) -> None:
    async with AsyncClient(own.endpoints, timeout=DEADLINE_S) as kv:
        opening = Txn().if_absent(ACCOUNTS[0])
        for account in ACCOUNTS:
            opening.put(account, b"%d" % START)
        opened = await kv.commit(opening)
        assert opened
        assert opened.results == (False,) * len(ACCOUNTS)
        again = await kv.commit(opening)
        assert not again
        assert again.results == ()
        assert {entry.mod_revision for entry in await balances(kv)} == {opened.revision}
    after = asyncio.Event()
    tellers = [
        asyncio.ensure_future(teller(own, number, after)) for number in range(TELLERS)
    ]
    await after.wait()
    leader = own.leader()
    await asyncio.to_thread(leader.process.kill)
    await asyncio.to_thread(own.start, [leader])
    done = await asyncio.gather(*tellers)
    assert sum(done) > TRANSFERS
    await asyncio.to_thread(own.wait_until_equal)


async def test_any_node_takes_transactions_in_json(healthy: Cluster) -> None:
    seen = 0
    for each in healthy.nodes:
        # It may be asked again: nothing in it depends on what was there.
        write = {
            "if": [{"key": "json", "mod_revision": seen, "op": ">"}],
            "then": [
                {"put": {"key": "json", "value": each.name}},
                {"get": {"key": "json"}},
            ],
        }
        write["else"] = write["then"]
        body = json.dumps(write).encode()
        answer = await asyncio.to_thread(each.request, "POST", "/v1/txn", body)
        assert answer.status == 200, answer.body
        document = json.loads(answer.body)
        put, got = document["results"]
        assert put["found"] or not seen
        assert got["kv"]["mod_revision"] == document["revision"] > seen
        assert answer.headers["Quorate-Revision"] == str(document["revision"])
        seen = document["revision"]
        async with AsyncClient(healthy.endpoints, timeout=DEADLINE_S) as kv:
            entry = await surely(lambda kv=kv: kv.get("json"))
        assert entry is not None
        assert (entry.text, entry.mod_revision) == (each.name, seen)
    await asyncio.to_thread(healthy.nodes[0].request, "DELETE", "/v1/kv/json")


def test_a_transaction_in_json_that_is_refused_did_not_happen(healthy: Cluster) -> None:
    twice = {"then": [{"delete": {"key": "json"}}] * 2}
    large = {"then": [{"put": {"key": "json", "value": "x" * (5 << 20)}}]}
    for each in healthy.nodes:
        ask = each.request
        assert ask("PUT", "/v1/kv/json", b"mine").status == 200
        for document, status, code in (
            (twice, 400, "invalid_request"),
            ({}, 400, "invalid_request"),
            (large, 413, "value_too_large"),
        ):
            answer = ask("POST", "/v1/txn", json.dumps(document).encode())
            assert answer.status == status
            assert answer.problem == (code, "not_applied")
        assert ask("GET", "/v1/kv/json").body == b"mine"
    healthy.nodes[0].request("DELETE", "/v1/kv/json")
