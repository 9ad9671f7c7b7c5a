"""What a node says of itself to the log: not again and again what changes nothing."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node.inside import Refused, Sayings
from quorate.node.roster import Roster
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    Announce,
    ErrorCode,
    Outcome,
    RequestKind,
    encode_error,
    error_reply,
)

HOUR_S = 3600
TICKS_A_SECOND = 100
CODES = [None, ErrorCode.MEMBER_EXISTS, ErrorCode.MEMBER_NOT_FOUND]


class Node:
    """Its log takes, or refuses, all that it says; it never applies any of it."""

    def __init__(self, code: ErrorCode | None) -> None:
        self.code = code
        self.said = 0
        self.member_id = 2
        self.stopping = False
        self.work: list[Any] = []
        self.config = SimpleNamespace(
            peer=SimpleNamespace(dial={}),
            name="n2",
            peer_address="h:1",
            client_url="http://h:2",
        )
        table = SimpleNamespace(
            version=0,
            members={},
            gone={},
            caretaker=SimpleNamespace(decisions=()),
            versions=SimpleNamespace(version=1),
        )
        raft = SimpleNamespace(
            leader_id=1, configuration=SimpleNamespace(members=lambda: (1, 2))
        )
        self.replica = SimpleNamespace(
            database=SimpleNamespace(member_table=table), raft=raft, leading=False
        )
        self.transport = SimpleNamespace(known=list)

    def submit(
        self, sink: Any, number: int, kind: RequestKind, *_: object, own: bool
    ) -> None:
        assert own
        self.said += 1
        if self.code is None:
            sink.reply(number, kind, OK, b"")
            return
        error = error_reply(self.code, Outcome.NOT_APPLIED, "no")
        sink.reply(number, kind, REFUSED, encode_error(error, DEFAULT_LIMITS))

    def background(self, work: Any) -> None:
        self.work.append(work)


async def hours(node: Node, count: int) -> None:
    """So many go by, in ticks of the node's loop."""
    roster = Roster(cast(Any, node))
    ticks = 0
    roster.sayings.clock_s = lambda: ticks / TICKS_A_SECOND
    for _ in range(count * HOUR_S * TICKS_A_SECOND // 50):
        ticks += 50
        roster.ticks += 49
        roster.tick()
        while node.work:
            await node.work.pop()


@pytest.mark.parametrize("code", CODES)
async def test_what_the_log_has_had_is_said_again_ever_more_seldom(
    code: ErrorCode | None,
) -> None:
    """Story: a member whose name another one had said twice a second what its name was,
    and so did one that was far behind: each time an entry in everybody's log.
    """
    node = Node(code)
    await hours(node, 1)
    assert 60 <= node.said <= 70


async def test_what_came_into_no_log_is_said_again_at_once() -> None:
    node = Node(ErrorCode.NO_LEADER)
    await hours(node, 1)
    assert node.said == 2 * HOUR_S


async def test_what_is_new_is_said_at_once() -> None:
    node = Node(None)
    sayings = Sayings(cast(Any, node), lambda: 0.0)
    here, there = (Announce(2, "n2", place, "http://h:2") for place in ("a:1", "b:1"))
    assert sayings.due(here)
    await sayings.say(here)
    assert not sayings.due(here)
    assert sayings.due(there)
    node.code = ErrorCode.MEMBER_EXISTS
    with pytest.raises(Refused):
        await sayings.say(there)
    assert not sayings.due(there)
