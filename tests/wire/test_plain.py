"""What the short way says of a put is what the long way says, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    FORMAT_LIMITS,
    EnvelopeKind,
    InSession,
    Limits,
    Place,
    ProtocolError,
    Put,
    decode_command,
    decode_envelope,
    encode_delete,
    encode_envelope_head,
    encode_in_session,
    encode_put,
)
from quorate.wire.plain import PlainPut, decode_plain_put, is_plain_put

SMALL = Limits(key_bytes_max=8, value_bytes_max=16)
PLACE = Place(b"s" * 16, 3, 9, 5)
HEAD = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, 77, 78)


def the_long_way(data: bytes) -> PlainPut | None:
    """None also for what that refuses, or understands as something else."""
    try:
        envelope = decode_envelope(data)
        if envelope.kind != EnvelopeKind.CLIENT_COMMAND:
            return None
        command = decode_command(envelope.payload, FORMAT_LIMITS)
    except ProtocolError:
        return None
    place = None
    if isinstance(command, InSession):
        place, command = command.place, command.command
    if not isinstance(command, Put) or command.expected is not None or command.lease:
        return None
    return envelope.cluster_time_ms, place, command.key, command.value


puts = st.builds(
    encode_put,
    st.binary(min_size=1, max_size=20),
    st.binary(max_size=40),
    st.none() | st.integers(0, 2**64 - 1),
    st.just(0) | st.integers(0, 2**64 - 1),
)
commands = puts | st.builds(encode_delete, st.binary(min_size=1, max_size=20))
places = st.integers(1, 2**64 - 1).flatmap(
    lambda sequence: st.builds(
        Place,
        st.binary(min_size=16, max_size=16).filter(any),
        st.integers(1, 2**64 - 1),
        st.just(sequence),
        st.integers(max(1, sequence - 1023), sequence),
    )
)
bodies = commands | st.builds(encode_in_session, places, commands)


@given(bodies, st.integers(0, 2**64 - 1))
def test_both_ways_understand_the_same(body: bytes, time_ms: int) -> None:
    data = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, time_ms, 0) + body
    assert decode_plain_put(data) == the_long_way(data)


@given(bodies, st.data())
def test_nothing_damaged_is_understood_that_the_long_way_refuses(
    body: bytes, data: st.DataObject
) -> None:
    whole = bytearray(HEAD + body)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(
            st.integers(0, 255)
        )
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert decode_plain_put(damaged) == the_long_way(damaged)


@pytest.mark.parametrize("in_session", [False, True])
def test_every_byte_of_a_head_counts(in_session: bool) -> None:
    body = encode_put(b"key", b"value")
    if in_session:
        body = encode_in_session(PLACE, body)
    whole = HEAD + body
    assert decode_plain_put(whole) == (
        *(77, PLACE if in_session else None),
        *(b"key", b"value"),
    )
    for position in range(len(whole) - len(b"keyvalue")):
        for value in (0, 1, 2, 0x7F, 0xFF):
            other = whole[:position] + bytes([value]) + whole[position + 1 :]
            assert decode_plain_put(other) == the_long_way(other)


def test_entries_of_other_kinds_are_left_to_the_long_way() -> None:
    payload = encode_put(b"k", b"v")
    for kind in (EnvelopeKind.EXPIRY, EnvelopeKind.CHECK):
        assert decode_plain_put(encode_envelope_head(kind, 1, 1) + payload) is None


@given(bodies)
def test_what_is_admitted_the_short_way_the_long_way_admits(body: bytes) -> None:
    for limits in (SMALL, DEFAULT_LIMITS):
        try:
            decode_command(body, limits)
            admitted = True
        except ProtocolError:
            admitted = False
        plain = the_long_way(HEAD + body) is not None
        assert is_plain_put(body, limits) == (admitted and plain)
