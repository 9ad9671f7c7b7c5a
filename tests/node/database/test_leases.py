"""Leases in the state: which keys hang on them, and how they end, the same everywhere.

When they end is for the leader to say: tests/node/replica.
"""

import time
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from quorate.node.database import Applied, Database, layout
from quorate.raft import Entry
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    KEYS_MAX,
    ErrorCode,
    Record,
    Transaction,
    TxnDelete,
    TxnPut,
    decode_txn_reply,
)

from ...wire.branches import transactions
from ...wire.transaction_model import Model, ModelRefused
from .support import (
    BEGIN,
    apply_all,
    copy_of,
    delete,
    digests_of,
    expiry,
    grant,
    new_database,
    put,
    range_of,
    records_of,
    reopened,
    revoke,
    transact,
)

MAX = 2**64 - 1
KEYS = st.sampled_from([b"a", b"b", b"ba", b"c", b"d"])
VALUES = st.sampled_from([b"", b"x", b"y" * 50])
LEASES = st.sampled_from([1, 7, 255, 256, MAX])
HANGING = st.one_of(st.just(0), LEASES)
TRANSACTIONS = transactions(
    KEYS, VALUES, st.integers(0, 12), HANGING, limits=st.integers(0, 3), depth=2
)


class LeasesMachine(RuleBasedStateMachine):
    """The database beside the model, and beside what it was at old revisions."""

    def __init__(self) -> None:
        super().__init__()
        self.env = MemoryEnv()
        self.database = new_database(env=self.env)
        self.model = Model()
        self.since: dict[int, int] = {}
        self.old: dict[int, dict[bytes, Record]] = {}
        self.entries: list[Entry] = []
        self.batch: list[tuple[Entry, Applied]] = []

    # -- entries -----------------------------------------------------------------------

    @property
    def index(self) -> int:
        """That of the next entry."""
        return len(self.entries) + 1

    def will(self, entry: Entry, wanted: Applied) -> None:
        self.entries.append(entry)
        self.batch.append((entry, wanted))
        self.old[self.model.revision] = dict(self.model.table)

    def written(self, transaction: Transaction) -> Applied:
        try:
            reply = self.model.do(transaction)
        except ModelRefused as refused:
            return Applied(refused.code, self.model.revision, 0)
        return Applied(0, reply.revision, int(reply.results[0].found))

    @rule(key=KEYS, value=VALUES, lease=HANGING)
    def put(self, key: bytes, value: bytes, lease: int) -> None:
        wanted = self.written(Transaction((), (TxnPut(key, value, lease),), ()))
        if not wanted.code:
            wanted = Applied(0, wanted.revision, 1)
        self.will(put(self.index, key, value, None, lease), wanted)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        wanted = self.written(Transaction((), (TxnDelete(key),), ()))
        self.will(delete(self.index, key), wanted)

    @rule(transaction=TRANSACTIONS)
    def transact(self, transaction: Transaction) -> None:
        self.apply()
        revision = self.model.revision
        entry = transact(self.index, transaction)
        (result,) = self.database.apply([entry])
        try:
            wanted = self.model.do(transaction)
        except ModelRefused as refused:
            code = refused.code
        else:
            code, revision = 0, wanted.revision
            assert decode_txn_reply(result.reply) == wanted
        assert (result.code, result.revision) == (code, revision)
        self.entries.append(entry)
        self.old[self.model.revision] = dict(self.model.table)

    @rule(lease=LEASES)
    def grant(self, lease: int) -> None:
        entry, code = grant(self.index, lease, 1000 + lease % 7), 0
        if lease in self.model.leases:
            code = ErrorCode.LEASE_EXISTS
        else:
            self.model.leases.add(lease)
            self.since[lease] = self.index
        self.will(entry, Applied(code, self.model.revision, 0))

    def ended(self, lease: int) -> int:
        keys = self.model.keys_of(lease)
        self.model.leases.remove(lease)
        self.model.revision += bool(keys)
        for key in keys:
            del self.model.table[key]
        return len(keys)

    @rule(lease=LEASES)
    def revoke(self, lease: int) -> None:
        entry, code, count = revoke(self.index, lease), 0, 0
        if lease in self.model.leases:
            count = self.ended(lease)
        else:
            code = ErrorCode.LEASE_NOT_FOUND
        self.will(entry, Applied(code, self.model.revision, count))

    @rule(leases=st.lists(LEASES, min_size=1, max_size=3), late=st.booleans())
    def expire(self, leases: list[int], late: bool) -> None:
        """Also leases that are gone, one twice, or an earlier one of the id."""
        ends = [(n, self.since.get(n, 0) - late) for n in leases]
        entry, count = expiry(self.index, *ends), 0
        for lease, since in ends:
            if lease in self.model.leases and since == self.since[lease]:
                count += self.ended(lease)
                # Each lease ends at a revision of its own.
                self.old[self.model.revision] = dict(self.model.table)
        self.will(entry, Applied(0, self.model.revision, count))

    @rule()
    def apply(self) -> None:
        entries = [entry for entry, _ in self.batch]
        assert self.database.apply(entries) == [wanted for _, wanted in self.batch]
        self.batch.clear()

    # -- the same state by other ways --------------------------------------------------

    @rule()
    def flush(self) -> None:
        self.apply()
        self.database.store.flush()

    @rule()
    def go_on_with_what_was_sent(self) -> None:
        self.apply()
        before = self.database.meta()
        self.env = MemoryEnv()
        self.database = copy_of(self.database, self.env)
        assert self.database.meta() == before

    @rule()
    def go_on_after_a_crash(self) -> None:
        """What was not flushed is applied again; the rest is applied twice (I-32)."""
        self.apply()
        before = self.database.meta()
        self.database = reopened(self.database, self.env)
        self.database.apply(self.entries)
        assert self.database.meta() == before

    # -- what holds --------------------------------------------------------------------

    @invariant()
    def what_was_applied_is_what_the_model_says(self) -> None:
        if self.batch:
            return
        database, model = self.database, self.model
        assert database.revision == model.revision
        assert database.applied_index == BEGIN + len(self.entries)
        assert database.keys == len(model.table)
        found, _ = range_of(database, b"", None, records_max=99, bytes_max=99_999)
        assert found == model.within(b"", b"")
        table = database.lease_table
        assert set(table.leases) == model.leases
        for lease in model.leases:
            assert table.keys_of(lease) == model.keys_of(lease)
            assert table.leases[lease].keys == len(model.keys_of(lease))
            assert table.leases[lease].since == BEGIN + self.since[lease]
        # Nothing hangs anywhere else.
        hanging = list(database.store.scan(layout.LEASED, b"u"))
        assert len(hanging) == sum(r.lease != 0 for r in model.table.values())
        assert database.digest_sum == digests_of(database)

    @invariant()
    def old_revisions_are_there_with_their_leases(self) -> None:
        if self.batch:
            return
        for revision, wanted in list(self.old.items())[-5:]:
            found, _ = range_of(
                self.database,
                b"",
                None,
                records_max=99,
                bytes_max=99_999,
                revision=revision,
            )
            assert found == [wanted[key] for key in sorted(wanted)]


LeasesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLeases = pytest.mark.slow(LeasesMachine.TestCase)


def applied(*entries: Entry) -> tuple[Database, list[Applied]]:
    database = new_database()
    return database, apply_all(database, entries)


@pytest.mark.parametrize("lease", [1, 255, 256, 2**63, MAX - 1, MAX])
def test_a_lease_of_any_number_ends_with_its_keys_and_no_others(lease: int) -> None:
    """Story: the largest number had no end of its keys; revoking it stopped apply, on
    every replica and for ever.
    """
    others = [n for n in (lease - 1, lease + 1) if 0 < n <= MAX]
    entries = [grant(n, number) for n, number in enumerate((lease, *others), 1)]
    for number in (lease, *others):
        entries.append(put(len(entries) + 1, b"key %d" % number, b"", lease=number))
    database, _ = applied(*entries)
    end = len(entries) + 1
    assert database.apply([revoke(end, lease)]) == [Applied(0, len(others) + 3, 1)]
    assert [key for key, _ in records_of(database)] == sorted(
        b"key %d" % number for number in others
    )
    again = [grant(end + 1, lease), put(end + 2, b"again", b"", lease=lease)]
    database.apply(again)
    (result,) = database.apply([expiry(end + 3, (lease, end + 1))])
    assert result.count == 1
    assert set(database.lease_table.leases) == set(others)


