"""Watches on the wire: golden bytes, one encoding, parts, and what is refused.

The golden bytes were written by hand from docs/formats.md and never change.
"""

import contextlib
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given
from quorate.wire import (
    DEFAULT_LIMITS,
    ErrorCode,
    ProtocolError,
    Record,
    WatchCreated,
    WatchEvent,
    WatchEvents,
    WatchProgress,
    WatchReply,
    WatchRequest,
    decode_cancel,
    decode_watch,
    decode_watch_reply,
    encode_cancel,
    encode_created,
    encode_event,
    encode_progress,
    encode_watch,
    parts_of,
)
from quorate.wire.watches import EVENT_BYTES_MAX, PART_BYTES

from .watch_replies import encode_events

_hex = bytes.fromhex
RECORD = Record(b"k", b"vv", 2, 3, 4, 5)
BEFORE = Record(b"k", b"", 2, 2, 3, 0)
GONE = Record(b"k", b"", 0, 258, 0, 0)
_RECORD = _hex(
    "0100 0000 02000000 0200000000000000 0300000000000000"
    "0400000000000000 0500000000000000 6b 7676"
)
_BEFORE = _hex(
    "0100 0000 00000000 0200000000000000 0200000000000000"
    "0300000000000000 0000000000000000 6b"
)
_GONE = _hex(
    "0100 0000 00000000 0000000000000000 0201000000000000"
    "0000000000000000 0000000000000000 6b"
)


class Reply(NamedTuple):
    """One row: bytes, what they mean, and what encodes to them."""

    golden: bytes
    value: WatchReply
    encoded: bytes


REQUESTS = [
    (
        _hex("0201000000000000 00 00 0000 0100 0200") + b"abc",
        WatchRequest(b"a", b"bc", 258),
    ),
    (
        _hex("0000000000000000 07 00 0000 0000 0000"),
        WatchRequest(b"", b"", 0, previous=True, puts=False, deletes=False),
    ),
    (
        _hex("ffffffffffffffff 02 00 0000 0100 0000") + b"a",
        WatchRequest(b"a", b"", 2**64 - 1, puts=False),
    ),
]
REPLIES = [
    Reply(
        _hex("00 00 0000 00000000 0201000000000000"),
        WatchCreated(258),
        encode_created(258),
    ),
    Reply(
        _hex("02 00 0000 00000000 0201000000000000"),
        WatchProgress(258),
        encode_progress(258),
    ),
    Reply(
        _hex("01 00 0000 02000000 0201000000000000")
        + (_hex("01 01 0000") + _RECORD + _BEFORE)
        + (_hex("00 00 0000") + _GONE),
        WatchEvents(258, (WatchEvent(True, RECORD, BEFORE), WatchEvent(False, GONE))),
        encode_events(
            258, [encode_event(True, RECORD, BEFORE), encode_event(False, GONE)]
        )[0],
    ),
]

KEYS = st.binary(min_size=1, max_size=4)
NUMBERS = st.sampled_from([0, 1, 7, 2**32, 2**64 - 1])
RECORDS = st.builds(
    Record, KEYS, st.binary(max_size=20), NUMBERS, NUMBERS, NUMBERS, NUMBERS
)
EVENTS = st.builds(WatchEvent, st.booleans(), RECORDS, st.none() | RECORDS)


def watch_of(body: bytes) -> WatchRequest:
    return decode_watch(body, DEFAULT_LIMITS)


def encoded(event: WatchEvent) -> bytes:
    return encode_event(event.put, event.record, event.previous)


@pytest.mark.parametrize(("golden", "value"), REQUESTS)
def test_a_watch_has_these_bytes(golden: bytes, value: WatchRequest) -> None:
    assert encode_watch(value) == golden
    assert decode_watch(golden, DEFAULT_LIMITS) == value


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_has_these_bytes(reply: Reply) -> None:
    assert reply.encoded == reply.golden
    assert decode_watch_reply(reply.golden) == reply.value


