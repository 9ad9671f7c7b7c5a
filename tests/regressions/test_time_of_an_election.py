"""Cluster time jumped by the machine's uptime in the turn of an election.

The replica proposed what waited for a leader before it noted since when it led. These
writes got the time since 0, or since it had led before, in the place of none: in a real
node that is how long its machine has been up. The state keeps the largest time that it
has seen, so that it stood still from then on, until the leader's own had come as far;
a token to join that was made then was good for days. The simulator's machines had all
been up for no time when a world began, so that its checker found nothing; they have
been up for a week now, and nearly every seed found it.
"""

from quorate.raft import RequestPreVote
from quorate.wire import encode_put

from ..node.replica.together import TICK_MS, Together

A_DAY = 86_400_000 // TICK_MS


def test_who_is_elected_with_writes_waiting_begins_at_the_time_that_it_has() -> None:
    together = Together(up_ticks=A_DAY)
    began_ms = together.now_ms
    was = together.leader
    together.done(encode_put(b"a", b"1"))
    together.paused.add(was)
    waiting = [member for member in together.replicas if member != was]
    # For a while nobody is elected, and writes wait.
    together.loses = lambda message: isinstance(message, RequestPreVote)
    together.wait_for(
        lambda: all(not together.replicas[m].raft.leader_id for m in waiting)
    )
    numbers = [together.ask(encode_put(b"b", b"2"), at=member) for member in waiting]
    together.loses = lambda message: False
    together.other_leader(was)
    together.wait_for(lambda: all(together.answered(number) for number in numbers))
    elapsed_ms = together.now_ms - began_ms
    for member in waiting:
        assert together.replicas[member].database.cluster_time_ms <= elapsed_ms
