"""Bodies of requests and replies: round trips and the limits of each field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    ERROR_TRAITS,
    ErrorCode,
    ErrorReply,
    GetReply,
    GetRequest,
    Level,
    Limits,
    Outcome,
    ProtocolError,
    RangeReply,
    RangeRequest,
    ReadHeader,
    Record,
    decode_error,
    decode_get,
    decode_get_reply,
    decode_range,
    decode_range_reply,
    decode_write_reply,
    encode_error,
    encode_get,
    encode_get_reply,
    encode_range,
    encode_range_reply,
    encode_record,
    encode_write_reply,
    error_reply,
)
from quorate.wire.records import RECORD_HEAD_BYTES

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
LEVELS = st.sampled_from(Level)
KEYS = st.binary(min_size=1, max_size=60)
BOUNDS = st.binary(max_size=60)
RECORDS = st.builds(Record, KEYS, st.binary(max_size=60), U64, U64, U64, U64)
HEADERS = st.builds(ReadHeader, U64, U32, LEVELS)
SMALL = Limits(key_bytes_max=8, value_bytes_max=16)


@given(request=st.builds(GetRequest, LEVELS, U32, U64, KEYS, U64))
def test_a_get_survives_its_bytes(request: GetRequest) -> None:
    assert decode_get(encode_get(request), DEFAULT_LIMITS) == request


@given(
    request=st.builds(
        RangeRequest, LEVELS, U32, U64, BOUNDS, BOUNDS, U32, st.booleans(), U64
    )
)
def test_a_range_survives_its_bytes(request: RangeRequest) -> None:
    assert decode_range(encode_range(request), DEFAULT_LIMITS) == request


@given(header=HEADERS, record=st.none() | RECORDS)
def test_a_gets_reply_survives_its_bytes(
    header: ReadHeader, record: Record | None
) -> None:
    data = encode_get_reply(header, record)
    assert decode_get_reply(data) == GetReply(header, record)


@given(header=HEADERS, records=st.lists(RECORDS, max_size=5))
def test_a_ranges_reply_survives_its_bytes(
    header: ReadHeader, records: list[Record]
) -> None:
    more = bool(records)
    data = encode_range_reply(header, records, more)
    assert decode_range_reply(data) == RangeReply(header, records, more)


@given(revision=U64, count=U32)
def test_a_writes_reply_survives_its_bytes(revision: int, count: int) -> None:
    reply = decode_write_reply(encode_write_reply(revision, count))
    assert (reply.revision, reply.count) == (revision, count)


@given(
    error=st.builds(
        ErrorReply,
        st.sampled_from(ErrorCode),
        st.sampled_from(Outcome),
        st.booleans(),
        U64,
        st.text(max_size=100),
    )
)
def test_an_error_survives_its_bytes(error: ErrorReply) -> None:
    assert decode_error(encode_error(error, DEFAULT_LIMITS), DEFAULT_LIMITS) == error


@given(record=RECORDS)
def test_a_records_size_is_its_head_its_key_and_its_value(record: Record) -> None:
    expected = RECORD_HEAD_BYTES + len(record.key) + len(record.value)
    assert len(encode_record(record)) == expected


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (0, ErrorCode.INVALID_REQUEST),
        (1, None),
        (7, None),
        (8, None),
        (9, ErrorCode.KEY_TOO_LONG),
        (2**16 - 1, ErrorCode.KEY_TOO_LONG),
    ],
)
def test_a_gets_key_is_judged_by_its_limit(length: int, code: ErrorCode | None) -> None:
    data = encode_get(GetRequest(Level.LOCAL, 0, 0, b"k" * length))
    if code is None:
        assert len(decode_get(data, SMALL).key) == length
    else:
        with pytest.raises(ProtocolError) as refused:
            decode_get(data, SMALL)
        assert refused.value.code == code


@pytest.mark.parametrize(("length", "legal"), [(0, 1), (8, 1), (9, 1), (10, 0)])
@pytest.mark.parametrize("which", ["start", "end"])
def test_a_bound_may_be_one_byte_longer_than_a_key(
    length: int, legal: bool, which: str
) -> None:
    start, end = (b"k" * length, b"") if which == "start" else (b"", b"k" * length)
    request = RangeRequest(Level.LOCAL, 0, 0, start, end)
    if legal:
        assert decode_range(encode_range(request), SMALL) == request
    else:
        with pytest.raises(ProtocolError) as refused:
            decode_range(encode_range(request), SMALL)
        assert refused.value.code == ErrorCode.KEY_TOO_LONG


def test_a_page_that_claims_billions_of_records_is_refused_by_its_bytes() -> None:
    header = ReadHeader(1, 0, Level.LOCAL)
    data = bytearray(encode_range_reply(header, [], False))
    data[20:24] = (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(ProtocolError, match="cut off"):
        decode_range_reply(bytes(data))


def test_an_empty_page_that_says_more_is_refused() -> None:
    header = ReadHeader(1, 0, Level.LOCAL)
    with pytest.raises(ProtocolError, match="continued"):
        decode_range_reply(encode_range_reply(header, [], True))


@pytest.mark.parametrize("length", [0, 1023, 1024, 1025, 5000])
def test_an_errors_message_is_cut_at_a_whole_character(length: int) -> None:
    message = "x" * (length % 2) + "é" * (length // 2)
    error = error_reply(ErrorCode.INTERNAL, Outcome.UNKNOWN, message)
    got = decode_error(encode_error(error, DEFAULT_LIMITS), DEFAULT_LIMITS)
    assert message.startswith(got.message)
    assert len(got.message.encode()) >= min(length, 1023)


def test_a_message_that_is_no_text_is_sent_all_the_same() -> None:
    error = error_reply(ErrorCode.INTERNAL, Outcome.UNKNOWN, "broken \udc80")
    got = decode_error(encode_error(error, DEFAULT_LIMITS), DEFAULT_LIMITS)
    assert got.message == "broken ?"


@pytest.mark.parametrize("message", [b"\xff", b"\xc3", bytes(1025)])
def test_an_errors_message_that_is_not_short_utf8_is_refused(message: bytes) -> None:
    error = error_reply(ErrorCode.INTERNAL, Outcome.UNKNOWN, "")
    data = encode_error(error, DEFAULT_LIMITS)
    with pytest.raises(ProtocolError):
        decode_error(data + message, DEFAULT_LIMITS)


def test_every_error_code_has_its_row_in_the_table() -> None:
    assert set(ERROR_TRAITS) == set(ErrorCode)
    assert [int(code) for code in ErrorCode] == list(range(1, 31))
    statuses = [ERROR_TRAITS[code].http_status for code in ErrorCode]
    assert statuses == [
        *(400, 431, 413, 413, 412, 503, 429, 504),
        *(503, 507, 503, 501, 500, 504, 403, 503, 410, 400),
        *(404, 409, 413, 412),
        *(404, 409, 409, 409, 409, 403, 404, 401),
    ]
    retryable = [int(code) for code in ErrorCode if ERROR_TRAITS[code].retryable]
    assert retryable == [6, 7, 9, 10, 11, 14, 16, 27]
