"""Commands: every length around its limits, and one encoding per command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    FORMAT_LIMITS,
    Admit,
    Announce,
    CloseSession,
    Command,
    CommandRefused,
    Compact,
    Decide,
    Delete,
    DropToken,
    ErrorCode,
    InSession,
    Limits,
    MakeToken,
    OpenSession,
    Present,
    Put,
    Raise,
    Reassign,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    Transaction,
    Understand,
    decode_command,
    encode_compact,
    encode_delete,
    encode_in_session,
    encode_lease_command,
    encode_member_command,
    encode_put,
    encode_session_command,
    encode_transaction,
)

REVISIONS = st.none() | st.integers(0, 2**64 - 1)
LEASES = st.integers(1, 2**64 - 1)
SMALL = Limits(key_bytes_max=8, value_bytes_max=16)


@given(
    key=st.binary(min_size=1),
    value=st.binary(),
    expected=REVISIONS,
    lease=st.just(0) | LEASES,
)
def test_a_put_survives_its_bytes(
    key: bytes, value: bytes, expected: int, lease: int
) -> None:
    data = encode_put(key, value, expected, lease)
    assert decode_command(data, DEFAULT_LIMITS) == Put(key, value, expected, lease)


@given(key=st.binary(min_size=1), expected=REVISIONS)
def test_a_delete_survives_its_bytes(key: bytes, expected: int) -> None:
    data = encode_delete(key, expected)
    assert decode_command(data, DEFAULT_LIMITS) == Delete(key, expected)


@given(revision=st.integers(0, 2**64 - 1))
def test_a_compaction_survives_its_bytes(revision: int) -> None:
    data = encode_compact(revision)
    assert decode_command(data, DEFAULT_LIMITS) == Compact(revision)


def test_a_number_that_is_no_revision_is_not_encoded() -> None:
    for number in (-1, 2**64):
        with pytest.raises(CommandRefused, match="not a revision"):
            encode_compact(number)


def encoded(command: Command) -> bytes:
    match command:
        case Put(key, value, expected, lease):
            return encode_put(key, value, expected, lease)
        case Delete(key, expected):
            return encode_delete(key, expected)
        case Compact(revision):
            return encode_compact(revision)
        case Transaction():
            return encode_transaction(command)
        case MakeToken() | DropToken() | Admit() | Announce() | Reassign():
            return encode_member_command(command)
        case SetCaretaker() | Decide():
            return encode_member_command(command)
        case Rotate() | Present() | RevokeCertificate() | Understand() | Raise():
            return encode_member_command(command)
        case InSession(place, inside):
            return encode_in_session(place, encoded(inside))
        case OpenSession() | CloseSession():
            return encode_session_command(command)
        case _:
            return encode_lease_command(command)


@given(data=st.binary(max_size=40))
def test_what_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    for op in (1, 2, *range(4, 20), *range(20, 23)):
        candidate = bytes([op]) + data
        try:
            command = decode_command(candidate, DEFAULT_LIMITS)
        except CommandRefused:
            continue
        assert encoded(command) == candidate


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
def test_a_keys_length_is_judged_by_its_limit(
    length: int, code: ErrorCode | None
) -> None:
    key = b"k" * length
    for data in (encode_put(key, b"v"), encode_delete(key), encode_delete(key, 3)):
        if code is None:
            command = decode_command(data, SMALL)
            assert isinstance(command, Put | Delete)
            assert command.key == key
        else:
            with pytest.raises(CommandRefused) as refused:
                decode_command(data, SMALL)
            assert refused.value.code == code


@pytest.mark.parametrize("length", [0, 1, 15, 16])
def test_a_value_up_to_its_limit_is_accepted(length: int) -> None:
    value = b"v" * length
    assert decode_command(encode_put(b"k", value), SMALL) == Put(b"k", value)


@pytest.mark.parametrize("length", [17, 2**31, 2**32 - 1])
def test_a_declared_value_over_its_limit_is_refused_without_its_bytes(
    length: int,
) -> None:
    data = bytes([1, 0, 1, 0]) + length.to_bytes(4, "little") + b"k"
    with pytest.raises(CommandRefused) as refused:
        decode_command(data, SMALL)
    assert refused.value.code == ErrorCode.VALUE_TOO_LARGE


def test_apply_understands_what_a_more_generous_node_admitted() -> None:
    generous = Limits(
        key_bytes_max=60_000, value_bytes_max=10_000_000, request_bytes_max=2**24
    )
    data = encode_put(b"k" * 60_000, bytes(5_000_000))
    admitted = decode_command(data, generous)
    with pytest.raises(CommandRefused):
        decode_command(data, DEFAULT_LIMITS)
    assert decode_command(data, FORMAT_LIMITS) == admitted


def test_what_the_format_has_no_room_for_is_refused_with_its_code() -> None:
    with pytest.raises(CommandRefused) as refused:
        encode_put(b"k" * 2**16, b"")
    assert refused.value.code == ErrorCode.KEY_TOO_LONG
    with pytest.raises(CommandRefused) as refused:
        encode_delete(b"k" * 2**16, 0)
    assert refused.value.code == ErrorCode.KEY_TOO_LONG
    for revision in (-1, 2**64):
        with pytest.raises(CommandRefused) as refused:
            encode_put(b"k", b"", revision)
        assert refused.value.code == ErrorCode.INVALID_REQUEST


def test_a_delete_with_a_value_is_refused() -> None:
    assert decode_command(b"\x02\x00\x01\x00" + bytes(4) + b"k", DEFAULT_LIMITS)
    for data in (b"\x02\x00\x01\x00\x01\x00\x00\x00k", b"\x02\x00\x01\x00\x01\0\0\0kv"):
        with pytest.raises(CommandRefused, match="delete with a value"):
            decode_command(data, DEFAULT_LIMITS)
