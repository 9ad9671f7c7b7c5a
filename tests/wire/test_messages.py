"""What holds of every message: golden bytes, truncation, extension, garbage."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import ProtocolError

from .messages import MESSAGES, Message

each_message = pytest.mark.parametrize(
    "message", MESSAGES, ids=[message.name for message in MESSAGES]
)
HELLOS = ("client hello", "server hello")


@each_message
def test_a_message_is_encoded_as_its_golden_bytes(message: Message) -> None:
    assert message.encoded == message.golden


@each_message
def test_golden_bytes_are_decoded_to_their_value(message: Message) -> None:
    assert message.decode(message.golden) == message.value


@each_message
def test_a_truncated_message_is_refused_or_waited_for(message: Message) -> None:
    # A tail without a length is the whole rest: cutting it makes another message.
    for end in range(len(message.golden) - len(message.tail or b"")):
        cut = message.golden[:end]
        if message.name in HELLOS:
            assert message.decode(cut) is None
        else:
            with pytest.raises(ProtocolError):
                message.decode(cut)


@each_message
def test_a_longer_message_is_refused_unless_its_end_is_open(message: Message) -> None:
    longer = message.golden + b"\x00"
    if message.tail is None:
        with pytest.raises(ProtocolError):
            message.decode(longer)
    else:
        assert (message.decode(longer) == message.value) == (message.name in HELLOS)


def decodes_or_refuses(message: Message, data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        message.decode(data)


@each_message
@given(data=st.binary(max_size=80))
def test_garbage_raises_nothing_but_a_protocol_error(
    message: Message, data: bytes
) -> None:
    decodes_or_refuses(message, data)


@each_message
@given(data=st.data())
def test_a_flipped_byte_raises_nothing_but_a_protocol_error(
    message: Message, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(message.golden) - 1))
    flip = data.draw(st.integers(1, 255))
    broken = bytearray(message.golden)
    broken[at] ^= flip
    decodes_or_refuses(message, bytes(broken))


RESERVED = {
    "put": [],
    "put expecting": [],
    "delete": [4, 5, 6, 7],
    "delete expecting": [4, 5, 6, 7],
    "put with a lease": [],
    "put expecting, with a lease": [],
    # Its own, each operation's, and what stands behind the flags of a range.
    "transaction": [
        *(1, 62, 73, 91, 100, 109, 118, 131, 132, 133),
        *(137, 149, 150, 151, 153, 161, 173, 182),
    ],
    "compaction": [*range(1, 8)],
    "grant": [*range(1, 8)],
    "revoke": [*range(1, 8)],
    "keep alive": [*range(1, 8)],
    "time to live": [*range(2, 8)],
    "time to live, with keys": [*range(2, 8)],
    "list leases": [*range(1, 8)],
    "list leases, a page": [2, 3],
    "in a session": [1, 4, 5, 6, 7, 41, 44, 45, 46, 47],
    "open a session": [*range(1, 8)],
    "close a session": [*range(1, 8)],
    "session's opening": [],
    "expiry": [],
    "expiry's envelope": [2, 3],
    "envelope": [2, 3],
    "get": [1],
    "range": [6, 7],
    "write reply": [],
    "transaction's reply": [1, 14, 15, 18, 19],
    "lease's answer": [],
    "list of leases": [],
    "get reply, absent": [13, 14, 15, 17, 18, 19],
    "get reply, found": [13, 14, 15, 17, 18, 19, 22, 23],
    "range reply": [13, 14, 15, 17, 18, 19, 26, 27],
    "error": [],
    "client hello": [],
    "server hello": [5],
}


@pytest.mark.parametrize(
    ("name", "at"), [(name, at) for name, places in RESERVED.items() for at in places]
)
def test_a_reserved_byte_that_is_not_zero_is_refused(name: str, at: int) -> None:
    (message,) = [message for message in MESSAGES if message.name == name]
    assert message.golden[at] == 0
    broken = bytearray(message.golden)
    broken[at] = 1
    with pytest.raises(ProtocolError):
        message.decode(bytes(broken))


def test_the_table_of_reserved_bytes_names_every_message() -> None:
    assert set(RESERVED) == {message.name for message in MESSAGES}


UNKNOWN = [
    ("put", 0, 3),
    ("put", 0, 0),
    ("put", 0, 10),
    ("put", 1, 4),
    ("put expecting", 1, 5),
    ("delete", 1, 2),
    ("delete expecting", 1, 3),
    ("transaction", 12, 5),
    ("transaction", 13, 4),
    ("transaction", 30, 0x84),
    ("transaction", 61, 0),
    ("transaction", 61, 8),
    ("time to live", 1, 2),
    ("transaction's reply", 0, 2),
    ("transaction's reply", 12, 2),
    ("transaction's reply", 13, 4),
    ("envelope", 0, 2),
    ("envelope", 0, 0),
    ("envelope", 1, 0),
    ("envelope", 1, 4),
    ("envelope", 4, 2),
    ("get", 0, 3),
    ("range", 0, 3),
    ("range", 1, 2),
    ("get reply, absent", 12, 3),
    ("get reply, absent", 16, 2),
    ("range reply", 16, 2),
    ("error", 0, 0),
    ("error", 0, 31),
    ("error", 2, 3),
    ("error", 3, 2),
    ("client hello", 4, 0),
    ("client hello", 4, 2),
    ("client hello", 5, 0),
    ("server hello", 4, 2),
    ("server hello", 4, 0),
]


@pytest.mark.parametrize(("name", "at", "byte"), UNKNOWN)
def test_an_unknown_version_kind_flag_or_code_is_refused(
    name: str, at: int, byte: int
) -> None:
    (message,) = [message for message in MESSAGES if message.name == name]
    broken = bytearray(message.golden)
    broken[at] = byte
    with pytest.raises(ProtocolError):
        message.decode(bytes(broken))
