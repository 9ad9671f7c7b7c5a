"""Did it happen? Every way in which a write can end, and what is asked again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from quorate.client import (
    AsyncClient,
    Closed,
    Compacted,
    DeadlineExceeded,
    Fenced,
    Forbidden,
    FutureRevision,
    InvalidRequest,
    LastVoter,
    LeaseExists,
    LeaseNotFound,
    MemberExists,
    MemberNotFound,
    NoSpace,
    Overloaded,
    PreconditionFailed,
    QuorateError,
    QuorumAtRisk,
    Rejected,
    ServerFault,
    TokenRefused,
    TooBusy,
    TooLarge,
    TooManyMembers,
    TooStale,
    Unauthenticated,
    Unavailable,
    Unknown,
    Unsupported,
)
from quorate.wire import (
    OK,
    ErrorCode,
    Outcome,
    RequestFrame,
    RequestKind,
    encode_reply,
    encode_write_reply,
)

from .fake_node import (
    FakeNode,
    Session,
    hanging_up,
    hello_bytes,
    mute,
    plain,
    refusing,
    running,
)

Write = Callable[[AsyncClient, float], Awaitable[object]]


async def put(kv: AsyncClient, timeout: float) -> object:
    return await kv.put("k", "v", timeout=timeout)


async def delete(kv: AsyncClient, timeout: float) -> object:
    return await kv.delete("k", timeout=timeout)


each_write = pytest.mark.parametrize("write", [put, delete])


@each_write
async def test_a_write_that_was_answered_is_done(write: Write) -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await write(kv, 5.0)
        assert len(node.requests) == 1


@each_write
async def test_a_write_whose_connection_broke_is_unknown_and_not_sent_again(
    write: Write,
) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = hanging_up
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown, match="connection was lost") as caught:
            await write(kv, 5.0)
        assert caught.value.outcome == "unknown"
        assert not caught.value.retryable
        assert (len(node.requests), len(other.requests)) == (1, 0)
        # The next call goes to the other node at once.
        await write(kv, 5.0)
        assert (len(node.requests), len(other.requests)) == (1, 1)


@each_write
async def test_a_write_whose_reply_was_cut_off_is_unknown(write: Write) -> None:
    def cut_off(session: Session, frame: RequestFrame) -> None:
        reply = encode_reply(frame.kind, frame.request_id, OK, encode_write_reply(2, 1))
        session.transport.write(reply[:-1])
        session.transport.close()

    node = FakeNode()
    node.answer = cut_off
    async with running(node) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown):
            await write(kv, 5.0)
        assert len(node.requests) == 1


async def connected(kv: AsyncClient, node: FakeNode) -> None:
    """Connect while there is time, so that a short deadline is about the reply."""
    await kv.put("warm", "up")
    node.requests.clear()


@each_write
async def test_a_write_that_is_never_answered_is_unknown_at_its_deadline(
    write: Write,
) -> None:
    node, other = FakeNode(), FakeNode()
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        await connected(kv, node)
        node.answer = mute
        with pytest.raises(Unknown, match="no answer before the deadline"):
            await write(kv, 0.03)
        assert (len(node.requests), len(other.requests)) == (1, 0)


MALFORMED = {
    "too short": encode_reply(RequestKind.WRITE, 1, OK, b"short"),
    "another type": encode_reply(RequestKind.GET, 1, OK, encode_write_reply(2, 1)),
    "no frame": b"\xff" * 16,
    "unknown error": encode_reply(RequestKind.WRITE, 1, 1, bytes(12)),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_write_with_a_malformed_reply_is_unknown(name: str) -> None:
    node = FakeNode()
    node.answer = lambda session, frame: session.transport.write(MALFORMED[name])
    async with running(node) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown):
            await kv.put("k", "v")
        assert len(node.requests) == 1
        # The stream can't be trusted any more: the client has hung up.
        await node.wait_for(lambda: not node.sessions[0].open)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN),
        (ErrorCode.NO_LEADER, Outcome.UNKNOWN),
        (ErrorCode.STOPPING, Outcome.UNKNOWN),
        (ErrorCode.INTERNAL, Outcome.UNKNOWN),
        # A node that does not say whether it happened has not said that it did not.
        (ErrorCode.NO_LEADER, Outcome.NONE),
    ],
)
async def test_a_write_that_the_node_does_not_deny_is_unknown_and_not_sent_again(
    code: ErrorCode, outcome: Outcome
) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = refusing(code, outcome)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown, match=code.name.lower()):
            await kv.put("k", "v")
        assert (len(node.requests), len(other.requests)) == (1, 0)


FINAL = [
    (ErrorCode.INVALID_REQUEST, InvalidRequest, False),
    (ErrorCode.KEY_TOO_LONG, TooLarge, False),
    (ErrorCode.VALUE_TOO_LARGE, TooLarge, False),
    (ErrorCode.REQUEST_TOO_LARGE, TooLarge, False),
    (ErrorCode.PRECONDITION_FAILED, PreconditionFailed, False),
    (ErrorCode.NO_SPACE, NoSpace, True),
    (ErrorCode.UNSUPPORTED, Unsupported, False),
    (ErrorCode.INTERNAL, ServerFault, False),
    (ErrorCode.FORBIDDEN, Forbidden, False),
    (ErrorCode.COMPACTED, Compacted, False),
    (ErrorCode.FUTURE_REVISION, FutureRevision, False),
    (ErrorCode.LEASE_NOT_FOUND, LeaseNotFound, False),
    (ErrorCode.LEASE_EXISTS, LeaseExists, False),
    (ErrorCode.TOO_MANY_KEYS, TooLarge, False),
    (ErrorCode.FENCED, Fenced, False),
    (ErrorCode.MEMBER_NOT_FOUND, MemberNotFound, False),
    (ErrorCode.MEMBER_EXISTS, MemberExists, False),
    (ErrorCode.TOO_MANY_MEMBERS, TooManyMembers, False),
    (ErrorCode.LAST_VOTER, LastVoter, False),
    (ErrorCode.QUORUM_AT_RISK, QuorumAtRisk, True),
    (ErrorCode.TOKEN_REFUSED, TokenRefused, False),
    (ErrorCode.UNAUTHENTICATED, Unauthenticated, False),
]


@pytest.mark.parametrize(("code", "error", "retryable"), FINAL)
async def test_a_refused_write_did_not_happen_and_is_not_asked_again(
    code: ErrorCode, error: type[QuorateError], retryable: bool
) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = refusing(code, Outcome.NOT_APPLIED, 42)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        with pytest.raises(error, match=f"told so: {code.name.lower()}") as caught:
            await kv.put("k", "v")
        assert isinstance(caught.value, Rejected)
        assert caught.value.outcome == "not_applied"
        assert caught.value.retryable == retryable
        if isinstance(caught.value, PreconditionFailed | Compacted | FutureRevision):
            assert caught.value.revision == 42
        assert (len(node.requests), len(other.requests)) == (1, 0)


RETRIED = [
    (ErrorCode.NO_LEADER, Unavailable),
    (ErrorCode.TOO_BUSY, Overloaded),
    (ErrorCode.STOPPING, Unavailable),
    (ErrorCode.TOO_STALE, TooStale),
    (ErrorCode.DAMAGED, Unavailable),
    (ErrorCode.DEADLINE_EXCEEDED, Unavailable),
]
RETRIED_CODES = [code for code, _ in RETRIED]


def test_every_error_code_is_either_final_retried_or_unknown() -> None:
    named = [code for code, _, _ in FINAL] + RETRIED_CODES
    # Never the end of a call: tests/client/test_sessions.py.
    named.append(ErrorCode.SESSION_NOT_FOUND)
    assert sorted([*named, ErrorCode.UNKNOWN_OUTCOME]) == list(ErrorCode)


@pytest.mark.parametrize("code", RETRIED_CODES)
async def test_a_write_that_was_not_applied_is_asked_of_the_next_node(
    code: ErrorCode,
) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = refusing(code)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        assert await kv.put("k", "v") == 2
        assert await kv.put("k", "w") == 3
        # The node that worked last is preferred.
        assert (len(node.requests), len(other.requests)) == (1, 2)


@pytest.mark.parametrize(("code", "error"), RETRIED)
async def test_a_write_that_no_node_takes_did_not_happen_at_the_deadline(
    code: ErrorCode, error: type[QuorateError]
) -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await connected(kv, node)
        node.answer = refusing(code)
        with pytest.raises(error, match=node.endpoint) as caught:
            await kv.put("k", "v", timeout=0.24)
        assert caught.value.outcome == "not_applied"
        assert caught.value.retryable
        assert len(node.requests) >= 1


async def test_a_write_that_nobody_can_be_asked_for_is_unavailable() -> None:
    node = FakeNode()
    async with running(node) as endpoints:
        pass
    async with plain(endpoints, timeout=0.05) as kv:
        with pytest.raises(Unavailable, match=node.endpoint) as caught:
            await kv.put("k", "v")
        assert caught.value.outcome == "not_applied"
        assert caught.value.retryable


async def test_a_refused_connection_is_answered_by_the_next_node() -> None:
    node, other = FakeNode(), FakeNode()
    async with running(node, other) as endpoints:
        await node.stop()
        async with plain(endpoints) as kv:
            assert await kv.put("k", "v") == 2


async def test_a_node_that_comes_back_before_the_deadline_is_found() -> None:
    node = FakeNode()
    async with running(node) as endpoints:
        await node.stop()
        tried = asyncio.Event()

        def jitter() -> float:
            tried.set()
            return 0.0

        async with plain(endpoints, jitter=jitter) as kv:
            tried.clear()
            writing = asyncio.create_task(kv.put("k", "v"))
            await tried.wait()
            await node.start()
            assert await writing == 2


def silent_hello(node: FakeNode) -> None:
    node.hello = b""


def eof_before_hello(node: FakeNode) -> None:
    node.on_connect = lambda session: session.transport.close()


def reset_before_hello(node: FakeNode) -> None:
    node.on_connect = lambda session: session.transport.abort()


def half_a_hello(node: FakeNode) -> None:
    def hang_up(session: Session) -> None:
        session.transport.write(hello_bytes()[:-1])
        session.transport.close()

    node.on_connect = hang_up


def garbage_hello(node: FakeNode) -> None:
    node.hello = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def no_common_version(node: FakeNode) -> None:
    node.hello = b"\xabQRT" + bytes(4)


def unoffered_version(node: FakeNode) -> None:
    node.hello = b"\xabQRT\x02" + hello_bytes()[5:]


HELLOS = [
    (silent_hello, "not connected within"),
    (eof_before_hello, "closed the connection before its hello"),
    (reset_before_hello, "closed the connection before its hello"),
    (half_a_hello, "closed the connection before its hello"),
    (garbage_hello, "does not speak this protocol"),
    (no_common_version, "no protocol version of ours"),
    (unoffered_version, "version 2"),
]


each_hello = pytest.mark.parametrize(("misbehave", "reason"), HELLOS)


@each_hello
async def test_a_write_to_a_node_without_a_hello_never_leaves(
    misbehave: Callable[[FakeNode], None], reason: str
) -> None:
    node = FakeNode()
    misbehave(node)
    async with running(node) as endpoint, plain(endpoint) as kv:
        with pytest.raises(Unavailable):
            await kv.put("k", "v", timeout=0.05)
        # Asked once, without a race against the deadline: the reason is told.
        patience = 0.05 if misbehave is silent_hello else 5.0
        with pytest.raises(Unavailable, match=reason):
            await kv.status(endpoint, timeout=patience)
        assert node.requests == []


@each_hello
async def test_a_node_without_a_hello_is_passed_over(
    misbehave: Callable[[FakeNode], None], reason: str
) -> None:
    node, other = FakeNode(), FakeNode()
    misbehave(node)
    # Half of this is spent on a node that says nothing at all.
    patience = 0.4 if misbehave is silent_hello else 5.0
    async with (
        running(node, other) as endpoints,
        plain(endpoints, timeout=patience) as kv,
    ):
        assert await kv.put("k", "v") == 2, reason
        assert (len(node.requests), len(other.requests)) == (0, 1)


async def test_a_wrong_protocol_is_told_without_waiting_for_the_deadline() -> None:
    node = FakeNode()
    garbage_hello(node)
    async with (
        running(node) as endpoints,
        asyncio.timeout(5),
        plain(endpoints, timeout=600) as kv,
    ):
        with pytest.raises(Unavailable, match="no quorate node answers there"):
            await kv.put("k", "v")


async def test_a_hello_that_comes_in_pieces_is_understood() -> None:
    pieces = [bytes([byte]) for byte in hello_bytes()]
    node = FakeNode()
    node.hello = b""

    def dribble(session: Session) -> None:
        if pieces:
            session.transport.write(pieces.pop(0))
            asyncio.get_running_loop().call_soon(dribble, session)

    node.on_connect = dribble
    async with running(node) as endpoints, plain(endpoints) as kv:
        assert await kv.put("k", "v") == 2


async def test_a_node_of_another_cluster_is_not_asked() -> None:
    node, stranger = FakeNode(), FakeNode()
    stranger.hello = hello_bytes(cluster_id=0xC2)
    async with running(node, stranger) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "v")
        await node.stop()
        with pytest.raises(Unavailable, match="belongs to cluster"):
            await kv.status(stranger.endpoint)
        with pytest.raises(Unavailable):
            await kv.put("k", "v", timeout=0.05)
        assert stranger.requests == []


async def test_who_was_asked_once_does_not_say_which_cluster_it_is() -> None:
    """Story: its nodes were learnt, and writes went to a cluster nobody had named."""
    node, stranger = FakeNode(), FakeNode()
    stranger.hello = hello_bytes(cluster_id=0xC2)
    async with running(node, stranger), plain(node.endpoint) as kv:
        await kv.status(stranger.endpoint)
        assert await kv.put("k", "v") == 2
        assert [*kv.endpoints] == [node.endpoint]


async def test_an_error_for_the_whole_connection_makes_its_writes_unknown() -> None:
    def end(session: Session, frame: RequestFrame) -> None:
        session.refuse(frame, ErrorCode.INVALID_REQUEST, request_id=0)

    node = FakeNode()
    node.answer = end
    async with running(node) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown, match="the node ended the connection: told so"):
            await kv.put("k", "v")


async def test_replies_before_garbage_still_count() -> None:
    def good_then_garbage(session: Session, frame: RequestFrame) -> None:
        body = encode_write_reply(9, 1)
        good = encode_reply(frame.kind, frame.request_id, OK, body)
        session.transport.write(good + b"\xff" * 12)

    node = FakeNode()
    node.answer = good_then_garbage
    async with running(node) as endpoints, plain(endpoints) as kv:
        assert await kv.put("k", "v") == 9


async def test_a_request_over_the_nodes_limit_never_leaves() -> None:
    node = FakeNode()
    node.hello = hello_bytes(request_bytes_max=100)
    async with running(node) as endpoints, plain(endpoints) as kv:
        fits = 100 + 52 - 8 - 1
        await kv.put("k", b"v" * fits)
        with pytest.raises(TooLarge, match="over the node's 152"):
            await kv.put("k", b"v" * (fits + 1))
        assert len(node.requests) == 1
        # The connection, and whoever shares it, is unharmed.
        assert node.sessions[0].open


async def test_too_many_calls_in_flight_are_refused_at_once() -> None:
    node = FakeNode()
    node.answer = mute
    async with (
        running(node) as endpoints,
        plain(endpoints, in_flight_max=2) as kv,
    ):
        held = [asyncio.create_task(kv.put("k", "v")) for _ in range(2)]
        await node.wait_for(lambda: len(node.requests) == 2)
        with pytest.raises(TooBusy, match="2 calls"):
            await kv.put("k", "v")
        node.answer = node.serve
        for frame in node.requests:
            node.serve(node.sessions[0], frame)
        assert await asyncio.gather(*held) == [2, 3]
        assert await kv.put("k", "v") == 4


async def test_closing_ends_calls_in_flight_as_unknown() -> None:
    node = FakeNode()
    node.answer = mute
    async with running(node) as endpoints:
        kv = plain(endpoints)
        writing = asyncio.create_task(kv.put("k", "v"))
        reading = asyncio.create_task(kv.get("k"))
        await node.wait_for(lambda: len(node.requests) == 2)
        await kv.close()
        assert writing.done()
        assert reading.done()
        with pytest.raises(Unknown, match="closed"):
            await writing
        with pytest.raises(Closed, match="closed"):
            await reading
        with pytest.raises(Closed, match="closed"):
            await kv.put("k", "v")
        await kv.close()


async def test_closing_ends_calls_that_wait_for_a_connection_or_a_pause() -> None:
    node = FakeNode()
    silent_hello(node)
    async with running(node) as endpoints:
        kv = plain(endpoints, timeout=600)
        writing = asyncio.create_task(kv.put("k", "v"))
        await node.wait_for(lambda: bool(node.sessions))
        await kv.close()
        with pytest.raises(Unavailable):
            await writing
        pausing = asyncio.Event()

        def jitter() -> float:
            pausing.set()
            return 0.999

        await node.stop()
        kv = plain(endpoints, timeout=600, jitter=jitter)
        pausing.clear()
        writing = asyncio.create_task(kv.put("k", "v"))
        await pausing.wait()
        await kv.close()
        assert writing.done()
        with pytest.raises(Unavailable):
            await writing


async def test_a_cancelled_call_does_not_disturb_the_others() -> None:
    node = FakeNode()
    node.answer = mute
    async with running(node) as endpoints, plain(endpoints) as kv:
        given_up = asyncio.create_task(kv.put("a", "v"))
        kept = asyncio.create_task(kv.put("b", "v"))
        await node.wait_for(lambda: len(node.requests) == 2)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        for frame in node.requests:
            node.serve(node.sessions[0], frame)
        assert await kept == 3


async def test_a_call_that_is_cancelled_while_connecting_spoils_nothing() -> None:
    node = FakeNode()
    silent_hello(node)
    async with running(node) as endpoints, plain(endpoints) as kv:
        given_up = asyncio.create_task(kv.put("a", "v"))
        await node.wait_for(lambda: bool(node.sessions) and node.chunks == 1)
        kept = asyncio.create_task(kv.put("b", "v"))
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        node.sessions[0].transport.write(hello_bytes())
        assert await kept == 2
        assert len(node.sessions) == 1


async def test_the_node_is_told_a_little_less_than_the_deadline() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "v", timeout=10)
        await kv.put("k", "v", timeout=0.5)
        told = [frame.timeout_ms for frame in node.requests]
        assert 9000 < told[0] <= 9800
        assert 1 <= told[1] <= 450


async def test_a_read_that_is_never_answered_exceeds_its_deadline() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await connected(kv, node)
        node.answer = mute
        with pytest.raises(DeadlineExceeded) as caught:
            await kv.get("k", timeout=0.03)
        assert caught.value.outcome == "not_applied"
        assert caught.value.retryable


async def test_a_read_asks_another_node_when_the_first_is_mute() -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = mute
    async with (
        running(node, other) as endpoints,
        plain(endpoints, timeout=0.4) as kv,
    ):
        assert await kv.get("k") is None
        assert (len(node.requests), len(other.requests)) == (1, 1)


async def test_a_read_whose_connection_broke_is_asked_again() -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = hanging_up
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        assert await kv.get("k") is None
        assert (len(node.requests), len(other.requests)) == (1, 1)


async def test_a_read_with_a_malformed_reply_is_asked_of_the_next_node() -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = lambda session, frame: session.reply(frame, b"short")
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        assert await kv.get("k") is None
        assert (len(node.requests), len(other.requests)) == (1, 1)


async def test_a_read_that_stays_too_stale_says_so_at_its_deadline() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await connected(kv, node)
        node.answer = refusing(ErrorCode.TOO_STALE, Outcome.NONE)
        with pytest.raises(TooStale):
            await kv.get("k", level="bounded", max_staleness=1, timeout=0.05)


async def test_a_stopping_node_is_left_and_its_connection_closed() -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = refusing(ErrorCode.STOPPING)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "v")
        await node.wait_for(lambda: not node.sessions[0].open)
