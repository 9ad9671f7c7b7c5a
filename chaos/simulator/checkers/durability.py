"""What has to be on which disk, when; and what a boot must find again.

Law: one function an invariant, by its number in docs/testing.md.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from ....node.stable import Opened
from ....raft import AppendEntriesReply
from ....storage.errors import CorruptionError, Unreadable
from ....storage.journal import Batch
from .book import Book, Member
from .configurations import decides

if TYPE_CHECKING:
    from ..node import Node


def append_is_durable(book: Book, node: "Node", message: AppendEntriesReply) -> None:
    """I-16: what a follower acknowledges is on its disk, and its term as well.

    Within one term nothing that it acknowledges is replaced, so its log still has it.
    """
    disk = book.members[node.member].disk
    if message.accepted:
        if disk.last_index < message.index:
            book.world.fail(
                "I-16",
                f"{node.name} acknowledges index {message.index}; its disk ends at"
                f" {disk.last_index}",
            )
        term = node.raft.log.term(message.index)
        if message.term == node.raft.term and not disk.holds(message.index, term):
            book.world.fail(
                "I-16",
                f"{node.name} acknowledges index {message.index} of term {term}; its"
                f" disk has one of term {disk.term_at(message.index)}",
            )
    if disk.term < message.term:
        book.world.fail(
            "I-2", f"{node.name} speaks of term {message.term}; its disk: {disk.term}"
        )


def committed_is_durable(book: Book, node: "Node", index: int) -> None:
    """I-16, I-3: when anybody calls an index committed, a quorum's disks have it."""
    term = node.raft.log.term(index)
    holders = [v for v, each in book.members.items() if each.holds(index, term)]
    if not decides(book, node, holders):
        book.world.fail(
            "I-16",
            f"{node.name} calls index {index} committed; only {holders} have it on"
            f" disk",
        )


def applies_what_is_durable(book: Book, node: "Node", index: int) -> None:
    """I-18: nothing is applied, and so nothing read, that this disk may still lose."""
    disk = book.members[node.member].disk
    if disk.last_index < index:
        book.world.fail(
            "I-18", f"{node.name} applied {index}; its disk ends at {disk.last_index}"
        )


def overwrites_nothing_applied(book: Book, node: "Node", batch: Batch) -> None:
    """I-7: a batch never replaces what was committed."""
    first = batch.first_index if batch.reset is None else batch.reset[0]
    applied = book.members[node.member].applied
    if first < applied or (batch.reset is None and first <= applied):
        book.world.fail(
            "I-7", f"{node.name} writes index {first} again, and has applied {applied}"
        )


def remembers_its_term(book: Book, node: "Node", opened: Opened) -> None:
    """I-2, I-27: a boot finds the term and the vote that were durable, or later."""
    disk = book.members[node.member].disk
    found = opened.hard_state
    if found.term < disk.term or (
        found.term == disk.term and disk.vote and found.vote != disk.vote
    ):
        book.world.fail(
            "I-2",
            f"{node.name} forgot term {disk.term} and its vote for n{disk.vote}: it"
            f" found {found.term} and n{found.vote}",
        )


def remembers_its_log(book: Book, node: "Node", opened: Opened) -> None:
    """I-16, I-22: what was synced is there, or known to be in doubt.

    Only the batch that was on its way when the process ended may have replaced it, or a
    state that was installed before its batch began: one that this log never came to,
    so nothing behind it was ever committed (seed 5514).
    """
    member = book.members[node.member]
    if opened.doubt is not None:
        return
    if not member.disk.holds(opened.snapshot.index, opened.snapshot.term):
        return
    first = len(opened.entries) and opened.entries[0].index
    for index in range(opened.snapshot.index + 1, member.disk.last_index + 1):
        offset = index - first
        there = first and 0 <= offset < len(opened.entries)
        term = opened.entries[offset].term if there else None
        if term != member.disk.term_at(index) and not _replaced(member, index):
            book.world.fail(
                "I-16",
                f"{node.name} lost index {index} of term"
                f" {member.disk.term_at(index)}, which was durable",
            )


def finds_nothing_dropped(book: Book, node: "Node", opened: Opened) -> None:
    """I-8: what a synced batch replaced does not come back behind it.

    Behind the end of the log that was synced there is at most what was on its way when
    the process ended.
    """
    member = book.members[node.member]
    batch = member.appended
    for entry in opened.entries:
        if entry.index <= member.disk.last_index:
            continue
        offset = -1 if batch is None else entry.index - batch.first_index
        there = batch is not None and 0 <= offset < len(batch.entries)
        if batch is None or not there or batch.entries[offset].term != entry.term:
            book.world.fail(
                "I-8",
                f"{node.name} finds index {entry.index} of term {entry.term} behind the"
                f" end of its log, {member.disk.last_index}",
            )


def _replaced(member: Member, index: int) -> bool:
    """Was a batch on its way that drops the entry at `index`?"""
    batch = member.appended
    if batch is None:
        return False
    return batch.reset is not None or batch.first_index <= index


def refuses_only_damage(book: Book, node: "Node", error: CorruptionError) -> None:
    """I-21: a crash alone never looks like corruption.

    Nor is a disk that does not read taken for more than that.
    """
    told = node.work.unread if isinstance(error, Unreadable) else node.damaged
    if not told:
        book.world.fail("I-21", f"{node.name}, not damaged, refuses: {error}")


def any_quorum_has_everything(
    book: Book, nodes: "Sequence[Node]", majority: int
) -> None:
    """I-16: whoever can lead a quorum of these disks has all that was ever applied.

    Looked at before a message is sent: the disks alone must be enough.
    """
    for quorum in combinations(nodes, majority):
        needed = max(max(n.raft.last(), n.raft.doubt or (0, 0)) for n in quorum)
        for node in quorum:
            raft = node.raft
            if raft.doubt is not None or raft.last() < needed:
                continue
            for index in range(raft.log.base_index + 1, book.agreed_index + 1):
                if raft.log.term(index) != book.agreed_term(index):
                    names = " ".join(n.name for n in quorum)
                    book.world.fail(
                        "I-16", f"{names}: {node.name} can lead without index {index}"
                    )
