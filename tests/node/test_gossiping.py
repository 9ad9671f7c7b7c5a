"""The shell of gossip: what its ticks are told, what is dialled, what is ignored."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from quorate.node.address import Address, parse_address
from quorate.node.gossip import Claim, Message, News, Ping, Sync, Vitals, frame
from quorate.node.gossip.messages import State
from quorate.node.gossiping import BUFFER_BYTES_MAX, Gossiping, Heard
from quorate.node.node import Node
from quorate.node.peer_hello import Stream
from quorate.node.peer_session import Session

CLUSTER = 0xC1


class Wire:
    """A session that keeps what is written, or a peer's that is refused."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.written: list[bytes] = []
        self.refused: list[str] = []
        self.on_data: Callable[[bytes], None] = self.written.append

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        return True

    def refuse(self, reason: str) -> None:
        self.refused.append(reason)


class Room:
    """As much of a node as gossip touches, and a clock."""

    def __init__(self, *others: int) -> None:
        self.now_s = 100.0
        self.hints: list[tuple[int, Address]] = []
        self.links_made: list[tuple[int, Address]] = []
        self.raft = SimpleNamespace(log=SimpleNamespace(applied_index=42), leader_id=0)
        self.table = SimpleNamespace(gone={})
        self.dials: dict[str, str] = {}
        self.wires = {member: Wire() for member in others}
        links = {
            (member, Stream.GOSSIP): SimpleNamespace(connected=True, session=wire)
            for member, wire in self.wires.items()
        }
        node = SimpleNamespace(
            cluster_id=CLUSTER,
            member_id=1,
            identity=SimpleNamespace(boot_count=1),
            config=SimpleNamespace(peer_address="h1:1", client_url="http://h1:2"),
            random=random.Random(1),
            transport=SimpleNamespace(
                links=links,
                known=lambda: list(others),
                hint=self.hint,
            ),
            roster=SimpleNamespace(
                place_of=self.place_of, dials=self.dials, connect=self.connect
            ),
            replica=SimpleNamespace(
                raft=self.raft,
                database=SimpleNamespace(member_table=self.table),
            ),
        )
        self.gossiping = Gossiping(cast(Node, node), lambda: self.now_s)
        self.gossiping.start()

    def place_of(self, member: int) -> tuple[str, str, str]:
        return f"n{member}", "", ""

    def connect(self, member: int, name: str, address: str) -> None:
        assert name == f"n{member}"
        self.links_made.append((member, parse_address(address)))

    def hint(self, member: int, address: Address) -> None:
        self.hints.append((member, address))

    def hears(self, sender: int, *messages: Message) -> Wire:
        wire = Wire()
        self.gossiping.accept(sender, cast(Session, wire))
        for message in messages:
            wire.on_data(frame(message))
        return wire

    def runs(self, seconds: float) -> None:
        """The loop calls a hundred times a second."""
        for _ in range(round(seconds * 100)):
            self.now_s += 0.01
            self.gossiping.tick()


def claim(member: int, peer: str = "", state: State = State.ALIVE) -> Claim:
    accuser = 9 if state in (State.SUSPECT, State.DEAD) else 0
    vitals = Vitals(1, 0, 7, 40)
    return Claim(
        member, 1 << 24, state, accuser, peer or f"h{member}:1", "", "0.9", vitals
    )


def news(sender: int, *claims: Claim) -> News:
    return News(CLUSTER, sender, claims)


def test_what_is_heard_of_a_member_is_told_in_words() -> None:
    room = Room(2, 3)
    assert room.gossiping.heard_of(2) == Heard("unknown", "", 0, 0)
    room.hears(2, news(2, claim(2), claim(3, state=State.DEAD)))
    assert room.gossiping.heard_of(2) == Heard("alive", "0.9", 40, 7)
    assert room.gossiping.heard_of(3).health == "dead"
    assert room.gossiping.heard_of(1).health == "alive"


def test_where_a_member_says_it_is_is_handed_to_the_links_once() -> None:
    room = Room(2, 3)
    word = news(2, claim(2, "10.0.0.2:7500"), claim(3, "10.0.0.3:7500"))
    room.hears(2, word, word)
    expected = [(2, "10.0.0.2:7500"), (3, "10.0.0.3:7500")]
    assert room.hints == [(member, parse_address(text)) for member, text in expected]


