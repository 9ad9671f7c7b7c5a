"""Elections: pre-vote, vote, and how voters answer.

Law: free functions over a Raft; sections 5.2, 5.4 of the paper, 4.2.3 and 9.6 of the
dissertation. A pre-vote changes nothing but the asker's own role (I-11a); a vote is
durable before anybody hears of it (I-2), the candidate's own included.
"""

from typing import TYPE_CHECKING

from . import leader, quorum, rules
from .messages import (
    PreVoteReply,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
)
from .roles import Role

if TYPE_CHECKING:
    from .core import Raft


def start_pre_vote(raft: "Raft", reason: str) -> None:
    """Ask whether an election could be won, without disturbing anybody."""
    raft.reset_election_timer()
    # I-11c: it no longer claims to hear a leader, whether it may campaign or not;
    # else a learner's or doubter's restarted timer would hold votes back for ever.
    raft.leader_id = 0
    raft.acknowledged = None
    raft.fail_waiting_reads()
    if not _may_campaign(raft):
        return
    raft.role = Role.PRE_CANDIDATE
    raft.votes = {raft.id: True}
    raft.report(reason)
    if quorum.won(raft.configuration, raft.votes):
        start_election(raft, transfer=False)
        return
    last_term, last_index = rules.own_last(raft.last(), raft.doubt)
    for voter in raft.configuration.all_voters():
        if voter != raft.id:
            raft.send(
                RequestPreVote(raft.id, voter, raft.term + 1, last_index, last_term)
            )


def start_election(raft: "Raft", transfer: bool) -> None:
    """Become a candidate in a new term; the own vote counts once it is durable."""
    if not _may_campaign(raft):
        return
    raft.reset_election_timer()
    raft.role = Role.CANDIDATE
    raft.leader_id = 0
    raft.acknowledged = None
    raft.fail_waiting_reads()
    raft.term += 1
    raft.vote = raft.id
    raft.hard_dirty = True
    raft.votes = {}
    raft.report("leadership transfer" if transfer else "won the pre-vote")
    last_term, last_index = raft.last()
    for voter in raft.configuration.all_voters():
        if voter != raft.id:
            raft.send(
                RequestVote(raft.id, voter, raft.term, last_index, last_term, transfer)
            )


def _may_campaign(raft: "Raft") -> bool:
    if raft.disk_stalled():
        return False
    voter = _may_be_voter(raft)
    return rules.may_campaign(voter, raft.doubt is not None)


def _may_be_voter(raft: "Raft") -> bool:
    """A voter of the effective configuration, or of one that may still be the last.

    Whoever was removed by an entry that has not committed may be the only one to have
    it: nobody else could get its vote, so it must be able to lead once more (4.2.2).
    """
    for index, configuration in reversed(raft.configurations):
        if configuration.is_voter(raft.id):
            return True
        if not rules.may_be_undone(index, raft.log.commit_index):
            return False
    return False


def count_own_vote(raft: "Raft") -> None:
    """The own vote is durable now."""
    if raft.configuration.is_voter(raft.id):
        raft.votes[raft.id] = True
    _count(raft)


def on_request_pre_vote(raft: "Raft", message: RequestPreVote) -> None:
    """I-11: never changes a term; a refusal carries ours, so that the asker learns it.

    A learner answers too: it may be a voter by a configuration that it lacks (I-47).
    """
    granted = (
        message.term > raft.term
        and not raft.hears_leader()
        and rules.log_up_to_date(
            rules.own_last(raft.last(), raft.doubt),
            (message.last_term, message.last_index),
        )
    )
    raft.send(PreVoteReply(raft.id, message.sender, raft.term, message.term, granted))


def on_pre_vote_reply(raft: "Raft", message: PreVoteReply) -> None:
    if raft.role is not Role.PRE_CANDIDATE or message.asked_term != raft.term + 1:
        return
    raft.votes[message.sender] = message.granted
    verdict = quorum.won(raft.configuration, raft.votes)
    if verdict:
        start_election(raft, transfer=False)
    elif verdict is False:
        raft.become_follower(raft.term, 0, "lost the pre-vote")


def on_request_vote(raft: "Raft", message: RequestVote) -> None:
    """Terms are equal here. The vote is written down before the reply leaves."""
    granted = rules.grants_vote(
        rules.own_last(raft.last(), raft.doubt),
        (message.last_term, message.last_index),
        raft.vote,
        message.sender,
    )
    if granted and raft.leader_id:
        # The term has a leader already, which is not the asker: it can't win.
        granted = raft.vote == message.sender
    if granted:
        raft.reset_election_timer()
        if raft.vote != message.sender:
            raft.vote = message.sender
            raft.hard_dirty = True
    raft.send(RequestVoteReply(raft.id, message.sender, raft.term, granted))


def on_vote_reply(raft: "Raft", message: RequestVoteReply) -> None:
    if raft.role is Role.CANDIDATE:
        raft.votes[message.sender] = message.granted
        _count(raft)


def _count(raft: "Raft") -> None:
    verdict = quorum.won(raft.configuration, raft.votes)
    if verdict:
        leader.become_leader(raft)
    elif verdict is False:
        raft.become_follower(raft.term, 0, "lost the election")
