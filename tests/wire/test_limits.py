"""Limits: the defaults are the documented ones, contradictions are refused."""

import pytest
from quorate.wire import (
    DEFAULT_LIMITS,
    FRAME_SLACK_BYTES,
    OK,
    Level,
    Limits,
    LimitsInvalid,
    ReadHeader,
    Record,
    ReplyParser,
    RequestKind,
    RequestParser,
    encode_get_reply,
    encode_put,
    encode_range_reply,
    encode_reply,
    encode_request,
)


def test_the_defaults_are_the_documented_ones() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert DEFAULT_LIMITS.key_bytes_max == 4096
    assert DEFAULT_LIMITS.value_bytes_max == 4 * 2**20
    assert DEFAULT_LIMITS.request_bytes_max == 8 * 2**20
    assert DEFAULT_LIMITS.range_records_max == 1000
    assert DEFAULT_LIMITS.range_bytes_max == 2**20
    assert DEFAULT_LIMITS.timeout_ms_default == 5000
    assert DEFAULT_LIMITS.timeout_ms_max == 600_000
    assert DEFAULT_LIMITS.error_message_bytes_max == 1024


@pytest.mark.parametrize(
    "change",
    [
        {"key_bytes_max": 0},
        {"key_bytes_max": 2**16 - 1},
        {"value_bytes_max": 0},
        {"value_bytes_max": 8 * 2**20},
        {"request_bytes_max": 2**32},
        {"request_bytes_max": 2**20},
        {"range_records_max": 0},
        {"range_bytes_max": 8 * 2**20},
        {"timeout_ms_default": 0},
        {"timeout_ms_default": 600_001},
        {"timeout_ms_max": 4_999},
        {"timeout_ms_max": 600_001},
        {"error_message_bytes_max": 1025},
    ],
)
def test_limits_that_contradict_each_other_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(LimitsInvalid):
        Limits(**change)


def test_the_largest_record_fits_into_a_request_and_into_both_replies() -> None:
    key, room = 8, 100 - 8 - FRAME_SLACK_BYTES
    limits = Limits(
        key_bytes_max=key,
        value_bytes_max=room,
        request_bytes_max=100,
        range_bytes_max=10,
    )
    header = ReadHeader(1, 0, Level.LOCAL)
    record = Record(b"k" * key, b"v" * room, 1, 1, 1, 0)
    put = encode_put(record.key, record.value, 1)
    request = encode_request(RequestKind.WRITE, 1, 0, put)
    assert len(RequestParser(limits).feed(request)) == 1
    for body in (
        encode_get_reply(header, record),
        encode_range_reply(header, [record], True),
    ):
        reply = encode_reply(RequestKind.GET, 1, OK, body)
        assert len(ReplyParser(limits).feed(reply)) == 1
