"""Commands in sessions, and what opens and closes one: one encoding each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    SESSION_WINDOW,
    CloseSession,
    Command,
    CommandRefused,
    Grant,
    InSession,
    KeepAlive,
    Limits,
    ListLeases,
    OpenSession,
    Place,
    TimeToLive,
    decode_command,
    decode_session_opened,
    encode_delete,
    encode_in_session,
    encode_lease_command,
    encode_put,
    encode_session_command,
    encode_session_opened,
)
from quorate.wire.errors import ProtocolError
from quorate.wire.sessions import SESSION_OPS

MAX = 2**64 - 1
ID = bytes(range(16))
IDS = st.binary(min_size=16, max_size=16).filter(any)
NUMBERS = st.integers(1, MAX)
INSIDE = st.sampled_from(
    [
        encode_put(b"k", b"v", 3, 7),
        encode_delete(b"k"),
        encode_lease_command(Grant(7, 1000)),
    ]
)


@st.composite
def places(draw: st.DrawFn) -> Place:
    sequence = draw(NUMBERS)
    lowest = draw(st.integers(max(1, sequence - SESSION_WINDOW + 1), sequence))
    return Place(draw(IDS), draw(NUMBERS), sequence, lowest)


def decoded(data: bytes) -> Command:
    return decode_command(data, DEFAULT_LIMITS)


@given(places(), INSIDE)
def test_a_command_survives_its_session(place: Place, inside: bytes) -> None:
    found = decoded(encode_in_session(place, inside))
    assert found == InSession(place, decoded(inside))  # type: ignore[arg-type]


@given(places(), INSIDE, st.data())
def test_what_is_changed_is_refused_or_something_else(
    place: Place, inside: bytes, data: st.DataObject
) -> None:
    whole = encode_in_session(place, inside)
    encoded = bytearray(whole)
    at = data.draw(st.integers(1, len(encoded) - len(inside) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decoded(bytes(encoded))
    except CommandRefused:
        return
    assert isinstance(found, InSession)
    assert found.place != place
    assert encode_in_session(found.place, inside) == bytes(encoded)


@given(IDS, NUMBERS)
def test_opening_and_closing_survive_their_bytes(session: bytes, since: int) -> None:
    for command in (OpenSession(session), CloseSession(session, since)):
        assert decoded(encode_session_command(command)) == command


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        bytes([0]),
        *(bytes([op]) + bytes(40) for op in SESSION_OPS),
        *(
            encode_lease_command(question)
            for question in (KeepAlive(1), TimeToLive(1), ListLeases())
        ),
    ],
)
def test_only_what_is_written_to_the_log_stands_in_a_session(inside: bytes) -> None:
    with pytest.raises(CommandRefused, match="no write"):
        decoded(encode_in_session(Place(ID, 1, 1, 1), inside))


def test_sessions_in_sessions_cost_no_stack() -> None:
    head = encode_in_session(Place(ID, 1, 1, 1), b"")
    with pytest.raises(CommandRefused, match="no write"):
        decoded(head * 100_000 + encode_put(b"k", b"v"))


@pytest.mark.parametrize(
    "place",
    [
        Place(bytes(16), 1, 1, 1),
        Place(ID[1:], 1, 1, 1),
        Place(ID + b"x", 1, 1, 1),
        Place(ID, 0, 1, 1),
        Place(ID, MAX + 1, 1, 1),
        Place(ID, 1, 0, 0),
        Place(ID, 1, MAX + 1, MAX),
        Place(ID, 1, 1, 0),
        Place(ID, 1, 1, 2),
        Place(ID, 1, 1 + SESSION_WINDOW, 1),
    ],
)
def test_what_cannot_be_meant_is_not_encoded(place: Place) -> None:
    with pytest.raises(CommandRefused):
        encode_in_session(place, encode_delete(b"k"))


@pytest.mark.parametrize(("unfinished", "sequence"), [(1024, 5000), (7, 7), (1, 1)])
def test_numbers_that_cannot_be_unfinished_are_refused(
    unfinished: int, sequence: int
) -> None:
    whole = bytearray(encode_in_session(Place(ID, 1, sequence, sequence), b""))
    whole[2:4] = unfinished.to_bytes(2, "little")
    with pytest.raises(CommandRefused, match="unfinished"):
        decoded(bytes(whole) + encode_delete(b"k"))


@pytest.mark.parametrize("length", range(40))
def test_a_place_that_is_cut_off_is_refused(length: int) -> None:
    whole = encode_in_session(Place(ID, 1, 1, 1), encode_delete(b"k"))
    with pytest.raises(CommandRefused):
        decoded(whole[: length + 1])


def test_limits_hold_inside_a_session() -> None:
    place = Place(ID, 1, 1, 1)
    limits = Limits(value_bytes_max=3)
    with pytest.raises(CommandRefused, match="value"):
        decode_command(encode_in_session(place, encode_put(b"k", b"1234")), limits)


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(17)])
def test_an_opening_reply_of_another_length_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_session_opened(data)


@given(NUMBERS, NUMBERS)
def test_an_opening_reply_survives_its_bytes(revision: int, since: int) -> None:
    found = decode_session_opened(encode_session_opened(revision, since))
    assert (found.revision, found.since) == (revision, since)
