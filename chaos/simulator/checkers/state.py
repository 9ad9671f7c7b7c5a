"""What has been applied: the same everywhere, in one order, once.

Law: one function an invariant, by its number in docs/testing.md.
"""

from typing import TYPE_CHECKING

from ....raft import COMMAND, CONFIGURATION, Entry
from ....storage.journal import Batch
from . import leases, members
from .book import Book, same

if TYPE_CHECKING:
    from ..node import Node

# How much faster than the world a leader's clock may run, in permille.
_CLOCK_MAX = 1060


def logs_match(book: Book, node: "Node", batch: Batch) -> None:
    """I-6: the same index and term mean the same entry and the same before it."""
    first = batch.first_index
    previous = node.raft.log.term(first - 1) or 0
    for position, entry in enumerate(batch.entries):
        place = (first + position, entry.term)
        seen = (previous, entry.data)
        if book.entries.setdefault(place, seen) != seen:
            book.world.fail("I-6", f"{node.name} has another entry at {place}")
        previous = entry.term


def commits_by_counting_its_own_term(book: Book, node: "Node", index: int) -> None:
    """I-4: what a leader counts itself to commit is an entry of its own term."""
    since = book.members[node.member].leads_since
    raft = node.raft
    if since is not None and index > since and raft.log.term(index) != raft.term:
        book.world.fail(
            "I-4",
            f"{node.name} leads term {raft.term} and commits index {index} of term"
            f" {raft.log.term(index)} by counting",
        )


def commits_never_go_back(book: Book, node: "Node", index: int) -> None:
    """I-7, within a boot."""
    commit = book.members[node.member].commit
    if index < commit:
        book.world.fail("I-7", f"{node.name} commits {index} after {commit}")


def commits_what_is_agreed(book: Book, node: "Node", index: int) -> None:
    """State machine safety, before anything is applied."""
    term = node.raft.log.term(index)
    if index <= book.agreed_index and term not in (None, book.agreed_term(index)):
        book.world.fail(
            "state machine safety",
            f"{node.name} calls another entry at index {index} committed",
        )


def one_sequence(book: Book, node: "Node", entry: Entry) -> None:
    """State machine safety, and I-31: all apply the same entries, and each of them."""
    position = entry.index - 2
    if position < len(book.agreed):
        if book.agreed[position] != same(entry):
            book.world.fail(
                "state machine safety",
                f"{node.name} applied another entry at index {entry.index}",
            )
        return
    if position != len(book.agreed):
        book.world.fail("I-31", f"{node.name} skipped to index {entry.index}")
    book.agreed.append(same(entry))
    book.agreed_in.append(node.raft.term)
    if entry.kind == CONFIGURATION:
        book.configured(entry)
        book.model.members.configured(book.configuration, entry.index)
    if entry.kind != COMMAND:
        return
    now_us = book.world.now_us
    time_ms, repeated, ended = book.model.apply(entry.data, entry.index, now_us)
    if repeated is not None:
        book.world.fail("I-56", f"the log has the write of {repeated!r} twice")
    for life in ended:
        leases.ends_in_its_time(book, life, entry.term)
    cluster_time_flows(book, node, time_ms)


def cluster_time_flows(book: Book, node: "Node", cluster_time_ms: int) -> None:
    """Leases and sessions live by it: it goes no faster than the fastest clock.

    It may stand still while nobody leads, and a new leader may begin behind the last
    proposals of the old one; it never jumps ahead.
    """
    limit = book.world.now_us * _CLOCK_MAX // 1_000_000 + 1
    if cluster_time_ms > limit:
        book.world.fail(
            "cluster time",
            f"{node.name} applied cluster time {cluster_time_ms} ms; at most {limit}"
            " ms have passed",
        )


def equal_states(book: Book, node: "Node") -> None:
    """I-38: equal state at equal index; I-35: equal revisions."""
    assert node.replica is not None
    database = node.replica.database
    index, digest = database.applied_index, database.state_hash()
    if book.hashes.setdefault(index, digest) != digest:
        book.world.fail("I-38", f"{node.name} differs at index {index}")
    if index == book.agreed_index:
        leases.equal_leases(book, node)
        if book.changes:
            members.equal_members(book, node)
        found = database.revision, database.compacted
        wanted = book.model.revision, book.model.compacted
        if found != wanted:
            book.world.fail(
                "I-35",
                f"{node.name} is at revision {found[0]} at index {index}, compacted at"
                f" {found[1]}, not {wanted[0]} and {wanted[1]}",
            )


def reads_never_go_back(book: Book, node: "Node") -> None:
    """I-43, within a boot: also when a damaged state was replaced by an older one."""
    replica, member = node.replica, book.members[node.member]
    assert replica is not None
    if replica.reads.barred:
        return
    applied = replica.database.applied_index
    if applied < member.shown:
        book.world.fail(
            "I-43",
            f"{node.name} lets index {applied} be read after index {member.shown}",
        )
    member.shown = applied


def installs_news(book: Book, node: "Node", index: int) -> None:
    """I-52: a snapshot never takes a replica back."""
    applied = book.members[node.member].applied
    if index < applied:
        book.world.fail(
            "I-52", f"{node.name} installed index {index} over applied {applied}"
        )
