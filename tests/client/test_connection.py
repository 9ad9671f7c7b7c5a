"""One connection: corked writes, back-pressure, deadlines, what has left."""

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.client.connection import (
    SILENCE_MS_MIN,
    WRITE_BYTES_MAX,
    Broken,
    Connection,
    Expired,
    NotSent,
)
from quorate.wire import (
    CLIENT_HELLO_BYTES,
    DEFAULT_LIMITS,
    OK,
    ReplyFrame,
    RequestFrame,
    RequestKind,
    RequestParser,
    encode_reply,
)

from .fake_node import hello_bytes

FAR = 1e9


class FakeTransport:
    """Keeps what is written; congested once it has taken `room` bytes."""

    def __init__(self, connection: Connection, room: float = float("inf")) -> None:
        self.connection = connection
        self.room = room
        self.writes: list[bytes] = []
        self.closed = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.room -= len(data)
        if self.room <= 0:
            self.connection.pause_writing()

    def drain(self, room: float) -> None:
        self.room = room
        self.connection.resume_writing()

    def requests(self) -> list[RequestFrame]:
        stream = b"".join(self.writes)[CLIENT_HELLO_BYTES:]
        return RequestParser(DEFAULT_LIMITS).feed(stream)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > WRITE_BYTES_MAX

    def get_write_buffer_size(self) -> int:
        return 0 if self.room > 0 else 1

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def opened(room: float = float("inf")) -> tuple[Connection, FakeTransport]:
    connection = Connection(asyncio.get_running_loop())
    transport = FakeTransport(connection)
    connection.connection_made(cast(asyncio.Transport, transport))
    connection.data_received(hello_bytes())
    assert connection.usable
    transport.room = room
    return connection, transport


def ask(
    connection: Connection, body: bytes = b"", deadline: float = FAR
) -> asyncio.Future[ReplyFrame]:
    return connection.request(RequestKind.WRITE, body, 1000, deadline)


async def loop_turn() -> None:
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


async def test_the_requests_of_one_loop_turn_leave_in_one_write() -> None:
    connection, transport = opened()
    transport.writes.clear()
    for number in range(100):
        ask(connection, bytes([number]))
    assert transport.writes == []
    await loop_turn()
    assert len(transport.writes) == 1
    parsed = RequestParser(DEFAULT_LIMITS).feed(transport.writes[0])
    assert [frame.body for frame in parsed] == [bytes([n]) for n in range(100)]
    assert [frame.request_id for frame in parsed] == list(range(1, 101))


async def test_replies_in_any_order_find_their_requests() -> None:
    connection, _ = opened()
    futures = [ask(connection) for _ in range(10)]
    await loop_turn()
    for request_id in (3, 10, 1, 2, 9, 8, 7, 4, 6, 5):
        body = bytes([request_id])
        connection.data_received(encode_reply(RequestKind.WRITE, request_id, OK, body))
    got = [frame.body for frame in await asyncio.gather(*futures)]
    assert got == [bytes([number]) for number in range(1, 11)]


