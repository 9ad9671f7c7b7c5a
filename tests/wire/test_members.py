"""Commands about members: exact bytes, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    Admit,
    Announce,
    CommandRefused,
    DropToken,
    MakeToken,
    MemberCommand,
    MemberRole,
    Reassign,
    decode_command,
    encode_member_command,
)

IDS = st.integers(1, 2**64 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
NAMES = st.text("abc-1", min_size=1, max_size=64)
ADDRESSES = st.text("abc:1", min_size=1, max_size=300)
JOINING = st.sampled_from([MemberRole.VOTER, MemberRole.REPLICA])
COMMANDS: st.SearchStrategy[MemberCommand] = st.one_of(
    st.builds(
        MakeToken, IDS, DIGESTS, st.integers(1, 86_400_000), st.integers(1, 9), JOINING
    ),
    st.builds(DropToken, IDS),
    st.builds(Admit, IDS, IDS, DIGESTS, NAMES, ADDRESSES, ADDRESSES),
    st.builds(Announce, IDS, NAMES, ADDRESSES, ADDRESSES),
    st.builds(Reassign, st.just(1), st.sampled_from(MemberRole), st.integers(2, 9)),
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
    ],
)
def test_what_can_not_be_meant_is_refused(command: MemberCommand) -> None:
    with pytest.raises(CommandRefused):
        encode_member_command(command)