def test_a_leader_whose_place_nobody_has_told_is_looked_for_by_gossip() -> None:
    room = Room(2)
    word = news(2, claim(3, "10.0.0.3:7500"), claim(4, "10.0.0.4:7500"))
    room.hears(2, word)
    assert room.links_made == []
    room.raft.leader_id = 3
    room.runs(0.1)
    assert set(room.links_made) == {(3, parse_address("10.0.0.3:7500"))}
    for known in (0, 1, 2):
        room.links_made.clear()
        room.raft.leader_id = known
        room.runs(0.1)
        assert room.links_made == []


def test_gossip_does_not_lead_around_what_is_configured() -> None:
    """The way may be a relay, and the only one."""
    room = Room(2, 3)
    room.dials["n2"] = "relay:1"
    room.hears(2, news(2, claim(2), claim(3)))
    assert [member for member, _ in room.hints] == [3]


@pytest.mark.parametrize("text", ["", "nowhere", "0.0.0.0:7500", "h:0", "h:1:2:x"])
def test_an_address_that_nobody_can_dial_is_no_hint(text: str) -> None:
    room = Room(2)
    vitals = Vitals(1, 0, 0, 0)
    room.hears(2, news(2, Claim(2, 1 << 24, State.ALIVE, 0, text, "", "", vitals)))
    assert room.hints == []


def test_a_member_that_the_log_does_not_know_is_not_dialled() -> None:
    room = Room(2)
    room.hears(2, news(2, claim(2), claim(77)))
    assert [member for member, _ in room.hints] == [2]


def test_garbage_another_cluster_and_another_name_end_the_stream_and_are_counted() -> (
    None
):
    room = Room(2)
    wires = [room.hears(2), room.hears(2), room.hears(2)]
    wires[0].on_data(b"\xff" * 50)
    wires[1].on_data(frame(News(CLUSTER + 1, 2, (claim(3),))))
    wires[2].on_data(frame(News(CLUSTER, 3, (claim(3),))))
    assert [len(wire.refused) for wire in wires] == [1, 1, 1]
    assert room.gossiping.refused == 3
    assert room.gossiping.heard_of(3).health == "unknown"


def test_a_member_is_asked_by_its_link_and_one_that_does_not_read_is_not() -> None:
    room = Room(2, 3)
    room.hears(2, news(2, claim(2), claim(3)))
    room.wires[3].waiting_bytes = BUFFER_BYTES_MAX
    room.runs(5)
    assert room.wires[2].written
    assert not room.wires[3].written


def test_a_loop_that_stood_still_is_told_to_gossip_and_shown_as_load() -> None:
    room = Room(2)
    room.runs(1)
    assert room.gossiping.gossip.health.strain == 0
    room.now_s += 3.0
    room.gossiping.tick()
    assert room.gossiping.gossip.health.strain > 0
    room.runs(1)
    assert room.gossiping.heard_of(1).lag_ms >= 3000
    assert room.gossiping.heard_of(1).applied_index == 42
    # It is forgotten after ten seconds.
    room.runs(11)
    assert room.gossiping.heard_of(1).lag_ms < 100


def test_the_time_before_the_start_is_no_lag() -> None:
    room = Room(2)
    room.now_s += 60
    room.gossiping.start()
    room.runs(0.2)
    assert room.gossiping.gossip.health.strain == 0


def test_who_was_removed_by_the_log_is_forgotten_by_gossip() -> None:
    room = Room(2, 3)
    room.hears(2, news(2, claim(2), claim(3)))
    room.table.gone[3] = object()
    room.runs(0.2)
    room.hears(2, news(2, claim(3)))
    assert room.gossiping.heard_of(3).health == "left"


def test_a_node_that_stops_says_that_it_has_left() -> None:
    room = Room(2)
    room.hears(2, news(2, claim(2)))
    room.gossiping.leave()
    assert room.gossiping.heard_of(1).health == "left"
    assert room.wires[2].written


def test_lies_of_every_kind_touch_nothing_but_hints() -> None:
    """I-66: the node is what it was; a call of anything else would be an error here."""
    dice = random.Random(5)
    room = Room(2, 3)
    kinds = (News, Ping, Sync)
    for _ in range(300):
        lies = tuple(
            claim(dice.randrange(1, 6), f"h{dice.randrange(9)}:1", dice.choice(STATES))
            for _ in range(3)
        )
        kind = dice.choice(kinds)
        if kind is Ping:
            room.hears(2, Ping(CLUSTER, 2, dice.randrange(99), lies))
        elif kind is Sync:
            room.hears(2, Sync(CLUSTER, 2, False, lies))
        else:
            room.hears(2, news(2, *lies))
        room.runs(0.1)
    assert {member for member, _ in room.hints} <= {2, 3}
    assert room.gossiping.heard_of(1).health == "alive"


STATES = list(State)