async def test_large_requests_are_written_in_chunks_until_the_transport_is_full() -> (
    None
):
    connection, transport = opened(room=2 * WRITE_BYTES_MAX)
    half = bytes(WRITE_BYTES_MAX // 2)
    futures = [ask(connection, half) for _ in range(8)]
    await loop_turn()
    sent = len(transport.requests())
    assert 2 <= sent <= 4
    assert max(map(len, transport.writes)) <= WRITE_BYTES_MAX
    # Requests that join the queue now do not jump it.
    futures.append(ask(connection, b"last"))
    await loop_turn()
    assert len(transport.requests()) == sent
    transport.drain(float("inf"))
    assert [frame.request_id for frame in transport.requests()] == list(range(1, 10))
    assert not any(future.done() for future in futures)


async def test_a_request_larger_than_a_chunk_leaves_whole() -> None:
    connection, transport = opened()
    body = bytes(3 * WRITE_BYTES_MAX)
    ask(connection, body)
    await loop_turn()
    assert transport.requests()[0].body == body


async def test_what_was_queued_when_the_connection_broke_was_not_sent() -> None:
    connection, transport = opened(room=1)
    written = ask(connection)
    await loop_turn()
    queued = ask(connection)
    await loop_turn()
    assert len(transport.requests()) == 1
    connection.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(Broken, match="reset"):
        await written
    with pytest.raises(NotSent, match="reset"):
        await queued


async def test_what_was_asked_in_the_turn_in_which_it_broke_was_not_sent() -> None:
    connection, transport = opened()
    queued = ask(connection)
    connection.connection_lost(None)
    with pytest.raises(NotSent):
        await queued
    await loop_turn()
    assert transport.requests() == []


async def test_what_is_cancelled_before_it_is_sent_is_never_sent() -> None:
    connection, transport = opened()
    asked = [ask(connection, bytes([number])) for number in range(4)]
    asked[1].cancel()
    asked[2].cancel()
    await loop_turn()
    assert [frame.body for frame in transport.requests()] == [b"\0", b"\3"]


async def test_what_is_cancelled_behind_a_full_transport_is_let_go_of() -> None:
    connection, transport = opened(room=1)
    first = ask(connection, b"first")
    await loop_turn()
    ask(connection, b"kept")
    cancelled = ask(connection, b"x" * 1000)
    await loop_turn()
    cancelled.cancel()
    connection.given_up()
    await loop_turn()
    assert len(connection._unsent) == 1
    assert len(connection._pending) == 2
    transport.drain(float("inf"))
    assert [frame.body for frame in transport.requests()] == [b"first", b"kept"]
    assert not first.done()


async def test_a_retired_connection_does_not_wait_for_what_was_cancelled() -> None:
    connection, transport = opened(room=1)
    ask(connection, b"first")
    await loop_turn()
    cancelled = ask(connection, b"cancelled")
    connection.retire()
    connection.data_received(encode_reply(RequestKind.WRITE, 1, OK, b""))
    assert not transport.is_closing()
    cancelled.cancel()
    connection.given_up()
    await loop_turn()
    assert transport.is_closing()


async def test_nothing_is_asked_of_a_connection_that_has_ended() -> None:
    connection, _ = opened()
    connection.connection_lost(None)
    with pytest.raises(NotSent):
        ask(connection)


async def test_a_deadline_tells_whether_the_request_had_left() -> None:
    connection, transport = opened(room=1)
    now = asyncio.get_running_loop().time()
    written = connection.request(RequestKind.WRITE, b"first", 9, now + 0.02)
    await loop_turn()
    queued = connection.request(RequestKind.WRITE, b"second", 9, now + 0.02)
    with pytest.raises(Expired):
        await written
    with pytest.raises(NotSent):
        await queued
    # What was said not to have been sent must never be sent after all.
    transport.drain(float("inf"))
    assert [frame.body for frame in transport.requests()] == [b"first"]


async def test_an_earlier_deadline_goes_before_a_later_one() -> None:
    connection, _ = opened()
    now = asyncio.get_running_loop().time()
    late = ask(connection, b"", now + 60)
    early = ask(connection, b"", now + 0.02)
    middle = ask(connection, b"", now + 0.04)
    with pytest.raises(Expired):
        await early
    assert not late.done()
    with pytest.raises(Expired):
        await middle
    assert not late.done()
    connection.data_received(encode_reply(RequestKind.WRITE, 1, OK, b"in time"))
    assert (await late).body == b"in time"


async def test_a_late_reply_is_ignored() -> None:
    connection, transport = opened()
    expired = ask(connection, b"", asyncio.get_running_loop().time() + 0.01)
    with pytest.raises(Expired):
        await expired
    connection.data_received(encode_reply(RequestKind.WRITE, 1, OK, b"late"))
    assert not transport.aborted


async def test_a_connection_that_fell_silent_is_retired() -> None:
    connection, transport = opened()
    expired = ask(connection, b"", asyncio.get_running_loop().time() + 0.01)
    with pytest.raises(Expired):
        await expired
    assert not connection.usable
    assert transport.closed


async def test_a_connection_that_is_only_slow_is_kept() -> None:
    connection, transport = opened()
    deadline = asyncio.get_running_loop().time() + 0.01
    expired = ask(connection, b"", deadline)
    answered = ask(connection)
    await loop_turn()
    connection.data_received(encode_reply(RequestKind.WRITE, 2, OK, b""))
    await answered
    with pytest.raises(Expired):
        await expired
    assert connection.usable
    assert not transport.closed


async def test_an_impatient_request_does_not_condemn_its_connection() -> None:
    connection, _ = opened()
    deadline = asyncio.get_running_loop().time() + 0.01
    expired = connection.request(RequestKind.GET, b"", 9, deadline)
    with pytest.raises(Expired):
        await expired
    assert connection.usable


def owing_since(connection: Connection, seconds: float) -> None:
    """As if the first deadline that was missed had been so long ago."""
    connection._owed_since -= seconds


async def missed(connection: Connection) -> None:
    """One impatient request that is not answered in time."""
    deadline = asyncio.get_running_loop().time() + 0.01
    with pytest.raises(Expired):
        await connection.request(RequestKind.GET, b"", 9, deadline)


async def test_a_connection_is_retired_when_impatient_requests_hear_nothing() -> None:
    """A peer that has vanished without a word was asked for ever by short requests."""
    connection, transport = opened()
    await missed(connection)
    await missed(connection)
    assert connection.usable
    owing_since(connection, SILENCE_MS_MIN / 1000)
    await missed(connection)
    assert not connection.usable
    assert transport.closed


async def test_a_far_node_that_answers_impatient_requests_late_is_kept() -> None:
    connection, _ = opened()
    await missed(connection)
    owing_since(connection, SILENCE_MS_MIN / 1000)
    connection.data_received(encode_reply(RequestKind.GET, 1, OK, b"late"))
    await missed(connection)
    assert connection.usable


async def test_a_retired_connection_waits_for_its_last_reply() -> None:
    connection, transport = opened()
    last = ask(connection)
    await loop_turn()
    connection.retire()
    assert not connection.usable
    assert not transport.closed
    connection.data_received(encode_reply(RequestKind.WRITE, 1, OK, b"bye"))
    assert (await last).body == b"bye"
    assert transport.closed


async def test_closing_does_not_wait_for_a_peer_that_never_reads() -> None:
    connection, transport = opened(room=1)
    written = ask(connection)
    await loop_turn()
    connection.close("enough")
    assert transport.aborted
    connection.connection_lost(None)
    with pytest.raises(Broken, match="enough"):
        await written
    assert connection.closed.done()


async def test_a_reply_to_what_has_not_left_ends_the_connection() -> None:
    connection, transport = opened()
    queued = ask(connection)
    connection.data_received(encode_reply(RequestKind.WRITE, 1, OK, b"prophecy"))
    assert transport.aborted
    connection.connection_lost(None)
    with pytest.raises(NotSent):
        await queued


async def test_request_ids_start_again_after_the_last_one_and_are_never_zero() -> None:
    connection, transport = opened()
    kept = ask(connection)
    connection._last_id = 2**32 - 2
    ask(connection)
    ask(connection)
    await loop_turn()
    ids = [frame.request_id for frame in transport.requests()]
    assert ids == [1, 2**32 - 1, 2]
    assert not kept.done()


async def test_a_hello_with_a_reply_behind_it_in_one_chunk_loses_nothing() -> None:
    connection = Connection(asyncio.get_running_loop())
    transport = FakeTransport(connection)
    connection.connection_made(cast(asyncio.Transport, transport))
    late = encode_reply(RequestKind.WRITE, 9, OK, b"to nobody")
    connection.data_received(hello_bytes() + late[:5])
    connection.data_received(late[5:])
    assert connection.usable
    assert not transport.aborted


@given(garbage=st.binary(max_size=60), greeted=st.booleans(), cut=st.integers(0, 60))
def test_garbage_ends_the_connection_and_never_raises(
    garbage: bytes, greeted: bool, cut: int
) -> None:
    async def feed() -> None:
        connection = Connection(asyncio.get_running_loop())
        transport = FakeTransport(connection)
        connection.connection_made(cast(asyncio.Transport, transport))
        asked: asyncio.Future[ReplyFrame] | None = None
        if greeted:
            connection.data_received(hello_bytes())
            asked = ask(connection)
            await loop_turn()
        for piece in (garbage[:cut], garbage[cut:]):
            if piece and not transport.is_closing():
                connection.data_received(piece)
        connection.connection_lost(None)
        assert connection.closed.done()
        if asked is not None:
            assert asked.done()
            assert asked.exception() is None or isinstance(asked.exception(), Broken)
        else:
            assert connection.hello.exception() is not None

    asyncio.run(feed())
