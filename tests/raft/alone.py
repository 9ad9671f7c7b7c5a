"""One replica on a table: messages are put into it by hand and its answers read.

Law: nothing here decides; `speak` is a turn whose disk answers at once.
"""

from typing import TypeVar

import msgspec
from quorate.raft import (
    COMMAND,
    AppendEntries,
    AppendEntriesReply,
    Configuration,
    Entry,
    HardState,
    Message,
    Options,
    PreVoteReply,
    Raft,
    RequestVoteReply,
    Role,
    SnapshotMark,
    acknowledge,
)

from .network import SMALL, Network

THREE = Configuration((1, 2, 3))
FIVE = Configuration((1, 2, 3, 4, 5))
START = SnapshotMark(0, 0, THREE)

M = TypeVar("M", bound=msgspec.Struct)


def command(index: int, term: int) -> Entry:
    """An entry whose data tells its place, so that two different ones differ."""
    return Entry(index, term, COMMAND, f"{index}.{term}".encode())


def log_of(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Entries from `first` on, one for each term."""
    return tuple(command(first + n, term) for n, term in enumerate(terms))


def alone(
    member: int,
    *terms: int,
    term: int | None = None,
    vote: int = 0,
    commit_index: int = 0,
    configuration: Configuration = THREE,
    doubtful: tuple[int, int] | None = None,
) -> Raft:
    """A replica that starts with a log of these terms, in the last of them."""
    current = term if term is not None else max(terms, default=0)
    return Raft(
        msgspec.structs.replace(SMALL, id=member),
        SnapshotMark(0, 0, configuration),
        HardState(current, vote, commit_index),
        log_of(*terms),
        doubtful,
    )


def speak(raft: Raft) -> list[Message]:
    """All that one turn sends, once its disk has done its work."""
    ready = raft.ready(can_persist=True)
    if ready.persist is not None:
        raft.persisted(acknowledge(ready.persist))
    return ready.messages + ready.messages_after


def make_candidate(raft: Raft) -> Raft:
    """All others grant its pre-vote."""
    raft.campaign()
    speak(raft)
    for voter in raft.configuration.all_voters():
        if raft.role is Role.PRE_CANDIDATE and voter != raft.id:
            asked = raft.term + 1
            raft.step(PreVoteReply(voter, raft.id, raft.term, asked, True))
    assert raft.role is Role.CANDIDATE
    return raft


def make_leader(raft: Raft) -> Raft:
    """All others vote for it."""
    make_candidate(raft)
    speak(raft)
    for voter in raft.configuration.all_voters():
        if voter != raft.id and not raft.is_leader:
            raft.step(RequestVoteReply(voter, raft.id, raft.term, True))
    assert raft.is_leader
    return raft


def answer(raft: Raft, message: Message, kind: type[M]) -> M:
    """The one answer of `kind` to `message`."""
    raft.step(message)
    return only(speak(raft), kind)


def only(messages: list[Message], kind: type[M]) -> M:
    found = [message for message in messages if isinstance(message, kind)]
    assert len(found) == 1, messages
    return found[0]


def terms(raft: Raft) -> list[int]:
    return [entry.term for entry in raft.log.entries]


def append(
    previous: tuple[int, int],
    *entries: Entry,
    term: int,
    commit_index: int = 0,
    sender: int = 1,
    to: int = 2,
) -> AppendEntries:
    """`previous` is (index, term)."""
    return AppendEntries(sender, to, term, *previous, commit_index, entries)


def accepted(reply: AppendEntriesReply) -> int | None:
    """The index that a reply acknowledges, None when it refuses."""
    return reply.index if reply.accepted else None


def with_logs(
    *logs: tuple[int, ...],
    term: int | None = None,
    commit_index: int = 0,
    options: Options = SMALL,
) -> Network:
    """A cluster whose members 1, 2, … start with logs of these terms."""
    members = tuple(range(1, len(logs) + 1))
    network = Network(members, options=options)
    for member, log in zip(members, logs, strict=True):
        own = term if term is not None else max(log, default=0)
        network.add(
            member,
            SnapshotMark(0, 0, Configuration(members)),
            HardState(own, 0, min(commit_index, len(log))),
            log_of(*log),
        )
    return network
