"""An assertion that the simulator refuted (I-54).

Writes above the commit index are answered "unknown" when a leader loses the lead, so
what is applied at the index of a waiting write seemed to be that write for certain, and
was asserted for an hour. But between two turns a leader can be deposed, take another
leader's entries in the place of its own, and learn that they are committed. Then its
writes lie below the commit index, and other entries are applied in their places: they
did not happen, and that is what the clients must hear.
"""

from quorate.node.replica import Replica, Request
from quorate.raft import COMMAND, AppendEntries, Entry
from quorate.wire import (
    DEFAULT_LIMITS,
    EnvelopeKind,
    Outcome,
    RequestKind,
    decode_error,
    encode_envelope_head,
    encode_put,
)

from .lone_replica import leading_replica, turn_durably


class Sink:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del request_id, kind, status
        self.bodies.append(body)


def deposed_replica() -> tuple[Replica, Sink]:
    """It proposed a write, and another leader's entry has come in its place."""
    replica, sink = leading_replica(), Sink()
    body = encode_put(b"key", b"mine")
    replica.submit(Request(sink, 1, RequestKind.WRITE, body, replica.now_ms + 1000))
    log, term = replica.raft.log, replica.raft.term
    before = log.last_index
    replica.turn(False)
    assert log.last_index == before + 1
    head = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, 0, 0)
    other = Entry(before + 1, term + 1, COMMAND, head + encode_put(b"key", b"theirs"))
    previous = log.term(before)
    assert previous is not None
    replica.step(AppendEntries(2, 1, term + 1, before, previous, before + 1, (other,)))
    return replica, sink


def test_a_write_whose_place_another_leader_took_did_not_happen() -> None:
    replica, sink = deposed_replica()
    assert not replica.raft.is_leader
    for _ in range(3):
        for reply in turn_durably(replica).replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
    (answer,) = sink.bodies
    assert decode_error(answer, DEFAULT_LIMITS).outcome == Outcome.NOT_APPLIED
    record = replica.database.get(b"key")
    assert record is not None
    assert record.value == b"theirs"