def test_the_end_of_a_lease_is_not_that_of_a_later_one_of_its_id() -> None:
    """I-63. Story: the end of a lease was in the log behind its own revocation and the
    next grant of the same id, and ended that one as soon as it had begun.
    """
    database, results = applied(
        grant(1, 7),
        revoke(2, 7),
        grant(3, 7),
        put(4, b"a", b"", lease=7),
        expiry(5, (7, 1)),
        expiry(6, (7, 3)),
    )
    assert [result.count for result in results] == [0, 0, 0, 1, 0, 1]
    assert database.get(b"a") is None


def test_an_end_of_leases_that_are_not_there_does_nothing() -> None:
    database, _ = applied(grant(1, 7), put(2, b"a", b"", lease=7))
    state = database.revision, database.keys, database.digest_sum
    assert database.apply([expiry(3, (8, 1), (9, 0), (7, 2))]) == [Applied(0, 2, 0)]
    assert (database.revision, database.keys, database.digest_sum) == state


def test_all_keys_of_a_lease_go_at_one_revision() -> None:
    database, _ = applied(
        *(grant(1, 7), grant(2, 8)),
        *(put(3, b"a", b"1", lease=7), put(4, b"b", b"2", lease=7)),
        *(put(5, b"c", b"3", lease=8), put(6, b"d", b"4")),
    )
    assert database.apply([revoke(7, 7)]) == [Applied(0, 6, 2)]
    assert [key for key, _ in records_of(database)] == [b"c", b"d"]
    changes = database.store.scan(*layout.change_bounds(6, 7))
    assert [change for _, change in changes] == [b"\0a", b"\0b"]
    assert database.get(b"a", 5) == Record(b"a", b"1", 2, 2, 1, 7)
    assert database.get(b"a", 6) is None


def test_a_lease_without_keys_makes_no_revision() -> None:
    _, results = applied(grant(1, 7), revoke(2, 7), grant(3, 7), expiry(4, (7, 3)))
    assert results == [Applied(0, 1, 0)] * 4


def test_a_key_hangs_on_the_lease_of_its_last_put() -> None:
    database, _ = applied(
        *(grant(1, 7), grant(2, 8), put(3, b"a", b"", lease=7)),
        put(4, b"a", b"", lease=8),
    )
    table = database.lease_table
    assert (table.keys_of(7), table.keys_of(8)) == ([], [b"a"])
    assert database.apply([revoke(5, 7)]) == [Applied(0, 3, 0)]
    database.apply([put(6, b"a", b"")])
    assert database.apply([revoke(7, 8)]) == [Applied(0, 4, 0)]
    assert database.get(b"a") == Record(b"a", b"", 2, 4, 3, 0)


def test_a_put_on_a_lease_that_is_not_there_does_nothing() -> None:
    database, results = applied(grant(1, 7), put(2, b"a", b"", lease=8), revoke(3, 9))
    assert results[1:] == [Applied(ErrorCode.LEASE_NOT_FOUND, 1, 0)] * 2
    assert database.get(b"a") is None
    assert database.keys == 0


def test_a_condition_is_judged_before_the_lease() -> None:
    _, results = applied(put(1, b"a", b""), put(2, b"a", b"", 9, 7))
    assert results[1] == Applied(ErrorCode.PRECONDITION_FAILED, 2, 0)


