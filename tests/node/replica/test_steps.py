"""Steps that end before all that is committed was applied, since it replaces much.

What is left is taken from the log again, and everybody who waits gets an answer.
"""

from collections.abc import Sequence

import pytest
from quorate.node.database import Applied, before, transactions
from quorate.raft import COMMAND, AppendEntriesReply, Entry
from quorate.wire import (
    EnvelopeKind,
    ErrorCode,
    Grant,
    KeepAlive,
    Revoke,
    decode_envelope,
    encode_delete,
    encode_put,
)

from .together import TTL_MS, Together

VALUE = b"v" * 1000


@pytest.fixture(autouse=True)
def _bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the bytes of records counts."""
    monkeypatch.setattr(before, "LOOK_BYTES", 0)


KEYS = [b"k%d" % number for number in range(9)]


def filled(lease: int = 0, step_read_bytes: int = 16 << 20) -> Together:
    together = Together(step_read_bytes=step_read_bytes)
    if lease:
        together.done(Grant(lease, TTL_MS))
    for key in KEYS:
        together.done(encode_put(key, VALUE, None, lease))
    return together


def agrees(together: Together) -> None:
    together.run(10)
    hashes = {r.database.state_hash() for r in together.replicas.values()}
    assert len(hashes) == 1
    together.nothing_is_left()


def left(together: Together) -> list[int]:
    """How many of the keys each replica has."""
    return [
        sum(replica.database.get(key) is not None for key in KEYS)
        for replica in together.replicas.values()
    ]


def test_what_did_not_fit_into_a_step_is_applied_in_the_next_and_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = filled(step_read_bytes=2 * len(VALUE))
    leader = together.replicas[together.leader]
    steps: list[int] = []
    apply = leader.database.apply

    def counted(entries: Sequence[Entry], most: int) -> list[Applied]:
        results = apply(entries, most)
        steps.append(len(results))
        return results

    monkeypatch.setattr(leader.database, "apply", counted)
    # They wait while nobody else hears of them, and are committed at once then.
    followers = set(together.replicas) - {together.leader}
    together.cut = followers
    numbers = [together.ask(encode_delete(key, None)) for key in KEYS]
    assert not any(together.answered(number) for number in numbers)
    together.cut = set()
    together.run(3)
    assert [together.code(number) for number in numbers] == [None] * len(KEYS)
    assert max(steps) == 2
    assert steps.count(2) >= len(KEYS) // 2
    assert left(together) == [0, 0, 0]
    agrees(together)


def test_a_read_that_waits_for_the_whole_is_not_served_after_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = filled(step_read_bytes=len(VALUE))
    followers = set(together.replicas) - {together.leader}
    together.cut = followers
    for key in KEYS:
        together.ask(encode_delete(key, None))
    leader = together.replicas[together.leader]
    together.cut = set()
    # Each turn of it applies one; a read index that is behind all of them waits.
    seen: list[tuple[int, int]] = []
    served = leader.reads.applied

    def watched(now_ms: int) -> None:
        before = [index for index, _, _ in leader.reads.confirmed]
        served(now_ms)
        after = [index for index, _, _ in leader.reads.confirmed]
        seen.extend(
            (leader.database.applied_index, index)
            for index in before
            if index not in after
        )

    monkeypatch.setattr(leader.reads, "applied", watched)
    number = together.ask(KeepAlive(1))
    together.run(3)
    assert together.code(number) == ErrorCode.LEASE_NOT_FOUND
    assert seen
    assert all(applied >= index for applied, index in seen)
    assert left(together) == [0, 0, 0]
    agrees(together)


@pytest.mark.parametrize("goes", ["nobody", "leader"])
def test_a_lease_that_ends_in_parts_ends_as_a_whole_whoever_leads(
    monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    monkeypatch.setattr(transactions, "MET_BYTES_MAX", 4500)
    together = filled(lease=7)
    refused = together.ask(Revoke(7))
    assert together.code(refused) == ErrorCode.REQUEST_TOO_LARGE
    assert left(together) == [9, 9, 9]
    together.wait_for(lambda: 0 < min(left(together)) < 9)
    # Nobody can keep what is left of it alive, and hang anything on it.
    assert together.has(7) == [True] * 3
    for command in (KeepAlive(7), encode_put(b"more", b"", None, 7)):
        number = together.ask(command)
        assert together.code(number) == ErrorCode.LEASE_NOT_FOUND
    if goes == "leader":
        was = together.leader
        together.cut = {was}
        together.other_leader(was)
        number = together.ask(KeepAlive(7))
        assert together.code(number) == ErrorCode.LEASE_NOT_FOUND
        together.wait_for(lambda: sum(together.has(7)) == 1)
        together.heal()
    together.wait_for(lambda: not any(together.has(7)))
    assert left(together) == [0, 0, 0]
    agrees(together)


def test_the_rest_of_a_lease_follows_at_once_though_another_leader_began_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: the new leader gave what was left of it the whole of its time again."""
    monkeypatch.setattr(transactions, "MET_BYTES_MAX", 4500)
    together = filled(lease=7)
    was = together.leader
    # Its end gets into all logs, and is not committed before another one leads, and has
    # learnt of the lease.
    together.run_ms(TTL_MS - 100)
    together.loses = lambda message: isinstance(message, AppendEntriesReply)
    together.wait_for(lambda: all(expiring(together, n) for n in together.replicas))
    together.cut = {was}
    together.wait_for(lambda: any(leader != was for leader in together.leaders()))
    together.run(10)
    together.loses = lambda message: False
    together.wait_for(lambda: 0 < min(without(together, was)) < 9)
    began = together.now_ms
    together.wait_for(lambda: max(without(together, was)) == 0)
    assert together.now_ms - began < TTL_MS // 2
    together.heal()
    agrees(together)


def without(together: Together, gone: int) -> list[int]:
    known = zip(together.replicas, left(together), strict=True)
    return [number for member, number in known if member != gone]


def expiring(together: Together, member: int) -> bool:
    """Has this replica's log the end of a lease that it has not applied?"""
    log = together.replicas[member].raft.log
    return any(
        entry.kind == COMMAND
        and entry.index > log.applied_index
        and decode_envelope(entry.data).kind == EnvelopeKind.EXPIRY
        for entry in log.entries
    )
