"""What Raft peers say to each other: one message, one frozen value class.

Law: values only. Field names are the paper's (Ongaro & Ousterhout 2014, figure 2; the
dissertation, sections 3, 4 and 6). Every message has `sender`, `to` and `term`, the
sender's term unless said otherwise.
"""

from typing import TypeAlias

import msgspec

from .configuration import Configuration

NOOP = 0
COMMAND = 1
CONFIGURATION = 2


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One log entry. `kind` is NOOP, COMMAND or CONFIGURATION; `data` is opaque."""

    index: int
    term: int
    kind: int
    data: bytes


class RequestPreVote(msgspec.Struct, frozen=True, gc=False):
    """Would you vote for me in `term`? Changes nothing anywhere (9.6)."""

    sender: int
    to: int
    term: int
    last_index: int
    last_term: int


class PreVoteReply(msgspec.Struct, frozen=True, gc=False):
    """`term` is the voter's own; `asked_term` the one it was asked about."""

    sender: int
    to: int
    term: int
    asked_term: int
    granted: bool


class RequestVote(msgspec.Struct, frozen=True, gc=False):
    """`transfer`: the leader asked for this election, stickiness does not apply."""

    sender: int
    to: int
    term: int
    last_index: int
    last_term: int
    transfer: bool


class RequestVoteReply(msgspec.Struct, frozen=True, gc=False):
    sender: int
    to: int
    term: int
    granted: bool


class AppendEntries(msgspec.Struct, frozen=True, gc=False):
    sender: int
    to: int
    term: int
    previous_index: int
    previous_term: int
    commit_index: int
    entries: tuple[Entry, ...]


class AppendEntriesReply(msgspec.Struct, frozen=True, gc=False):
    """Accepted: `index` is the highest index known to match, durable here.

    Rejected: `index` echoes `previous_index`; `hint_index` and `hint_term` are the last
    place where the logs may still agree.
    """

    sender: int
    to: int
    term: int
    accepted: bool
    index: int
    hint_index: int
    hint_term: int


class Commit(msgspec.Struct, frozen=True, gc=False):
    """News of the commit index alone. Nobody answers: the next heartbeat repeats it.

    `commit_index` is at most what the receiver has acknowledged to this leader.
    """

    sender: int
    to: int
    term: int
    commit_index: int


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """`round` numbers the leader's rounds within its term; it is never reused."""

    sender: int
    to: int
    term: int
    commit_index: int
    round: int


class HeartbeatReply(msgspec.Struct, frozen=True, gc=False):
    sender: int
    to: int
    term: int
    round: int


class InstallSnapshot(msgspec.Struct, frozen=True, gc=False):
    """What a snapshot is; its bytes travel beside Raft, in the shell's transfer.

    The leader's core emits it to ask for a transfer; the follower's core is stepped
    with it when the whole file has arrived and its hash is right.
    """

    sender: int
    to: int
    term: int
    index: int
    snapshot_term: int
    configuration: Configuration


class TimeoutNow(msgspec.Struct, frozen=True, gc=False):
    sender: int
    to: int
    term: int


class ReadIndex(msgspec.Struct, frozen=True, gc=False):
    """A follower's or learner's request; `id` is unique over all boots (I-40)."""

    sender: int
    to: int
    term: int
    id: int


class ReadIndexReply(msgspec.Struct, frozen=True, gc=False):
    sender: int
    to: int
    term: int
    id: int
    index: int


class RequestEntries(msgspec.Struct, frozen=True, gc=False):
    """A doubtful node asks for exactly the entry that its disk no longer shows.

    No leader is needed and no term is compared: `term` is the sender's, for logs only.
    `next_index` is the first entry that it lacks; `configuration` is the digest of the
    members that it knows: the damaged batch may have changed them.
    """

    sender: int
    to: int
    term: int
    next_index: int
    last_index: int
    last_term: int
    configuration: int


HELD = 1
ABSENT = 2
DOUBTED = 3


class EntriesReply(msgspec.Struct, frozen=True, gc=False):
    """`state` is HELD, ABSENT or DOUBTED, about (`last_index`, `last_term`).

    When held, `entries` continue after (`previous_index`, `previous_term`); they may
    stop early for size, or be empty when the peer compacted them.
    """

    sender: int
    to: int
    term: int
    state: int
    last_index: int
    last_term: int
    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]


Message: TypeAlias = (
    RequestPreVote
    | PreVoteReply
    | RequestVote
    | RequestVoteReply
    | AppendEntries
    | AppendEntriesReply
    | Commit
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | TimeoutNow
    | ReadIndex
    | ReadIndexReply
    | RequestEntries
    | EntriesReply
)