def test_a_lease_is_granted_once() -> None:
    database, results = applied(grant(1, 7, 1000), grant(2, 7, 5000))
    assert results[1] == Applied(ErrorCode.LEASE_EXISTS, 1, 0)
    assert database.lease_table.leases[7].ttl_ms == 1000
    assert database.lease_table.granted == [7]


@pytest.fixture(scope="module")
def full() -> Database:
    """A lease with as many keys as one may have."""
    puts = [put(n, b"key %05d" % n, b"", lease=7) for n in range(2, KEYS_MAX + 2)]
    return applied(grant(1, 7), *puts)[0]


@pytest.mark.slow
def test_a_full_lease_takes_no_other_key(full: Database) -> None:
    """Story: it did not take its own keys again either."""
    database = copy_of(full)
    index = database.applied_index
    results = database.apply(
        [
            put(index, b"another", b"", lease=7),
            put(index + 1, b"key 00002", b"new", lease=7),
            put(index + 2, b"key 00002", b""),
            put(index + 3, b"another", b"", lease=7),
            put(index + 4, b"key 00002", b"", lease=7),
        ]
    )
    assert [result.code for result in results] == [21, 0, 0, 0, 21]
    assert database.lease_table.leases[7].keys == KEYS_MAX


@pytest.mark.slow
def test_a_full_lease_ends_at_once(full: Database) -> None:
    database = copy_of(full)
    index, revision = database.applied_index, database.revision
    assert database.apply([revoke(index, 7)]) == [Applied(0, revision + 1, KEYS_MAX)]
    assert (database.keys, database.digest_sum) == (0, 0)
    assert records_of(database) == []


@pytest.mark.slow
def test_many_leases_end_without_looking_at_each_others_keys() -> None:
    """Story: each end went through all that had been written in the same step, and
    a thousand leases with ten keys each took eight seconds.
    """

    def seconds(leases: int) -> float:
        entries: list[Entry] = []
        for lease in range(1, leases + 1):
            entries.append(grant(len(entries) + 1, lease))
            for key in range(10):
                at = b"%d/%d" % (lease, key)
                entries.append(put(len(entries) + 1, at, b"", lease=lease))
        database, _ = applied(*entries)
        ends = [(n, 11 * n - 10) for n in range(1, leases + 1)]
        began = time.process_time()
        (result,) = database.apply([expiry(len(entries) + 1, *ends)])
        assert result.count == 10 * leases
        return time.process_time() - began

    # Ten times as many take a hundred times as long when they do.
    assert seconds(1000) < 40 * seconds(100)


def test_the_state_hash_knows_of_leases() -> None:
    """Their ids, times and begins; and it forgets them when they have ended."""
    one, _ = applied(grant(1, 7))
    for other in (grant(1, 8), grant(1, 7, 2000)):
        assert applied(other)[0].digest_sum != one.digest_sum
    assert one.digest_sum != 0
    one.apply([revoke(2, 7), grant(3, 7), expiry(4, (7, 3))])
    assert one.digest_sum == 0


def _the_lease(database: Database) -> None:
    database.store.get(layout.lease(7))


@pytest.mark.parametrize("look", [_the_lease, Database.state_hash])
def test_leases_that_cannot_be_read_condemn_the_store(
    look: Callable[[Database], object],
) -> None:
    """The replica heals from its peers, or ends; opening the store does not crash."""
    env = MemoryEnv()
    database = new_database(env=env)
    database.apply([grant(1, 7), put(2, b"a", b"x", lease=7)])
    database.store.flush()
    (path,) = [
        f"/engine/{name}" for name in env.list("/engine") if name.endswith(".sst")
    ][-1:]
    env.flip_bit(path, 30, 3)
    again = reopened(database, env)
    assert isinstance(again.store.damage, CorruptionError)
    assert again.lease_table.leases == {}
    if look is _the_lease:
        with pytest.raises(CorruptionError):
            look(again)
    else:
        look(again)
