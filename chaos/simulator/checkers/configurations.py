"""Which configuration is in force for a node: the last one in its log (I-46).

Law: read from the entries of its log, never from what Raft says of itself. Two logs
that agree in an index and its term agree in everything before (I-6), so that only what
is new has to be read.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from ....raft import CONFIGURATION, Configuration, decode_configuration
from .book import Book, Member, quorum

if TYPE_CHECKING:
    from ..node import Node


def in_force(book: Book, node: "Node") -> Configuration:
    """The last one in its log, committed or not."""
    return in_log(book, node)[-1][1]


def decides(book: Book, node: "Node", members: Collection[int]) -> bool:
    """Could these members have decided something in this turn?

    By what was in force when it began. Or by what its steward has written since, before
    the last of them was heard; but a joint configuration is only left behind all that.
    """
    before = book.members[node.member].before
    if before is None:
        return quorum(in_force(book, node), members)
    now = in_force(book, node)
    return quorum(before, members) or (not before.joint and quorum(now, members))


def in_log(book: Book, node: "Node") -> list[tuple[int, Configuration]]:
    """What was in force where its log begins, and all in the log; with indexes."""
    if not book.changes:
        return book.configurations
    follow(book, node)
    return book.members[node.member].configurations


def follow(book: Book, node: "Node") -> list[tuple[int, Configuration]]:
    """Read what its log has anew; the configurations among that."""
    member, log = book.members[node.member], node.raft.log
    index, term = member.read_up_to
    if (index, term) == (log.last_index, log.last_term):
        return []
    if not log.base_index <= index <= log.last_index or log.term(index) != term:
        index = log.base_index
        member.configurations = [_at(book, index)]
    found = [
        (entry.index, decode_configuration(entry.data))
        for entry in log.entries[index - log.base_index :]
        if entry.kind == CONFIGURATION
    ]
    for at, configuration in found:
        at_term = log.term(at)
        assert at_term is not None
        book.seen[at, at_term] = configuration
    member.configurations += found
    _forget(member, log.base_index)
    member.read_up_to = (log.last_index, log.last_term)
    return found


def _at(book: Book, index: int) -> tuple[int, Configuration]:
    """What was in force at an index that somebody has applied."""
    return next(pair for pair in reversed(book.configurations) if pair[0] <= index)


def _forget(member: Member, base: int) -> None:
    while len(member.configurations) > 1 and member.configurations[1][0] <= base:
        del member.configurations[0]
