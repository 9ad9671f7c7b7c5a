"""What one entry, and one step, may read and replace: a bound in bytes.

Story: keys were counted, and bytes were not. Ten thousand deletes of large values, in
one transaction, at the end of one lease or one behind the other, were read by every
replica in one step, which ended it for want of memory, again and again.
"""

from collections.abc import Sequence

import pytest
from quorate.node.database import Applied, Database, before, transactions
from quorate.raft import Entry
from quorate.wire import (
    Compare,
    ErrorCode,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGetRange,
    TxnOperation,
    TxnPut,
)

from .support import (
    copy_of,
    delete,
    digests_of,
    expiry,
    grant,
    new_database,
    put,
    revoke,
    transact,
)

VALUE = b"v" * 1000
MET = 4500
REFUSED = ErrorCode.REQUEST_TOO_LARGE


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four values are met, and five are not; in steps only their bytes count."""
    monkeypatch.setattr(transactions, "MET_BYTES_MAX", MET)
    monkeypatch.setattr(before, "LOOK_BYTES", 0)


def filled(count: int, lease: int = 0) -> Database:
    database = new_database()
    entries = [grant(1, lease)] if lease else []
    first = len(entries) + 1
    entries += [put(first + n, b"k%d" % n, VALUE, lease=lease) for n in range(count)]
    database.apply(entries)
    return database


def everything(operation: TxnOperation) -> Transaction:
    return Transaction((), (operation,), ())


def live(database: Database) -> list[bytes]:
    return [key for key in (b"k%d" % n for n in range(9)) if database.get(key)]


DELETES = Transaction((), tuple(TxnDelete(b"k%d" % n) for n in range(9)), ())
PUTS = Transaction((), tuple(TxnPut(b"k%d" % n, b"new") for n in range(9)), ())
COMPARES = Transaction(
    (Compare(b"k", Target.MOD_REVISION, Relation.GREATER, 0, b"l"),),
    (TxnPut(b"a", b"held"),),
    (),
)


@pytest.mark.parametrize(
    "transaction",
    [
        everything(TxnDeleteRange(b"k", b"l")),
        everything(TxnGetRange(b"k", b"l", limit=1)),
        everything(TxnGetRange(b"k", b"l", keys_only=True)),
        COMPARES,
        DELETES,
        PUTS,
    ],
    ids=["delete range", "counted", "keys only", "compare", "deletes", "puts"],
)
def test_a_transaction_meets_no_more_than_it_may(transaction: Transaction) -> None:
    database = filled(5)
    hashed, revision = database.state_hash(), database.revision
    (result,) = database.apply([transact(6, transaction)])
    assert result.code == REFUSED
    assert (live(database), database.revision) == (
        [b"k0", b"k1", b"k2", b"k3", b"k4"],
        revision,
    )
    assert database.state_hash() != hashed, "the chain has the refusal"
    # As many as may be met are.
    database = filled(4)
    (result,) = database.apply([transact(5, transaction)])
    assert result.code == 0


def test_a_revoke_of_too_much_is_refused_and_the_lease_goes_on() -> None:
    database = filled(5, lease=7)
    (result,) = database.apply([revoke(7, 7)])
    assert (result.code, len(live(database))) == (REFUSED, 5)
    assert database.lease_table.leases[7].keys == 5
    database.apply([delete(8, b"k0")])
    (result,) = database.apply([revoke(9, 7)])
    assert (result.code, result.count, live(database)) == (0, 4, [])
    assert not database.lease_table.leases


def test_a_lease_of_too_much_ends_in_parts_and_is_not_to_be_had_meanwhile() -> None:
    database = filled(9, lease=7)
    revision = database.revision
    (result,) = database.apply([expiry(11, (7, 1))])
    assert (result.code, result.count, database.revision) == (0, 4, revision + 1)
    lease = database.lease_table.leases[7]
    assert (lease.ttl_ms, lease.keys, len(live(database))) == (0, 5, 5)
    assert database.digest_sum == digests_of(database)
    # It is no lease for anybody, and stays the same for who reads it from the disk.
    (result,) = database.apply([put(12, b"more", b"", lease=7)])
    assert result.code == ErrorCode.LEASE_NOT_FOUND
    copy = copy_of(database)
    assert copy.lease_table.leases == database.lease_table.leases
    for each in (database, copy):
        results = [*each.apply([expiry(13, (7, 1))]), *each.apply([expiry(14, (7, 1))])]
        assert [result.count for result in results] == [4, 1]
        assert not each.lease_table.leases
        assert each.digest_sum == digests_of(each)
    assert copy.state_hash() == database.state_hash()


def test_leases_that_end_together_share_the_bound() -> None:
    database = new_database()
    entries = [grant(1, 7), grant(2, 8)]
    entries += [put(3 + n, b"k%d" % n, VALUE, lease=7 + n % 2) for n in range(6)]
    database.apply(entries)
    database.lease_table.granted.clear()
    (result,) = database.apply([expiry(9, (7, 1), (8, 2))])
    assert result.count == 4
    assert sorted(database.lease_table.leases) == [8]
    assert database.lease_table.granted == [8], "who leads has to look again"
    (result,) = database.apply([expiry(10, (8, 2))])
    assert (result.count, live(database)) == (2, [])


# -- steps -----------------------------------------------------------------------------


def applied(
    database: Database, entries: Sequence[Entry], most: int = 1 << 20
) -> tuple[int, list[Applied]]:
    """In how many steps, and their results."""
    steps, results = 0, list[Applied]()
    while len(results) < len(entries):
        results += database.apply(entries[len(results) :], most)
        steps += 1
    return steps, results


@pytest.mark.parametrize("lease", [0, 7])
def test_a_step_ends_when_it_has_replaced_much(lease: int) -> None:
    whole, cut = filled(9, lease), filled(9, lease)
    first = whole.applied_index
    entries = [delete(first + n, b"k%d" % n) for n in range(6)]
    entries += [put(first + n, b"k%d" % n, b"new") for n in range(6, 9)]
    once = applied(whole, entries)
    parts = applied(cut, entries, 2 * len(VALUE))
    assert (once[0], parts[0]) == (1, 5)
    assert once[1] == parts[1]
    assert whole.state_hash() == cut.state_hash()
    assert whole.applied_index == cut.applied_index == entries[-1].index


def test_what_has_no_bytes_takes_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Story: hundreds of transactions about keys that were not there were one step."""
    monkeypatch.setattr(before, "LOOK_BYTES", 100)
    absent = Transaction((), tuple(TxnDelete(b"a%d" % n) for n in range(9)), ())
    assert applied(filled(0), [transact(1 + n, absent) for n in range(8)], 1700)[0] == 4
    # A new key: it is looked up, and has an effect in two places.
    puts = [put(1 + n, b"a%d" % n, b"") for n in range(12)]
    assert applied(filled(0), puts, 1100)[0] == 3


def test_a_step_of_which_a_part_is_known_already_goes_on_behind_it() -> None:
    most = len(VALUE)
    database = filled(4)
    entries = [delete(5 + n, b"k%d" % n) for n in range(4)]
    assert len(database.apply(entries, most)) == 1
    assert len(database.apply(entries, most)) == 2
    assert applied(database, entries, most)[0] == 2
    assert live(database) == []
