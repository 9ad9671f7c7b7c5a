"""How a linearizable read is confirmed (I-40): by a round, and by an id, of its own.

Law: one function a part of the invariant. Histories would show a violation, too, but
only when somebody writes the very key in the very moment.
"""

from typing import TYPE_CHECKING

from ....raft import ReadIndexReply
from .book import Book
from .configurations import decides

if TYPE_CHECKING:
    from ..node import Node


def index_is_new_enough(book: Book, node: "Node", message: ReadIndexReply) -> None:
    """What was committed when the node asked is behind the index that it is told.

    An answer to an earlier question, taken for one to this, would be too old.
    """
    committed = book.members[node.member].asked.get(message.id)
    waits = message.id in node.raft.waiting_reads
    if waits and committed is not None and message.index < committed:
        book.world.fail(
            "I-40",
            f"{node.name} takes read index {message.index} from n{message.sender}; it"
            f" asked when {committed} was committed",
        )


def round_is_answered(book: Book, node: "Node") -> None:
    """A round confirms reads once a majority has answered that very round."""
    member, raft = book.members[node.member], node.raft
    pending = raft.pending_reads
    confirmed = pending[0][0] - 1 if pending else raft.round
    if confirmed <= member.confirmed_round:
        return
    member.confirmed_round = confirmed
    answered = [
        other
        for other in book.members
        if other == node.member or member.rounds.get(other, 0) >= confirmed
    ]
    if not decides(book, node, answered):
        book.world.fail(
            "I-40",
            f"{node.name} confirms reads by round {confirmed}, answered by {answered}"
            " alone",
        )
