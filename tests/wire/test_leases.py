"""What is said about leases: one encoding each, and nothing that can't be meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    LEASES_PAGE_MAX,
    CommandRefused,
    Grant,
    KeepAlive,
    LeaseAnswer,
    LeaseCommand,
    LeaseList,
    ListLeases,
    ProtocolError,
    Revoke,
    TimeToLive,
    decode_command,
    decode_expiry,
    decode_lease_answer,
    decode_lease_list,
    encode_expiry,
    encode_lease_answer,
    encode_lease_command,
    encode_lease_list,
    encode_put,
)
from quorate.wire.leases import TTL_MS_MAX, TTL_MS_MIN

U64 = st.integers(0, 2**64 - 1)
LEASES = st.integers(1, 2**64 - 1)
COMMANDS: st.SearchStrategy[LeaseCommand] = st.one_of(
    st.builds(Grant, LEASES, st.integers(TTL_MS_MIN, TTL_MS_MAX)),
    st.builds(Revoke, LEASES),
    st.builds(KeepAlive, LEASES),
    st.builds(TimeToLive, LEASES, st.booleans()),
    st.just(ListLeases()),
    st.builds(ListLeases, U64, st.integers(1, LEASES_PAGE_MAX)),
)
ANSWERS = st.builds(
    LeaseAnswer,
    *(U64, U64, U64, U64),
    st.lists(st.binary(max_size=9), max_size=5).map(tuple),
)


@given(COMMANDS)
def test_a_command_survives_its_bytes(command: LeaseCommand) -> None:
    data = encode_lease_command(command)
    assert decode_command(data, DEFAULT_LIMITS) == command


@given(COMMANDS, st.data())
def test_a_command_that_is_changed_is_refused_or_another_one(
    command: LeaseCommand, data: st.DataObject
) -> None:
    encoded = bytearray(encode_lease_command(command))
    at = data.draw(st.integers(1, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode_command(bytes(encoded), DEFAULT_LIMITS)
    except CommandRefused:
        return
    assert isinstance(found, LeaseCommand)
    assert encode_lease_command(found) == bytes(encoded)


@pytest.mark.parametrize(
    "page",
    [
        ListLeases(0, LEASES_PAGE_MAX + 1),
        ListLeases(5, 0),
        ListLeases(0, -1),
        ListLeases(-1, 1),
        ListLeases(2**64, 1),
    ],
)
def test_a_page_has_a_limit_and_begins_behind_a_lease(page: ListLeases) -> None:
    with pytest.raises(CommandRefused, match="a page of"):
        encode_lease_command(page)


@pytest.mark.parametrize(
    "data",
    [
        bytes([9, 1, 0, 0, 0, 0, 0, 0]) + bytes(8),
        bytes([9, 1, 0, 0]) + (LEASES_PAGE_MAX + 1).to_bytes(4, "little") + bytes(8),
        bytes([9, 1, 1, 0, 1, 0, 0, 0]) + bytes(8),
        bytes([9, 1, 0, 0, 1, 0, 0, 0]) + bytes(7),
        bytes([9, 0, 0, 0, 1, 0, 0, 0]),
    ],
)
def test_what_is_no_page_is_refused(data: bytes) -> None:
    with pytest.raises(CommandRefused):
        decode_command(data, DEFAULT_LIMITS)


@given(ANSWERS)
def test_an_answer_survives_its_bytes(answer: LeaseAnswer) -> None:
    assert decode_lease_answer(encode_lease_answer(answer)) == answer


@given(U64, st.lists(U64))
def test_a_list_survives_its_bytes(revision: int, leases: list[int]) -> None:
    data = encode_lease_list(revision, leases)
    assert decode_lease_list(data) == LeaseList(revision, tuple(leases))


@given(st.lists(st.tuples(LEASES, U64), min_size=1))
def test_an_expiry_survives_its_bytes(leases: list[tuple[int, int]]) -> None:
    assert decode_expiry(encode_expiry(leases)) == leases


@given(ANSWERS, st.lists(U64, min_size=1), st.data())
def test_what_is_changed_cut_off_or_goes_on_is_refused_or_another_answer(
    answer: LeaseAnswer, leases: list[int], data: st.DataObject
) -> None:
    for encoded in (encode_lease_answer(answer), encode_lease_list(1, leases)):
        broken = bytearray(encoded)
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] ^= 1 << data.draw(st.integers(0, 7))
        cut = data.draw(st.integers(0, len(broken) - 1))
        for wrong in (bytes(broken), encoded[:cut], encoded + b"\0"):
            _answers_encode_to(wrong)
    with pytest.raises(ProtocolError):
        decode_lease_answer(encode_lease_answer(answer) + b"\0")
    with pytest.raises(ProtocolError):
        decode_lease_list(encode_lease_list(1, leases)[:-1])


@given(st.binary(max_size=80))
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    _answers_encode_to(data)
    for op in range(5, 10):
        try:
            decode_command(bytes([op]) + data, DEFAULT_LIMITS)
        except ProtocolError:
            continue


def _answers_encode_to(data: bytes) -> None:
    """Whatever decodes encodes to the same bytes."""
    try:
        answer = decode_lease_answer(data)
    except ProtocolError:
        pass
    else:
        assert encode_lease_answer(answer) == data
    try:
        found = decode_lease_list(data)
    except ProtocolError:
        pass
    else:
        assert encode_lease_list(found.revision, found.leases) == data
    try:
        ended = decode_expiry(data)
    except ProtocolError:
        pass
    else:
        assert encode_expiry(ended) == data


@pytest.mark.parametrize("lease", [-1, 0, 2**64])
def test_a_number_that_is_no_lease_is_not_encoded(lease: int) -> None:
    for command in (
        *(Grant(lease, 1000), Revoke(lease), KeepAlive(lease), TimeToLive(lease)),
    ):
        with pytest.raises(CommandRefused, match="not a lease"):
            encode_lease_command(command)
    if lease:
        with pytest.raises(CommandRefused, match="not a lease"):
            encode_put(b"k", b"v", None, lease)


@pytest.mark.parametrize("op", range(5, 9))
def test_nobody_asks_for_lease_0(op: int) -> None:
    data = bytes([op]) + bytes(15)
    if op == 5:
        data += (1000).to_bytes(8, "little")
    with pytest.raises(CommandRefused, match="not a lease"):
        decode_command(data, DEFAULT_LIMITS)


def test_a_put_with_lease_0_has_one_encoding() -> None:
    leased = bytearray(encode_put(b"k", b"v", None, 1))
    leased[8] = 0
    with pytest.raises(CommandRefused, match="none"):
        decode_command(bytes(leased), DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("ttl_ms", "fine"),
    [
        (0, False),
        (TTL_MS_MIN - 1, False),
        (TTL_MS_MIN, True),
        (TTL_MS_MAX, True),
        (TTL_MS_MAX + 1, False),
    ],
)
def test_a_leases_time_has_limits(ttl_ms: int, fine: bool) -> None:
    data = encode_lease_command(Grant(1, TTL_MS_MIN))
    data = data[:-8] + ttl_ms.to_bytes(8, "little")
    if fine:
        assert decode_command(data, DEFAULT_LIMITS) == Grant(1, ttl_ms)
        assert encode_lease_command(Grant(1, ttl_ms)) == data
        return
    with pytest.raises(CommandRefused, match="ms, not from"):
        decode_command(data, DEFAULT_LIMITS)
    with pytest.raises(CommandRefused, match="ms, not from"):
        encode_lease_command(Grant(1, ttl_ms))


@pytest.mark.parametrize("data", [b"", bytes(8), bytes(17)])
def test_an_expiry_is_of_whole_leases_and_not_of_none(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_expiry(data)
