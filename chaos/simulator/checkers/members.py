"""Changes of the members: one at a time, by quorums that overlap, and for good.

Law: one function an invariant, by its number in docs/testing.md. They look at the
entries of logs, at what was applied, and at who was heard, never at what the steward
thinks.
"""

from itertools import combinations
from typing import TYPE_CHECKING

from ....raft import Configuration, InstallSnapshot
from .book import Book, quorum
from .configurations import follow, in_force
from .election import leads

if TYPE_CHECKING:
    from ..node import Node

# A leader looks at who is heard so often, in ticks; a tick more for the turn.
_LOOKS_TICKS = 6


def turned(book: Book, node: "Node") -> None:
    """All that a turn may show; its log may have new configurations."""
    member = book.members[node.member]
    before = member.configurations[-1] if member.configurations else None
    member.before = None if before is None else before[1]
    for index, configuration in follow(book, node):
        if before is not None and leads(node) and index > before[0]:
            _changed(book, node, before, (index, configuration))
        before = (index, configuration)
    configuration_follows_the_log(book, node)
    if leads(node):
        removed_leader_resigns(book, node)


def _changed(
    book: Book,
    node: "Node",
    before: tuple[int, Configuration],
    after: tuple[int, Configuration],
) -> None:
    """A leader has written a change to its log."""
    index, configuration = after
    raft = node.raft
    if raft.log.term(index) != raft.term:
        return  # it had that before it was elected
    one_change_at_a_time(book, node, before[0], index)
    quorums_overlap(book, node, before[1], configuration)
    nobody_comes_back(book, node, configuration)
    new_voters_have_caught_up(book, node, before[1], configuration)
    voters_are_heard(book, node, before[1], configuration)
    assert node.replica is not None
    # Who is needed from now on is given its time to be heard.
    book.members[node.member].configured = node.replica.ticks


def configuration_follows_the_log(book: Book, node: "Node") -> None:
    """I-46: in force is the last one in the log, from the append on, and no other."""
    wanted, found = in_force(book, node), node.raft.configuration
    if found != wanted:
        book.world.fail(
            "I-46", f"{node.name} goes by {told(found)}; its log says {told(wanted)}"
        )


def one_change_at_a_time(book: Book, node: "Node", before: int, index: int) -> None:
    """I-45: the one before is committed, and so is an entry of the leader's own."""
    log = node.raft.log
    commit = log.commit_index
    if before > commit:
        book.world.fail(
            "I-45",
            f"{node.name} changes the members at {index}, and the change at {before}"
            f" is not committed",
        )
    if log.term(commit) != node.raft.term:
        book.world.fail(
            "I-45",
            f"{node.name} changes the members at {index} before it has committed an"
            f" entry of its term {node.raft.term}",
        )


def quorums_overlap(
    book: Book, node: "Node", before: Configuration, after: Configuration
) -> None:
    """I-46: no two quorums, one of the old and one of the new, are strangers."""
    all_voters = sorted({*before.all_voters(), *after.all_voters()})
    for count in range(1, len(all_voters)):
        for some in combinations(all_voters, count):
            rest = [voter for voter in all_voters if voter not in some]
            if quorum(before, some) and quorum(after, rest):
                book.world.fail(
                    "I-46",
                    f"{node.name} goes from {told(before)} to {told(after)}: {some} and"
                    f" {rest} could decide alone",
                )


def nobody_comes_back(book: Book, node: "Node", after: Configuration) -> None:
    """I-49: whoever has left never votes again.

    A leader that slept through its own end may go on for a moment with those who have
    left since; nobody will believe it. What it has applied it knows.
    """
    gone, applied = book.model.members.gone, node.raft.log.applied_index
    back = [m for m in after.all_voters() if gone.get(m, applied + 1) <= applied]
    if back:
        book.world.fail("I-49", f"{node.name} lets {back} vote, who have left")


def new_voters_have_caught_up(
    book: Book, node: "Node", before: Configuration, after: Configuration
) -> None:
    """I-48: a voter comes with what was committed an election timeout ago."""
    assert node.replica is not None
    patience = node.replica.raft.options.election_timeout_ticks + _LOOKS_TICKS
    commit = book.members[node.member].commit_at(node.replica.ticks - patience)
    for voter in after.all_voters():
        if before.is_voter(voter) or voter == node.member:
            continue
        last = book.members[voter].disk.last_index
        if last < commit:
            book.world.fail(
                "I-48",
                f"{node.name} lets n{voter} vote, whose disk ends at {last}; committed"
                f" was {commit} an election timeout ago",
            )


def voters_are_heard(
    book: Book, node: "Node", before: Configuration, after: Configuration
) -> None:
    """I-48: nobody is voted out while the others are too few to go on.

    The steward believes in a member for two election timeouts after Raft's last look,
    which was one timeout long.
    """
    if before.voters == after.voters:
        return
    assert node.replica is not None
    since = node.replica.ticks - _LOOKS_TICKS
    since -= 3 * book.shape.raft["election_timeout_ticks"]
    heard = book.members[node.member].heard
    there = [v for v in after.voters if v == node.member or heard.get(v, 0) >= since]
    if 2 * len(there) <= len(after.voters):
        book.world.fail(
            "I-48", f"{node.name} goes to {told(after)} and hears only {there}"
        )


def removed_leader_resigns(book: Book, node: "Node") -> None:
    """I-50: a leader that has applied its own removal leads no more."""
    index, configuration = book.members[node.member].configurations[-1]
    done = index <= node.raft.log.applied_index and not configuration.joint
    if done and not configuration.is_voter(node.member):
        book.world.fail("I-50", f"{node.name} leads {told(configuration)}")


def state_has_its_configuration(
    book: Book, node: "Node", message: InstallSnapshot
) -> None:
    """I-46, I-51: a state comes with the configuration in force where it ends."""
    at = [pair for pair in book.configurations if pair[0] <= message.index]
    wanted = at[-1][1]
    found = node.raft.configuration_at(message.index)
    if found != wanted:
        book.world.fail(
            "I-46",
            f"{node.name} has {told(found)} with the state of index {message.index};"
            f" it is {told(wanted)}",
        )


def equal_members(book: Book, node: "Node") -> None:
    """I-38, I-49: members, those who left and tokens are what the agreed log says.

    But for one whose damaged state is about to be replaced: nobody asks it.
    """
    assert node.replica is not None
    database = node.replica.database
    if database.store.damage is not None:
        return
    table, model = database.member_table, book.model.members
    found = (
        {m: (r.role, r.name, r.successor) for m, r in table.members.items()},
        set(table.gone),
        {number: token.uses for number, token in table.tokens.items()},
    )
    wanted = (
        {m: (s.role, s.name, s.successor) for m, s in model.members.items()},
        set(model.gone),
        {number: each.uses for number, each in model.tokens.items()},
    )
    if found != wanted:
        book.world.fail(
            "I-49", f"{node.name} has the members {found}; the log says {wanted}"
        )


def told(configuration: Configuration) -> str:
    """For people: voters, the outgoing ones, learners."""
    old = f" from {list(configuration.outgoing)}" if configuration.outgoing else ""
    learners = list(configuration.learners)
    return f"{list(configuration.voters)}{old} and {learners}"
