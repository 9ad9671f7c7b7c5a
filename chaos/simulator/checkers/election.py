"""Who may lead, and whom one may vote for.

Law: one function an invariant, by its number in docs/testing.md. They look and change
nothing but the book.
"""

from typing import TYPE_CHECKING

from ....raft import (
    PreVoteReply,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    Role,
)
from .book import Book, quorum
from .configurations import in_force, in_log

if TYPE_CHECKING:
    from ..node import Node


def one_leader_a_term(book: Book, node: "Node", term: int) -> None:
    """I-1."""
    other = book.leaders.setdefault(term, node.member)
    if other != node.member:
        book.world.fail("I-1", f"n{other} and {node.name} both lead term {term}")


def one_vote_a_term(book: Book, node: "Node", term: int, candidate: int) -> None:
    """I-1, over all boots of a voter: what it granted, and what it asked for itself."""
    other = book.votes.setdefault((node.member, term), candidate)
    if other != candidate:
        book.world.fail(
            "I-1",
            f"{node.name} votes for n{candidate} in term {term}, and did for n{other}",
        )


def vote_is_durable(
    book: Book, node: "Node", message: RequestVote | RequestVoteReply
) -> None:
    """I-2: the term and the vote that a message speaks for are on the disk."""
    disk = book.members[node.member].disk
    vote = node.member if isinstance(message, RequestVote) else message.to
    granted = isinstance(message, RequestVote) or message.granted
    if disk.term < message.term or (
        granted and disk.term == message.term and disk.vote != vote
    ):
        book.world.fail(
            "I-2",
            f"{node.name} speaks of term {message.term} and a vote for n{vote}; its"
            f" disk has term {disk.term} and n{disk.vote}",
        )


def has_everything_committed(book: Book, node: "Node", term: int) -> None:
    """Leader completeness (5.4.3): all that was committed in the terms before its own.

    A candidate that slept may win a term that is long over, and lead until it hears so.
    """
    log = node.raft.log
    for index in range(book.agreed_index, max(log.base_index, 1), -1):
        if book.agreed_in[index - 2] >= term:
            continue
        if log.term(index) != book.agreed_term(index):
            book.world.fail(
                "leader completeness",
                f"{node.name} leads term {term} without committed index {index}",
            )


def learners_stay_learners(book: Book, node: "Node", role: str) -> None:
    """I-47, I-49: whoever is no voter, or no member any more, never campaigns.

    Whom an entry removes that is not committed may still have to (4.2.2).
    """
    if role == "follower" or (book.changes and node.raft.role is Role.FOLLOWER):
        return  # what removed it may have come behind
    commit = node.raft.log.commit_index
    for index, configuration in reversed(in_log(book, node)):
        if configuration.is_voter(node.member):
            return
        if index <= commit:
            break
    book.world.fail("I-47", f"{node.name}, no voter, becomes {role}")


def is_elected_by_a_quorum(book: Book, node: "Node", term: int) -> None:
    """I-1, I-47: of the voters that its own log names, nobody else counts."""
    configuration = in_force(book, node)
    votes = [
        voter
        for voter in configuration.all_voters()
        if voter == node.member or book.votes.get((voter, term)) == node.member
    ]
    if not quorum(configuration, votes):
        book.world.fail(
            "I-1", f"{node.name} leads term {term} by the votes of {votes} alone"
        )


def doubters_wait(book: Book, node: "Node", role: str) -> None:
    """I-23: a node that does not know its own log neither campaigns nor leads."""
    if role != "follower" and node.raft.doubt is not None:
        book.world.fail("I-23", f"{node.name} is in doubt and becomes {role}")


def compares_with_its_doubt(
    book: Book, node: "Node", message: RequestPreVote | RequestVote
) -> None:
    """I-23: a vote is granted as if the entry in doubt were here."""
    doubt, last = node.raft.doubt, (message.last_term, message.last_index)
    if doubt is not None and last < doubt:
        book.world.fail(
            "I-23",
            f"{node.name} doubts {doubt} and votes for n{message.sender} with {last}",
        )


def sticks_to_its_leader(book: Book, node: "Node", message: PreVoteReply) -> None:
    """I-12: who has just heard its leader helps nobody to depose it."""
    heard = book.members[node.member].heard_leader
    if heard is None or heard[0] < node.raft.term:
        return
    assert node.replica is not None
    silent = node.replica.ticks - heard[1]
    if silent < book.shape.raft["election_timeout_ticks"]:
        book.world.fail(
            "I-12",
            f"{node.name} pre-votes for n{message.to}, {silent} ticks after it heard"
            f" its leader",
        )


def leads_with_a_quorum(book: Book, node: "Node") -> None:
    """I-13: a leader that a majority is silent to steps down in time.

    A majority of those whom it needs: of another configuration they are others.
    """
    assert node.replica is not None
    ticks, known = node.replica.ticks, book.members[node.member]
    heard, since = known.heard, known.configured
    configuration = in_force(book, node)
    longest = 0
    for voters in (configuration.voters, configuration.outgoing):
        silent = sorted(
            0 if voter == node.member else ticks - max(heard.get(voter, 0), since)
            for voter in voters
        )
        longest = max(longest, silent[len(voters) // 2] if voters else 0)
    # Two checks apart: heard just after one, found silent by the next but one.
    if longest > 2 * book.shape.raft["election_timeout_ticks"] + 1:
        book.world.fail(
            "I-13", f"{node.name} leads without a quorum for {longest} ticks"
        )


def stalled_disk_resigns(book: Book, node: "Node") -> None:
    """I-74: a leader whose disk hangs must not look healthy for ever."""
    raft = node.raft
    limit = 3 * book.shape.raft["election_timeout_ticks"]
    if raft.in_flight is not None and raft.in_flight_ticks > limit + 1:
        book.world.fail(
            "I-74",
            f"{node.name} leads; its disk has stood for {raft.in_flight_ticks} ticks",
        )


def leads(node: "Node") -> bool:
    return node.raft.role is Role.LEADER