def test_a_cancel_is_the_number_of_a_request() -> None:
    assert encode_cancel(258) == _hex("02010000")
    assert decode_cancel(_hex("02010000")) == 258
    for body in (b"", _hex("020100"), _hex("0201000000")):
        with pytest.raises(ProtocolError):
            decode_cancel(body)


@pytest.mark.parametrize("golden", [golden for golden, _ in REQUESTS])
def test_a_watch_that_is_cut_or_too_long_is_refused(golden: bytes) -> None:
    for wrong in [golden[:end] for end in range(len(golden))] + [golden + b"\0"]:
        with pytest.raises(ProtocolError):
            decode_watch(wrong, DEFAULT_LIMITS)


@pytest.mark.parametrize("golden", [reply.golden for reply in REPLIES])
def test_a_reply_that_is_cut_or_too_long_is_refused(golden: bytes) -> None:
    for wrong in [golden[:end] for end in range(len(golden))] + [golden + b"\0"]:
        with pytest.raises(ProtocolError):
            decode_watch_reply(wrong)


@pytest.mark.parametrize(
    ("at", "value"), [(8, 8), (8, 0x80), (9, 1), (10, 1), (11, 1)], ids=str
)
def test_unknown_flags_and_reserved_fields_of_a_watch_are_refused(
    at: int, value: int
) -> None:
    body = bytearray(REQUESTS[0][0])
    body[at] = value
    with pytest.raises(ProtocolError):
        decode_watch(bytes(body), DEFAULT_LIMITS)


def test_a_bound_is_at_most_one_byte_longer_than_a_key() -> None:
    longest = b"k" * (DEFAULT_LIMITS.key_bytes_max + 1)
    for start, end in ((longest, b""), (b"", longest)):
        watch = WatchRequest(start, end)
        assert decode_watch(encode_watch(watch), DEFAULT_LIMITS) == watch
    for start, end in ((longest + b"k", b""), (b"", longest + b"k")):
        with pytest.raises(ProtocolError) as refused:
            decode_watch(encode_watch(WatchRequest(start, end)), DEFAULT_LIMITS)
        assert refused.value.code is ErrorCode.KEY_TOO_LONG


@pytest.mark.parametrize(
    "text",
    [
        "03 00 0000 00000000 0100000000000000",
        "00 01 0000 00000000 0100000000000000",
        "02 01 0000 00000000 0100000000000000",
        "00 00 0100 00000000 0100000000000000",
        "01 00 0000 00000000 0100000000000000",
        "01 02 0000 01000000 0100000000000000 00 00 0000",
        "02 00 0000 01000000 0100000000000000 00 00 0000",
        "01 00 0000 ffffffff 0100000000000000 00 00 0000",
    ],
    ids=[
        "unknown kind",
        "created with more",
        "progress with more",
        "reserved",
        "no events",
        "more is 2",
        "progress with events",
        "more events than bytes",
    ],
)
def test_a_reply_that_says_what_can_not_be_is_refused(text: str) -> None:
    body = _hex(text)
    if len(body) > 16:
        body += _GONE
    with pytest.raises(ProtocolError):
        decode_watch_reply(body)


@pytest.mark.parametrize("text", ["02 00 0000", "00 02 0000", "00 00 0100"], ids=str)
def test_an_event_with_a_wrong_field_is_refused(text: str) -> None:
    head = _hex("01 00 0000 01000000 0100000000000000")
    with pytest.raises(ProtocolError):
        decode_watch_reply(head + _hex(text) + _GONE)


@given(start=st.binary(max_size=5), end=st.binary(max_size=5), revision=NUMBERS)
def test_watches_come_back_as_they_were(
    start: bytes, end: bytes, revision: int
) -> None:
    for flags in range(8):
        watch = WatchRequest(
            start, end, revision, bool(flags & 1), bool(flags & 2), bool(flags & 4)
        )
        assert decode_watch(encode_watch(watch), DEFAULT_LIMITS) == watch


@given(events=st.lists(EVENTS, min_size=1, max_size=5), revision=NUMBERS)
def test_events_come_back_as_they_were(events: list[WatchEvent], revision: int) -> None:
    (body,) = encode_events(revision, [encoded(event) for event in events])
    assert decode_watch_reply(body) == WatchEvents(revision, tuple(events))


