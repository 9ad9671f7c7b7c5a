"""Checkers are checked: each objects to a book that shows what must not be."""

import pytest
from quorate.chaos.histories import Change, Operation
from quorate.chaos.simulator.checkers.book import Disk
from quorate.chaos.simulator.checkers.model import Model
from quorate.chaos.simulator.checkers.reads import check_weak_reads
from quorate.chaos.simulator.shape import Shape
from quorate.chaos.simulator.workload import Client, WeakRead
from quorate.chaos.simulator.world import MILLISECOND, Violation, World
from quorate.raft import COMMAND, Entry
from quorate.storage.journal import Batch
from quorate.wire import Level

CHANGES = (Change(2, b"k", b"a"), Change(3, b"k", b"b"))


def batch(first: int, *terms: int, reset: tuple[int, int] | None = None) -> Batch:
    entries = [Entry(first + n, term, COMMAND, b"") for n, term in enumerate(terms)]
    return Batch(
        term=9, vote=2, commit_index=0, first_index=first, entries=entries, reset=reset
    )


def test_a_disk_is_what_its_batches_make_of_it() -> None:
    disk = Disk()
    disk.take(batch(2, 1, 1, 1, reset=(1, 1)))
    disk.take(batch(3, 2, 2))
    assert (disk.term, disk.vote, disk.last_index) == (9, 2, 4)
    assert [disk.term_at(index) for index in range(1, 6)] == [1, 1, 2, 2, None]
    assert disk.holds(3, 2)
    assert not disk.holds(3, 1)


def test_a_disk_starts_anew_with_a_snapshot() -> None:
    disk = Disk()
    disk.take(batch(2, 1, 1, reset=(1, 1)))
    disk.take(batch(101, 5, reset=(100, 4)))
    assert disk.holds(7, 3), "it is in the checkpoint"
    assert disk.term_at(100) == 4
    assert disk.last_index == 101


def weak(level: Level, *, revision: int, value: bytes, staleness: int = 0) -> WeakRead:
    operation = Operation(1, "get", b"k", 100 * MILLISECOND)
    operation.end, operation.outcome = 101 * MILLISECOND, "ok"
    operation.revision, operation.value = revision, value
    return WeakRead(operation, level, staleness, 0, 0)


def judge(read: WeakRead, acknowledged_us: int = 0) -> None:
    """Revision 3 was acknowledged at that time."""
    world = World(1)
    client = Client(world, 1, [], Shape(world))
    client.weak.append(read)
    write = Operation(2, "put", b"k", 0)
    write.end, write.outcome, write.revision = acknowledged_us, "ok", 3
    model = Model()
    model.changes += CHANGES
    model.compacted = 2
    check_weak_reads(world, [client], model, [write])


def test_a_local_read_may_be_old_and_not_wrong() -> None:
    judge(weak(Level.LOCAL, revision=2, value=b"a"))
    judge(weak(Level.LOCAL, revision=7, value=b"b"))
    with pytest.raises(Violation, match="I-44"):
        judge(weak(Level.LOCAL, revision=2, value=b"b"))


def test_a_local_read_names_the_revision_that_made_what_it_shows() -> None:
    read = weak(Level.LOCAL, revision=2, value=b"a")
    read.operation.mod_revision = 2
    judge(read)
    read.operation.mod_revision = 1
    with pytest.raises(Violation, match="I-44"):
        judge(read)


def test_a_bounded_read_is_at_most_as_old_as_it_may_be() -> None:
    old = weak(Level.BOUNDED, revision=2, value=b"a", staleness=10)
    judge(old, acknowledged_us=95 * MILLISECOND)
    with pytest.raises(Violation, match="staleness"):
        judge(old, acknowledged_us=80 * MILLISECOND)


def test_a_read_shows_the_least_revision_that_it_asked_for() -> None:
    read = weak(Level.LOCAL, revision=2, value=b"a")
    read.min_revision = 3
    with pytest.raises(Violation, match="I-43"):
        judge(read)


def test_a_read_of_the_past_is_judged_at_its_revision() -> None:
    read = weak(Level.LOCAL, revision=7, value=b"a")
    read.revision = 2
    judge(read)
    read.revision = 3
    with pytest.raises(Violation, match="I-44"):
        judge(read)


def test_only_what_was_compacted_may_be_said_to_be_gone() -> None:
    read = weak(Level.LOCAL, revision=0, value=b"")
    read.operation.outcome = "refused"
    read.revision, read.operation.mod_revision = 1, 2
    judge(read)
    for asked, kept in ((2, 2), (2, 3), (1, 3)):
        read.revision, read.operation.mod_revision = asked, kept
        with pytest.raises(Violation, match="I-39"):
            judge(read)
