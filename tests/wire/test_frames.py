"""Frames: cutting the stream anywhere changes nothing, and lengths are judged first."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    ErrorCode,
    Limits,
    ProtocolError,
    ReplyFrame,
    ReplyParser,
    RequestFrame,
    RequestKind,
    RequestParser,
    encode_reply,
    encode_request,
)

SMALL = Limits(
    key_bytes_max=8,
    value_bytes_max=16,
    request_bytes_max=100,
    range_bytes_max=16,
    timeout_ms_default=100,
    timeout_ms_max=1000,
)
LENGTH_MAX = 164  # request_bytes_max + 64
IDS = st.integers(1, 2**32 - 1)
KINDS = st.sampled_from([kind for kind in RequestKind if kind])
BODIES = st.binary(max_size=40)
REQUESTS = st.builds(RequestFrame, KINDS, IDS, st.integers(0, 600_000), BODIES)
REPLIES = st.builds(ReplyFrame, KINDS, st.sampled_from([OK, REFUSED]), IDS, BODIES)


def request_bytes(frame: RequestFrame) -> bytes:
    return encode_request(frame.kind, frame.request_id, frame.timeout_ms, frame.body)


def reply_bytes(frame: ReplyFrame) -> bytes:
    return encode_reply(frame.kind, frame.request_id, frame.status, frame.body)


def head(length: int) -> bytes:
    return length.to_bytes(4, "little")


def test_a_request_has_its_golden_bytes() -> None:
    data = encode_request(RequestKind.WRITE, 258, 5000, b"body")
    assert data.hex(" ", 4) == "10000000 02000000 02010000 88130000 626f6479"
    assert RequestParser(DEFAULT_LIMITS).feed(data) == [
        RequestFrame(2, 258, 5000, b"body")
    ]


def test_a_reply_has_its_golden_bytes() -> None:
    data = encode_reply(RequestKind.GET, 258, REFUSED, b"body")
    assert data.hex(" ", 4) == "0c000000 03010000 02010000 626f6479"
    assert ReplyParser(DEFAULT_LIMITS).feed(data) == [ReplyFrame(3, 1, 258, b"body")]


@given(frames=st.lists(REQUESTS, max_size=8), data=st.data())
def test_requests_are_the_same_however_the_stream_is_cut(
    frames: list[RequestFrame], data: st.DataObject
) -> None:
    stream = b"".join(map(request_bytes, frames))
    assert RequestParser(DEFAULT_LIMITS).feed(stream) == frames
    parser = RequestParser(DEFAULT_LIMITS)
    got = [frame for byte in stream for frame in parser.feed(bytes([byte]))]
    assert got == frames
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    parser = RequestParser(DEFAULT_LIMITS)
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert [frame for piece in pieces for frame in parser.feed(piece)] == frames
    assert parser.buffered_bytes == 0


@given(frames=st.lists(REPLIES, max_size=8), data=st.data())
def test_replies_are_the_same_however_the_stream_is_cut(
    frames: list[ReplyFrame], data: st.DataObject
) -> None:
    stream = b"".join(map(reply_bytes, frames))
    assert ReplyParser(DEFAULT_LIMITS).feed(stream) == frames
    parser = ReplyParser(DEFAULT_LIMITS)
    got = [frame for byte in stream for frame in parser.feed(bytes([byte]))]
    assert got == frames
    cut = data.draw(st.integers(0, len(stream)))
    parser = ReplyParser(DEFAULT_LIMITS)
    assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == frames


@given(garbage=st.binary(max_size=64))
def test_garbage_refuses_alike_at_once_and_byte_by_byte(garbage: bytes) -> None:
    for make in (RequestParser, ReplyParser):
        at_once = make(SMALL)
        refused_at_once = False
        try:
            at_once.feed(garbage)
        except ProtocolError:
            refused_at_once = True
        by_byte = make(SMALL)
        got: list[object] = []
        refused_by_byte = False
        for byte in garbage:
            try:
                got += by_byte.feed(bytes([byte]))
            except ProtocolError:
                refused_by_byte = True
                break
        assert refused_at_once == refused_by_byte
        assert list(at_once.complete) == got


@pytest.mark.parametrize(
    ("length", "legal"),
    [
        (0, False),
        (11, False),
        (12, True),
        (13, True),
        (LENGTH_MAX - 1, True),
        (LENGTH_MAX, True),
        (LENGTH_MAX + 1, False),
        (2**31, False),
        (2**32 - 1, False),
    ],
)
def test_a_requests_length_is_judged_from_its_four_bytes(
    length: int, legal: bool
) -> None:
    parser = RequestParser(SMALL)
    if legal:
        assert parser.feed(head(length)) == []
        whole = encode_request(1, 1, 0, bytes(length - 12))
        assert parser.feed(whole[4:]) == [RequestFrame(1, 1, 0, bytes(length - 12))]
    else:
        with pytest.raises(ProtocolError) as refused:
            parser.feed(head(length))
        too_large = length > LENGTH_MAX
        assert (refused.value.code == ErrorCode.REQUEST_TOO_LARGE) == too_large
        assert parser.buffered_bytes == 0


@pytest.mark.parametrize(
    ("length", "legal"),
    [
        (0, False),
        (7, False),
        (8, True),
        (LENGTH_MAX, True),
        (LENGTH_MAX + 1, False),
        (2**32 - 1, False),
    ],
)
def test_a_replys_length_is_judged_from_its_four_bytes(
    length: int, legal: bool
) -> None:
    parser = ReplyParser(SMALL)
    if legal:
        assert parser.feed(head(length)) == []
        whole = encode_reply(1, 1, OK, bytes(length - 8))
        assert parser.feed(whole[4:]) == [ReplyFrame(1, OK, 1, bytes(length - 8))]
    else:
        with pytest.raises(ProtocolError):
            parser.feed(head(length))


def test_a_bad_length_behind_good_frames_is_refused_in_the_same_chunk() -> None:
    good = encode_request(1, 1, 0, b"")
    for bad in (head(2**32 - 1), head(2**32 - 1) + bytes(12), head(0)):
        parser = RequestParser(SMALL)
        with pytest.raises(ProtocolError):
            parser.feed(good + good + bad)
        assert parser.complete == [RequestFrame(1, 1, 0, b"")] * 2
        assert parser.buffered_bytes == 0


REQUEST = bytes.fromhex("0c000000 01 00 0000 01000000 00000000")
REPLY = bytes.fromhex("08000000 01 00 0000 01000000")


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [
        (4, 0, "unknown request type 0"),
        (4, 10, "unknown request type 10"),
        (5, 1, "reserved"),
        (6, 1, "reserved"),
        (7, 1, "reserved"),
        (8, 0, "request_id 0"),
        (14, 16, "timeout_ms is 1048576"),
    ],
)
def test_a_request_with_a_wrong_head_is_refused(
    at: int, byte: int, reason: str
) -> None:
    assert RequestParser(SMALL).feed(REQUEST) != []
    broken = bytearray(REQUEST)
    broken[at] = byte
    with pytest.raises(ProtocolError, match=reason):
        RequestParser(SMALL).feed(bytes(broken))


@pytest.mark.parametrize(
    ("at", "byte"), [(4, 0), (4, 10), (5, 2), (6, 1), (7, 1), (8, 0)]
)
def test_a_reply_with_a_wrong_head_is_refused(at: int, byte: int) -> None:
    assert ReplyParser(SMALL).feed(REPLY) != []
    broken = bytearray(REPLY)
    broken[at] = byte
    with pytest.raises(ProtocolError):
        ReplyParser(SMALL).feed(bytes(broken))


def test_an_error_for_the_whole_connection_has_type_and_id_zero() -> None:
    data = encode_reply(RequestKind.CONNECTION, 0, REFUSED, b"why")
    assert ReplyParser(SMALL).feed(data) == [ReplyFrame(0, REFUSED, 0, b"why")]


@pytest.mark.parametrize("timeout_ms", [0, 1, 599_999, 600_000])
def test_a_timeout_up_to_the_formats_limit_is_accepted(timeout_ms: int) -> None:
    # A node with a lower limit of its own cuts it; the client does not know that one.
    data = encode_request(1, 1, timeout_ms, b"")
    assert RequestParser(SMALL).feed(data)[0].timeout_ms == timeout_ms


@pytest.mark.parametrize("timeout_ms", [600_001, 2**32 - 1])
def test_a_timeout_over_the_formats_limit_is_refused(timeout_ms: int) -> None:
    with pytest.raises(ProtocolError, match="timeout_ms"):
        RequestParser(SMALL).feed(encode_request(1, 1, timeout_ms, b""))


def test_a_parser_that_refused_is_dead() -> None:
    for make, good in ((RequestParser, REQUEST), (ReplyParser, REPLY)):
        parser = make(SMALL)
        with pytest.raises(ProtocolError):
            parser.feed(head(0))
        with pytest.raises(ProtocolError, match="dead"):
            parser.feed(good)
        assert parser.complete == []


def test_no_more_is_held_than_has_arrived_of_one_frame() -> None:
    parser = RequestParser(SMALL)
    whole = encode_request(1, 1, 0, bytes(100))
    parser.feed(REQUEST * 3 + whole[:-1])
    assert parser.buffered_bytes == len(whole) - 1
    assert len(parser.feed(whole[-1:])) == 1
    assert parser.buffered_bytes == 0


def test_a_big_frame_in_small_chunks_is_put_together_once() -> None:
    class Counting(RequestParser):
        joins = 0

        def _take(self, data: bytes) -> bytes | None:
            whole = super()._take(data)
            self.joins += whole is not None
            return whole

    body = bytes(4 * 1024 * 1024)
    stream = memoryview(encode_request(2, 1, 0, body))
    parser = Counting(DEFAULT_LIMITS)
    got: list[RequestFrame] = []
    for start in range(0, len(stream), 1024):
        got += parser.feed(bytes(stream[start : start + 1024]))
    assert got == [RequestFrame(2, 1, 0, body)]
    # The first chunk is looked at for its head, the last one completes the frame.
    assert parser.joins == 2
