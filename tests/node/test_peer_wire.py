"""Peer messages as bytes: each comes back, and garbage is one error, nothing else."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.node.peer_wire import (
    Encoder,
    Frame,
    FrameParser,
    Goodbye,
    PeerProtocolError,
    SentAway,
    decode_message,
)
from quorate.node.replica import (
    ForwardReply,
    ForwardRequest,
    StateHash,
    StateRequest,
)
from quorate.raft import (
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Configuration,
    EntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVoteReply,
    ReadIndex,
    ReadIndexReply,
    RequestEntries,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)

ENTRIES = (Entry(8, 3, 0, b""), Entry(9, 4, 1, b"put"), Entry(10, 4, 1, b"x" * 300))
MESSAGES: list[Frame] = [
    RequestPreVote(1, 2, 3, 4, 5),
    PreVoteReply(1, 2, 3, 4, True),
    RequestVote(1, 2, 3, 4, 5, False),
    RequestVoteReply(1, 2, 3, True),
    AppendEntries(1, 2, 4, 7, 3, 6, ENTRIES),
    AppendEntries(1, 2, 4, 7, 3, 6, ()),
    AppendEntriesReply(1, 2, 3, False, 4, 5, 6),
    Commit(1, 2, 3, 4),
    Heartbeat(1, 2, 3, 4, 5),
    HeartbeatReply(1, 2, 3, 4),
    InstallSnapshot(1, 2, 3, 4, 5, Configuration((1, 2), (1, 3), (4,), (5,))),
    TimeoutNow(1, 2, 3),
    ReadIndex(1, 2, 3, 4),
    ReadIndexReply(1, 2, 3, 4, 5),
    RequestEntries(1, 2, 3, 4, 5, 6, 7),
    EntriesReply(1, 2, 3, 1, 10, 4, 7, 3, ENTRIES),
    ForwardRequest(1, 2, 3, 4, b"command"),
    StateRequest(1, 2, 3),
    StateHash(1, 2, 3, 4, 2**64 - 1, 6),
    ForwardReply(1, 2, 3, 1, b"answer"),
    Goodbye(),
    SentAway(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_was_sent(message: Frame) -> None:
    frame = Encoder().encode(message)
    assert list(FrameParser().feed(frame)) == [message]


@given(st.lists(st.sampled_from(MESSAGES), max_size=12), st.integers(1, 400))
@settings(max_examples=60)
def test_frames_may_arrive_in_pieces_of_any_size(
    messages: list[Frame], size: int
) -> None:
    encoder, parser = Encoder(), FrameParser()
    stream = b"".join(map(encoder.encode, messages))
    found: list[Frame] = []
    for start in range(0, len(stream), size):
        found += parser.feed(stream[start : start + size])
    assert found == messages


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_payload_that_is_cut_or_prolonged_is_refused(
    message: Frame,
) -> None:
    frame = Encoder().encode(message)
    kind, payload = frame[4], frame[5:]
    free = isinstance(message, ForwardRequest | ForwardReply)
    for length in range(len(payload)):
        try:
            decoded = decode_message(kind, payload[:length])
        except PeerProtocolError:
            continue
        assert free, f"{length} bytes of {len(payload)} gave {decoded}"
    if not free:
        with pytest.raises(PeerProtocolError):
            decode_message(kind, payload + b"\0")


@given(st.integers(0, 255), st.binary(max_size=200))
@settings(max_examples=300)
def test_garbage_is_a_protocol_error_or_a_message(kind: int, payload: bytes) -> None:
    try:
        message = decode_message(kind, payload)
    except PeerProtocolError:
        return
    frame = Encoder().encode(message)
    assert (frame[4], decode_message(frame[4], frame[5:])) == (kind, message)


@pytest.mark.parametrize("length", [0, 1001, 1 << 31, (1 << 32) - 1])
def test_a_frame_of_a_wrong_length_is_refused_before_it_is_buffered(
    length: int,
) -> None:
    parser = FrameParser(frame_bytes_max=1000)
    with pytest.raises(PeerProtocolError):
        parser.feed(struct.pack("<I", length))
    assert parser.held <= 4


def test_more_entries_than_bytes_are_refused_at_once() -> None:
    head = struct.pack("<QQQQQQI", 1, 2, 3, 4, 5, 6, (1 << 32) - 1)
    with pytest.raises(PeerProtocolError, match="more entries than bytes"):
        decode_message(5, head)


def test_equal_runs_of_entries_are_encoded_once_and_others_anew() -> None:
    encoder = Encoder()
    first = AppendEntries(1, 2, 4, 7, 3, 6, ENTRIES)
    other = AppendEntries(1, 3, 4, 7, 3, 6, ENTRIES)
    shorter = AppendEntries(1, 3, 4, 7, 3, 6, ENTRIES[:2])
    frames = [encoder.encode(m) for m in (first, other, shorter, first)]
    parsed = [m for frame in frames for m in FrameParser().feed(frame)]
    assert parsed == [first, other, shorter, first]
