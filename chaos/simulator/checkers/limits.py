"""Everything has a bound (I-76): memory, queues, files.

Law: bounds are computed from the seed's options, never measured and then believed.
"""

from typing import TYPE_CHECKING

from .book import Book

if TYPE_CHECKING:
    from ..node import Node

# Behind what is being flushed the log goes on growing for a while.
_LOG_SLACK_ENTRIES = 3000
_SEGMENTS_MAX = 64
_NOT_TABLES = {"LOCK", "MANIFEST", "MANIFEST.tmp", "work"}


def queues_are_bounded(book: Book, node: "Node") -> None:
    replica = node.replica
    assert replica is not None
    options = book.shape.replica
    writes, reads = replica.writes, replica.reads
    # Writes that followers hand on are admitted by the same count.
    if writes.count() > options.requests_max:
        book.world.fail("I-76", f"{node.name}: {writes.count()} writes wait")
    if len(writes.queued) > options.queued_max:
        book.world.fail("I-76", f"{node.name}: {len(writes.queued)} writes are queued")
    if reads.count() > options.requests_max:
        book.world.fail("I-76", f"{node.name}: {reads.count()} reads wait")
    raft = replica.raft
    pending = raft.log.last_index - raft.log.commit_index
    limit = book.shape.raft["uncommitted_entries_max"]
    if raft.is_leader and raft.uncommitted and pending > limit + 4096:
        book.world.fail("I-76", f"{node.name}: {pending} entries are not committed")


def the_log_is_bounded(book: Book, node: "Node") -> None:
    """I-78: a slow follower does not make the leader keep everything."""
    replica = node.replica
    assert replica is not None
    options = book.shape.replica
    bound = options.checkpoint_entries + options.log_keep_entries + _LOG_SLACK_ENTRIES
    length = len(replica.raft.log.entries)
    if length > bound:
        book.world.fail("I-78", f"{node.name} keeps {length} entries")


def files_are_bounded(book: Book, node: "Node") -> None:
    """The engine's files are those of its manifest; no segment is forgotten."""
    stable, replica = node.stable, node.replica
    assert stable is not None
    assert replica is not None
    wanted = replica.database.store.manifest.names()
    found = set(node.env.list(stable.engine_dir)) - _NOT_TABLES
    if found != wanted:
        book.world.fail("I-76", f"{node.name} keeps the tables {sorted(found)}")
    options = book.shape.replica
    behind = replica.raft.log.commit_index - replica.database.store.applied_index
    if behind > options.stalled_times * options.checkpoint_entries:
        return  # its state was damaged for a while; meanwhile only the log grew
    segments = node.env.list(stable.journal_dir)
    # What is kept for a snapshot on its way, or behind a slow flush, may be much more:
    # a segment has four batches or more, and half of them no entry.
    assert stable.journal is not None
    kept = (replica.raft.log.last_index - stable.journal.durable_base_index) // 2
    if len(segments) > _SEGMENTS_MAX + kept and options.checkpoint_entries <= 40:
        book.world.fail("I-76", f"{node.name} keeps {len(segments)} journal files")