@given(st.data())
def test_what_is_understood_is_encoded_in_this_way_alone(data: st.DataObject) -> None:
    """Flip, cut and repeat: what is still understood encodes to the same bytes."""
    body = bytearray(data.draw(st.sampled_from([r.golden for r in REPLIES])))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        told = decode_watch_reply(bytes(body))
    except ProtocolError:
        return
    if isinstance(told, WatchEvents):
        (again,) = encode_events(told.revision, list(map(encoded, told.events)))
        assert bytes(body)[:1] + bytes(body)[2:] == again[:1] + again[2:]
        assert told.more == body[1]
    elif isinstance(told, WatchCreated):
        assert bytes(body) == encode_created(told.revision)
    else:
        assert bytes(body) == encode_progress(told.revision)


@given(st.binary(max_size=80))
def test_garbage_is_refused_and_nothing_else_is_raised(body: bytes) -> None:
    for decode in (decode_watch_reply, decode_cancel, watch_of):
        with contextlib.suppress(ProtocolError):
            decode(body)


def test_nothing_to_tell_is_no_reply() -> None:
    assert list(parts_of([])) == []


def test_a_large_revision_comes_in_parts_of_which_the_last_says_so() -> None:
    size = PART_BYTES // 3
    records = [Record(b"%d" % n, b"v" * size, 7, 7, 1, 0) for n in range(7)]
    bodies = encode_events(7, [encode_event(True, record) for record in records])
    parts = [decode_watch_reply(body) for body in bodies]
    assert all(isinstance(part, WatchEvents) for part in parts)
    told = [part for part in parts if isinstance(part, WatchEvents)]
    assert [part.more for part in told] == [True, True, True, False]
    assert {part.revision for part in told} == {7}
    assert [e.record for part in told for e in part.events] == records
    assert all(len(body) <= PART_BYTES + 16 for body in bodies)


def test_an_event_that_is_larger_than_a_part_is_not_cut() -> None:
    large = Record(b"k", b"v" * (2 * PART_BYTES), 7, 7, 1, 0)
    small = Record(b"l", b"", 7, 7, 1, 0)
    events = [encode_event(True, record) for record in (small, large, small)]
    told = [decode_watch_reply(body) for body in encode_events(7, events)]
    assert told == [
        WatchEvents(7, (WatchEvent(True, small),), more=True),
        WatchEvents(7, (WatchEvent(True, large),), more=True),
        WatchEvents(7, (WatchEvent(True, small),)),
    ]


def test_the_two_largest_values_do_not_go_together() -> None:
    """One frame would be too small for them: what was there before is left out."""
    largest = b"v" * DEFAULT_LIMITS.value_bytes_max
    key = b"k" * DEFAULT_LIMITS.key_bytes_max
    after = Record(key, largest, 7, 8, 2, 0)
    before = Record(key, largest, 7, 7, 1, 0)
    (body,) = encode_events(8, [encode_event(True, after, before)])
    assert len(body) < DEFAULT_LIMITS.request_bytes_max
    assert decode_watch_reply(body) == WatchEvents(8, (WatchEvent(True, after),))


@pytest.mark.parametrize("over", [0, 1])
def test_what_was_there_is_told_as_long_as_both_fit(over: int) -> None:
    after = Record(b"k", b"", 7, 8, 2, 0)
    heads = len(encode_event(True, after, after)) - len(encode_event(True, after))
    room = EVENT_BYTES_MAX - 2 * heads
    before = Record(b"k", b"v" * (room + over), 7, 7, 1, 0)
    (body,) = encode_events(8, [encode_event(True, after, before)])
    told = WatchEvent(True, after, None if over else before)
    assert decode_watch_reply(body) == WatchEvents(8, (told,))


def test_one_large_change_alone_is_always_told() -> None:
    after = Record(b"k", b"v" * (EVENT_BYTES_MAX + 1), 7, 8, 2, 0)
    (body,) = encode_events(8, [encode_event(True, after)])
    assert decode_watch_reply(body) == WatchEvents(8, (WatchEvent(True, after),))
