"""What is told about members, and who shall lead: one spelling, and no garbage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    Member,
    Members,
    ProtocolError,
    Token,
    decode_members,
    decode_move_leader,
    encode_members,
    encode_move_leader,
    id_name,
    parse_member_id,
)

A1 = "00000000000000a1"
KNOWN = Members(
    cluster_id="00000000000000c1",
    authority="ab" * 32,
    told_by=A1,
    leader=A1,
    commit_index=7,
    waits_for="",
    members=(
        Member(
            id=A1,
            name="n1",
            wanted="voter",
            votes=True,
            leads=True,
            connected=True,
            match_index=7,
            peer="127.0.0.1:7500",
            client="http://127.0.0.1:7400",
        ),
    ),
    tokens=(Token("00000000000000b2", "replica", 2, 1000),),
)


def test_the_document_survives_its_bytes_and_may_have_more_fields() -> None:
    body = encode_members(KNOWN)
    assert decode_members(body) == KNOWN
    assert decode_members(json.dumps({**json.loads(body), "new": 1}).encode()) == KNOWN


def test_who_knows_no_leader_says_null() -> None:
    document = {**json.loads(encode_members(KNOWN)), "leader": None}
    assert decode_members(json.dumps(document).encode()).leader is None


WRONG: dict[str, object] = {
    "cluster_id": "c1",
    "authority": "ab",
    "told_by": "A" * 16,
    "leader": "",
    "commit_index": "7",
    "members": [{}],
    "tokens": [{"id": A1}],
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_of_another_shape_is_refused(field: str) -> None:
    document = {**json.loads(encode_members(KNOWN)), field: WRONG[field]}
    with pytest.raises(ProtocolError, match="malformed list of members"):
        decode_members(json.dumps(document).encode())


@given(st.binary(max_size=40))
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_members(body)


@pytest.mark.parametrize("member", [0, 1, 2**64 - 1])
def test_who_shall_lead_survives_its_bytes(member: int) -> None:
    assert decode_move_leader(encode_move_leader(member)) == member
    assert encode_move_leader(1) == b"\1" + bytes(7)


@given(st.binary(max_size=20).filter(lambda body: len(body) != 8))
def test_an_id_of_another_length_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_move_leader(body)


def test_an_id_as_text_is_16_small_hex_digits_and_not_0() -> None:
    assert id_name(0xA1) == A1
    assert parse_member_id(A1) == 0xA1
    for text in ("", "a1", "0" * 16, "A" * 16, A1 + "\n", "0x" + "1" * 14):
        assert parse_member_id(text) is None
