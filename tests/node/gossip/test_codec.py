"""Gossip as bytes: each message comes back, and garbage is one error, nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.gossip import (
    Ack,
    Claim,
    Frames,
    GossipError,
    Message,
    Nack,
    News,
    Ping,
    PingRequest,
    State,
    Sync,
    Vitals,
    decode_message,
    encode_message,
    frame,
)
from quorate.node.gossip.codec import (
    CLAIMS_MAX,
    MESSAGE_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from quorate.node.gossip.limits import INCARNATION_MAX

ALIVE = Claim(2, 5, State.ALIVE, 0, "a:1", "http://a", "1.0", Vitals(1, 2, 3, 4))
SUSPECT = msgspec.structs.replace(ALIVE, member=3, state=State.SUSPECT, accuser=2)
MESSAGES: list[Message] = [
    Ping(1, 2, 9, (ALIVE,)),
    PingRequest(1, 2, 9, 3, (ALIVE, SUSPECT)),
    Ack(1, 2, 9, 2, ()),
    Nack(1, 2, 9, (ALIVE,)),
    News(1, 2, (ALIVE, SUSPECT)),
    Sync(1, 2, True, (ALIVE,)),
    Sync(1, 2, False, ()),
]
u64 = st.integers(0, (1 << 64) - 1)
ids = st.integers(1, (1 << 64) - 1)
# No surrogates: they are no text.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=TEXT_BYTES_MAX // 4)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    state = draw(st.sampled_from(State))
    accused = state in (State.SUSPECT, State.DEAD)
    vitals = Vitals(
        draw(u64), draw(st.integers(0, 8)), draw(st.integers(0, 1 << 31)), draw(u64)
    )
    return Claim(
        draw(ids),
        draw(st.integers(1, INCARNATION_MAX)),
        state,
        draw(ids) if accused else 0,
        draw(texts),
        draw(texts),
        draw(texts),
        vitals,
    )


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_comes_back(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(ids, ids, u64, st.lists(claims(), max_size=4))
def test_what_claims_say_comes_back(
    cluster: int, sender: int, number: int, said: list[Claim]
) -> None:
    message = Ping(cluster, sender, number, tuple(said))
    assert decode_message(encode_message(message)) == message


def test_the_bytes_of_a_message_are_these() -> None:
    """Kinds and layouts are permanent."""
    assert (
        encode_message(PingRequest(1, 2, 9, 3, (SUSPECT,))).hex()
        == (
            "02"  # kind
            "0100000000000000" + "0200000000000000"  # cluster, sender
            "0900000000000000" + "0300000000000000"  # number, target
            "0100"  # one claim
            "0300000000000000" + "0500000000000000"  # member, incarnation
            "01" + "0200000000000000"  # suspect, accuser
            "0100000000000000" + "02" + "03000000"  # beat, strain, lag
            "0400000000000000"  # applied index
            "0300613a31" + "0800687474703a2f2f61" + "0300312e30"  # texts
        )
    )


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_that_is_cut_or_goes_on_is_refused(message: Message) -> None:
    data = encode_message(message)
    for end in range(len(data)):
        with pytest.raises(GossipError):
            decode_message(data[:end])
    with pytest.raises(GossipError):
        decode_message(data + b"\0")


@given(st.binary(max_size=300))
def test_garbage_is_one_error(data: bytes) -> None:
    try:
        decode_message(data)
    except GossipError:
        return


@given(st.sampled_from(MESSAGES), st.data())
def test_a_flipped_byte_is_an_error_or_another_message(
    message: Message, data: st.DataObject
) -> None:
    """What is understood has exactly one spelling."""
    spoilt = bytearray(encode_message(message))
    place = data.draw(st.integers(0, len(spoilt) - 1))
    spoilt[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_message(bytes(spoilt))
    except GossipError:
        return
    assert encode_message(decoded) == bytes(spoilt)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("member", 0),
        ("incarnation", 0),
        ("incarnation", INCARNATION_MAX + 1),
        ("accuser", 4),
        ("vitals", Vitals(1, 9, 0, 0)),
    ],
)
def test_a_claim_that_nobody_can_make_is_refused(field: str, value: object) -> None:
    said = msgspec.structs.replace(ALIVE, **{field: value})
    with pytest.raises(GossipError):
        decode_message(encode_message(News(1, 2, (said,))))


def test_a_suspicion_without_an_accuser_is_refused() -> None:
    said = msgspec.structs.replace(SUSPECT, accuser=0)
    with pytest.raises(GossipError):
        decode_message(encode_message(News(1, 2, (said,))))


@pytest.mark.parametrize("message", [Ping(0, 2, 1, ()), Ping(1, 0, 1, ())])
def test_a_message_of_nobody_is_refused(message: Message) -> None:
    with pytest.raises(GossipError):
        decode_message(encode_message(message))


def test_more_claims_than_there_can_be_members_are_refused() -> None:
    fine = News(1, 2, (ALIVE,) * CLAIMS_MAX)
    assert decode_message(encode_message(fine)) == fine
    with pytest.raises(GossipError):
        decode_message(encode_message(News(1, 2, (ALIVE,) * (CLAIMS_MAX + 1))))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_frames_come_out_whole_however_they_arrive(sizes: list[int]) -> None:
    data = b"".join(map(frame, MESSAGES))
    frames, found, start = Frames(), list[Message](), 0
    for size in sizes:
        found += frames.feed(data[start : start + size])
        start += size
    found += frames.feed(data[start:])
    assert found == MESSAGES


@pytest.mark.parametrize("length", [0, 34, MESSAGE_BYTES_MAX + 1, (1 << 32) - 1])
def test_a_frame_of_an_impossible_length_is_refused_at_once(length: int) -> None:
    with pytest.raises(GossipError):
        list(Frames().feed(length.to_bytes(4, "little")))


def test_the_largest_message_fits_into_a_frame() -> None:
    long = "x" * TEXT_BYTES_MAX
    said = msgspec.structs.replace(ALIVE, peer=long, client=long, version=long)
    message = Sync(1, 2, False, (said,) * CLAIMS_MAX)
    assert len(encode_message(message)) == MESSAGE_BYTES_MAX
    assert list(Frames().feed(frame(message))) == [message]
