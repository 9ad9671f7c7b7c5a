"""Commands about members: exact bytes, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    Action,
    Admit,
    Announce,
    CommandRefused,
    Decide,
    DropToken,
    MakeToken,
    MemberCommand,
    MemberRole,
    Present,
    Reassign,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    Step,
    decode_command,
    encode_member_command,
)

IDS = st.integers(1, 2**64 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
SERIALS = st.integers(1, 2**160 - 1).map(
    lambda number: number.to_bytes((number.bit_length() + 7) // 8, "big")
)
NAMES = st.text("abc-1", min_size=1, max_size=64)
ADDRESSES = st.text("abc:1", min_size=1, max_size=300)
JOINING = st.sampled_from([MemberRole.VOTER, MemberRole.REPLICA, MemberRole.SPARE])
COMMANDS: st.SearchStrategy[MemberCommand] = st.one_of(
    st.builds(
        MakeToken, IDS, DIGESTS, st.integers(1, 86_400_000), st.integers(1, 9), JOINING
    ),
    st.builds(DropToken, IDS),
    st.builds(Admit, IDS, IDS, DIGESTS, NAMES, ADDRESSES, ADDRESSES),
    st.builds(Announce, IDS, NAMES, ADDRESSES, ADDRESSES),
    st.builds(Reassign, st.just(1), st.sampled_from(MemberRole), st.integers(2, 9)),
    st.builds(
        SetCaretaker,
        st.booleans(),
        st.sampled_from([None, 1, 3, 5, 7]),
        st.integers(5_000, 90_000),
        st.none() | st.integers(1_000, 90_000),
        st.none() | st.just(0) | st.integers(20, 10_000),
    ),
    st.builds(Decide, st.just(Action.REPLACE), st.just(1), st.integers(2, 9), NAMES),
    st.builds(
        Decide,
        st.sampled_from([Action.PROMOTE, Action.KEEP, Action.MOVE_LEADER]),
        *(IDS, st.just(0), NAMES),
    ),
    st.builds(
        Rotate,
        st.sampled_from(Step),
        st.just(b"old"),
        st.binary(min_size=4, max_size=9),
    ),
    st.builds(
        Present,
        IDS,
        SERIALS,
        DIGESTS,
        st.lists(DIGESTS, min_size=1, max_size=2).map(tuple),
    ),
    st.builds(RevokeCertificate, IDS, st.just(b"")),
    st.builds(RevokeCertificate, st.just(0), SERIALS),
)


@given(COMMANDS)
def test_a_command_survives_its_bytes(command: MemberCommand) -> None:
    assert decode_command(encode_member_command(command), DEFAULT_LIMITS) == command


@given(COMMANDS, st.integers(1, 7), st.integers(1, 255))
def test_a_reserved_byte_that_is_set_is_refused(
    command: MemberCommand, at: int, value: int
) -> None:
    data = bytearray(encode_member_command(command))
    data[at] = value
    with pytest.raises(CommandRefused):
        decode_command(bytes(data), DEFAULT_LIMITS)


@given(COMMANDS, st.binary(min_size=1, max_size=3))
def test_bytes_behind_a_command_are_refused(
    command: MemberCommand, more: bytes
) -> None:
    with pytest.raises(CommandRefused):
        decode_command(encode_member_command(command) + more, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    "command",
    [
        MakeToken(0, b"d" * 32, 1, 1, MemberRole.VOTER),
        MakeToken(1, b"d" * 31, 1, 1, MemberRole.VOTER),
        MakeToken(1, b"d" * 32, 0, 1, MemberRole.VOTER),
        MakeToken(1, b"d" * 32, 31 * 86_400_000, 1, MemberRole.VOTER),
        MakeToken(1, b"d" * 32, 1, 0, MemberRole.VOTER),
        MakeToken(1, b"d" * 32, 1, 1, MemberRole.LEAVING),
        DropToken(2**64),
        Admit(0, 1, b"k" * 32, "n", "a:1", "b:1"),
        Admit(1, 0, b"k" * 32, "n", "a:1", "b:1"),
        Admit(1, 1, b"k", "n", "a:1", "b:1"),
        Admit(1, 1, b"k" * 32, "", "a:1", "b:1"),
        Announce(1, "n" * 65, "a:1", "b:1"),
        Announce(1, "n", "", "b:1"),
        Announce(1, "n", "a:1", "b" * 301),
        Reassign(1, MemberRole.LEAVING, 1),
        Reassign(1, MemberRole.LEAVING, -1),
        Rotate(Step.TRUST, b"", b"new"),
        Rotate(Step.TRUST, b"same", b"same"),
        Rotate(Step.DROP, b"old", b"n" * 4097),
        Present(0, b"s", b"i" * 32, (b"r" * 32,)),
        Present(1, b"", b"i" * 32, (b"r" * 32,)),
        Present(1, b"\0s", b"i" * 32, (b"r" * 32,)),
        Present(1, b"s" * 21, b"i" * 32, (b"r" * 32,)),
        Present(1, b"s", b"i" * 31, (b"r" * 32,)),
        Present(1, b"s", b"i" * 32, (b"r" * 33,)),
        Present(1, b"s", b"i" * 32, ()),
        Present(1, b"s", b"i" * 32, (b"r" * 32,) * 3),
        RevokeCertificate(0, b""),
        RevokeCertificate(1, b"s"),
        RevokeCertificate(2**64, b""),
        SetCaretaker(),
        *(SetCaretaker(voters=voters) for voters in (-1, 0, 2, 9)),
        *(SetCaretaker(silence_ms=time) for time in (0, 4_999, 8 * 86_400_000)),
        *(SetCaretaker(stable_ms=time) for time in (0, 999, 8 * 86_400_000)),
        *(SetCaretaker(lag_ms=time) for time in (-1, 19, 10_001)),
        # Only who gives a vote can take one.
        Decide(Action.REPLACE, 1, 0, "why"),
        Decide(Action.REPLACE, 1, 1, "why"),
        Decide(Action.REPLACE, 1, 2**64, "why"),
        Decide(Action.REPLACE, 0, 1, "why"),
        Decide(Action.PROMOTE, 1, 2, "why"),
        Decide(Action.KEEP, 1, 0, ""),
        Decide(Action.KEEP, 1, 0, "x" * 301),
    ],
)
def test_what_can_not_be_meant_is_refused(command: MemberCommand) -> None:
    with pytest.raises(CommandRefused):
        encode_member_command(command)
