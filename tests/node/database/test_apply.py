"""One step of the state machine: pure, in order, once, and the same everywhere."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from quorate.node.database import Applied, Database, NotUnderstood
from quorate.raft import (
    CONFIGURATION,
    NOOP,
    Configuration,
    Entry,
    encode_configuration,
)
from quorate.wire import ErrorCode, Record, encode_put

from .support import command, delete, entry, history, new_database, put, records_of


def applied(entries: Sequence[Entry]) -> tuple[Database, list[Applied]]:
    database = new_database()
    return database, database.apply(entries)


def done(revision: int, count: int = 1) -> Applied:
    return Applied(0, revision, count)


def refused(revision: int) -> Applied:
    return Applied(ErrorCode.PRECONDITION_FAILED, revision, 0)


def test_the_first_write_of_a_new_store_makes_revision_2() -> None:
    database = new_database()
    assert database.revision == 1
    assert database.apply([put(1, b"a", b"x")]) == [done(2)]
    assert database.revision == 2


def test_each_write_makes_one_revision_and_one_version() -> None:
    database, results = applied(
        [put(1, b"a", b"1"), put(2, b"b", b"2"), put(3, b"a", b"3")]
    )
    assert results == [done(2), done(3), done(4)]
    assert database.get(b"a") == Record(b"a", b"3", 2, 4, 2, 0)
    assert database.get(b"b") == Record(b"b", b"2", 3, 3, 1, 0)
    assert database.get(b"c") is None


def test_a_key_that_was_deleted_begins_anew() -> None:
    database, results = applied(
        [put(1, b"a", b"1"), delete(2, b"a"), delete(3, b"a"), put(4, b"a", b"2")]
    )
    assert results == [done(2), done(3), done(3, 0), done(4)]
    assert database.get(b"a") == Record(b"a", b"2", 4, 4, 1, 0)
    assert (database.puts, database.deletes) == (2, 1)


def test_a_conditional_put_goes_through_at_the_expected_revision_alone() -> None:
    database, results = applied(
        [
            put(1, b"a", b"first", 0),
            put(2, b"a", b"second", 0),
            put(3, b"a", b"third", 1),
            put(4, b"a", b"fourth", 2),
            put(5, b"b", b"no", 3),
        ]
    )
    assert results == [done(2), refused(2), refused(2), done(3), refused(0)]
    assert database.revision == 3
    assert database.get(b"b") is None


def test_a_conditional_delete_goes_through_at_the_expected_revision_alone() -> None:
    database, results = applied(
        [
            put(1, b"a", b"x"),
            delete(2, b"a", 9),
            delete(3, b"a", 0),
            delete(4, b"a", 2),
            delete(5, b"a", 2),
            delete(6, b"a", 0),
        ]
    )
    assert results == [
        done(2), refused(2), refused(2), done(3), refused(0), done(3, 0)
    ]  # fmt: skip
    assert database.keys == 0


def test_noops_and_configurations_only_move_the_applied_index() -> None:
    database = new_database()
    before = database.state_hash()
    other = encode_configuration(Configuration((1, 2)))
    entries = [entry(1, 3, NOOP, b""), entry(2, 4, CONFIGURATION, other)]
    assert database.apply(entries) == [Applied(0, 0, 0)] * 2
    assert (database.applied_index, database.applied_term) == (3, 4)
    assert database.store.last_index == 3
    assert database.configuration == other
    assert database.revision == 1
    assert database.state_hash() != before


def test_the_borders_of_batches_make_no_difference() -> None:
    entries = history()
    whole, results = applied(entries)
    for size in (1, 2, 7, 50):
        database = new_database()
        found: list[Applied] = []
        for at in range(0, len(entries), size):
            found += database.apply(entries[at : at + size])
        assert found == results
        assert database.meta() == whole.meta()
        assert records_of(database) == records_of(whole)


def test_applying_again_what_is_applied_changes_nothing() -> None:
    """I-32: after a crash the log is replayed from an older checkpoint on."""
    entries = history()
    database, _ = applied(entries)
    meta, records = database.meta(), records_of(database)
    for replay in (entries, entries[50:], entries[:1], []):
        assert database.apply(replay) == [Applied(0, 0, 0)] * len(replay)
        assert database.meta() == meta
        assert records_of(database) == records
    more = [*entries[100:], put(120, b"new", b"x")]
    assert database.apply(more)[-1] == done(meta.revision + 1)


def test_an_entry_is_never_left_out() -> None:
    database, _ = applied([put(1, b"a", b"x")])
    with pytest.raises(AssertionError, match="left out"):
        database.apply([put(3, b"a", b"y")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\1",
        b"\2" + put(1, b"a", b"x").data[1:],
        put(1, b"a", b"x").data[:1] + b"\7" + put(1, b"a", b"x").data[2:],
        put(1, b"a", b"x").data + b"\0",
        put(1, b"a", b"x").data[:-1],
        command(1, b"\3" + encode_put(b"a", b"x")[1:]).data,
        command(1, b"\1\x80" + encode_put(b"a", b"x")[2:]).data,
        command(1, encode_put(b"", b"x")).data,
    ],
)
def test_what_is_not_understood_stops_apply_and_leaves_the_store(data: bytes) -> None:
    """I-37: skipping it would make this replica another one than its peers."""
    database, _ = applied([put(1, b"a", b"x")])
    records = records_of(database)
    with pytest.raises(NotUnderstood, match="entry 4 can't be applied"):
        database.apply([put(2, b"b", b"y"), entry(3, 1, 1, data)])
    assert records_of(database) == records
    assert database.store.last_index == 2


def test_an_unknown_kind_stops_apply() -> None:
    database = new_database()
    with pytest.raises(AssertionError):
        database.apply([entry(1, 1, 9, put(1, b"a", b"x").data)])
    assert database.store.last_index == 1


def test_cluster_time_never_goes_back() -> None:
    database = new_database()
    times = [50, 20, 60, 0]
    for index, time_ms in enumerate(times, 1):
        payload = encode_put(b"k", b"v")
        database.apply([command(index, payload, time_ms=time_ms)])
        assert database.cluster_time_ms == max(times[:index])


def test_the_state_hash_has_forty_digits_and_is_of_the_whole_history() -> None:
    entries = history()
    hashes = {applied(entries[:n])[0].state_hash() for n in range(len(entries) + 1)}
    assert len(hashes) == len(entries) + 1
    assert all(len(h) == 40 and int(h, 16) >= 0 for h in hashes)
    assert applied(entries)[0].state_hash() == applied(list(entries))[0].state_hash()


@pytest.mark.parametrize(
    "other",
    [
        [put(1, b"a", b"2"), put(2, b"b", b"2")],
        [put(1, b"a", b"1"), put(2, b"c", b"2")],
        [put(1, b"b", b"1"), put(2, b"a", b"2")],
        [put(1, b"a", b"1"), put(2, b"b", b"2", 9)],
        [put(1, b"a", b"1"), delete(2, b"b")],
        [put(1, b"a", b"1"), entry(2, 1, NOOP, b"")],
        [command(1, encode_put(b"a", b"1"), term=2), put(2, b"b", b"2")],
        [put(1, b"a", b"1")],
    ],
)
def test_different_histories_have_different_hashes(other: list[Entry]) -> None:
    wanted, _ = applied([put(1, b"a", b"1"), put(2, b"b", b"2")])
    assert applied(other)[0].state_hash() != wanted.state_hash()


@pytest.mark.parametrize(
    "tail", [[put(2, b"a", b"same")], [delete(2, b"a")]], ids=["put", "delete"]
)
def test_a_difference_is_not_forgotten_when_it_is_written_over(
    tail: list[Entry],
) -> None:
    """Story: the chain had revisions and codes in it, not what was written. A replica
    that had applied another value agreed again as soon as that key was put once more.
    """
    one, _ = applied([put(1, b"a", b"one"), *tail])
    two, _ = applied([put(1, b"a", b"two"), *tail])
    assert records_of(one) == records_of(two)
    assert one.state_hash() != two.state_hash()


def test_an_empty_state_has_the_sum_zero_again() -> None:
    entries = [put(n, b"%d" % n, b"x" * n) for n in range(1, 20)]
    entries += [delete(19 + n, b"%d" % n) for n in range(1, 20)]
    database, _ = applied(entries)
    assert database.digest_sum == 0
    assert database.keys == 0
    assert records_of(database) == []


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from hashlib import sha256
from database.support import history, new_database, sent_by
database = new_database()
results = database.apply(history())
print(database.state_hash(), sha256(sent_by(database)).hexdigest(), results)
"""
FOLDER = str(Path(__file__).resolve().parents[1])


@pytest.mark.slow
def test_another_process_with_another_hash_seed_comes_to_the_same() -> None:
    """I-33: nothing of a process (hash seeds, zone, locale) gets into the state."""
    outputs: set[str] = set()
    for seed, zone in (("1", "UTC"), ("4242", "Asia/Kathmandu")):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, FOLDER],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1
    assert applied(history())[0].state_hash() in outputs.pop()
