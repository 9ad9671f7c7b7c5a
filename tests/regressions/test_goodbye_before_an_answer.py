"""Found by the simulator's polite stops (I-56): a write was applied twice.

A node that stops says goodbye to its peers, and a peer that hears it sends again, to
the next leader, whatever it had handed on and got no answer for: those requests were
not taken. But the node had taken some. It had proposed them, then lost the leadership
in the hand-over, and they were waiting for their commit when the time to stop was up.
Their answers ("nobody knows") were made after the goodbye and never sent, so the peer
sent the write again, and both were applied. Now `end` hands out the answers to peers,
and the shells send them before the goodbye.
"""

from quorate.node.replica import ForwardRequest
from quorate.wire import DEFAULT_LIMITS, Outcome, decode_error, encode_put

from .lone_replica import leading_replica


def test_what_was_proposed_for_a_peer_is_answered_before_the_goodbye() -> None:
    replica = leading_replica()
    body = encode_put(b"key", b"value")
    replica.step(ForwardRequest(sender=2, to=1, id=77, timeout_ms=1000, body=body))
    effects = replica.turn(True)
    assert effects.batch is not None, "the write is on its way to the disk"
    replies, answers = replica.end()
    assert not replies
    (answer,) = answers
    assert (answer.to, answer.id) == (2, 77)
    assert decode_error(answer.body, DEFAULT_LIMITS).outcome == Outcome.UNKNOWN


def test_what_was_not_proposed_yet_is_refused_before_the_goodbye() -> None:
    replica = leading_replica()
    body = encode_put(b"key", b"value")
    replica.step(ForwardRequest(sender=2, to=1, id=78, timeout_ms=1000, body=body))
    _, (answer,) = replica.end()
    assert decode_error(answer.body, DEFAULT_LIMITS).outcome == Outcome.NOT_APPLIED
