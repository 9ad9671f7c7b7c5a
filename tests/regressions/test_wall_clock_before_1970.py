"""Found by the simulator's wall clock jumps.

A machine whose battery is empty may wake up before 1970. The envelope of an entry holds
the wall time as an unsigned number, for people to read; encoding a negative one raised
struct.error inside the leader's turn, and that ended the node: each that was elected in
turn, if their clocks were alike. Now a time that has no room there is 0, "unknown".
"""

import pytest
from quorate.node.replica import Request
from quorate.wire import OK, RequestKind, encode_put

from .lone_replica import leading_replica, turn_durably


class Sink:
    def __init__(self) -> None:
        self.statuses: list[int] = []

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del request_id, kind, body
        self.statuses.append(status)


@pytest.mark.parametrize("wall_ms", [-1, -(10**15), 1 << 63, 1 << 70])
def test_a_leader_writes_whatever_its_wall_clock_says(wall_ms: int) -> None:
    replica, sink = leading_replica(), Sink()
    replica.advance(replica.now_ms + 1, wall_ms)
    body = encode_put(b"key", b"value")
    replica.submit(Request(sink, 1, RequestKind.WRITE, body, replica.now_ms + 1000))
    for _ in range(3):
        for reply in turn_durably(replica).replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
    assert sink.statuses == [OK]
