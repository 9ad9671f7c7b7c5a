"""Messages that are not judged by their term alone: doubts, pre-votes, vote requests.

Law: free functions over a Raft, called before the rules of terms.
"""

from typing import TYPE_CHECKING, Final

from . import candidate, doubt
from .messages import (
    EntriesReply,
    Message,
    PreVoteReply,
    RequestEntries,
    RequestPreVote,
    RequestVote,
)

if TYPE_CHECKING:
    from .core import Raft

# Their types, so that all others need one look-up.
OF_ANY_TERM: Final = frozenset(
    (EntriesReply, PreVoteReply, RequestEntries, RequestPreVote, RequestVote)
)


def step(raft: "Raft", message: Message) -> bool:
    """Take the message if its term does not matter; True when it needs no more."""
    match message:
        case RequestEntries():
            doubt.on_request_entries(raft, message)
        case EntriesReply():
            doubt.on_entries_reply(raft, message)
        case RequestPreVote():
            candidate.on_request_pre_vote(raft, message)
        case RequestVote():
            # I-12: a voter that hears its leader ignores a higher term, too.
            newer = message.term > raft.term
            return newer and not message.transfer and raft.hears_leader()
        case PreVoteReply():
            if message.term > raft.term:
                return False
            # The voter's own term may be behind the asker's: it still counts.
            candidate.on_pre_vote_reply(raft, message)
        case _:
            return False
    return True
