"""The bytes of the journal, kept for ever, and what is not such bytes."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.storage.journal_format import (
    BLOCK_BYTES,
    FOOT_BYTES,
    HEAD_BYTES,
    Foot,
    Head,
    JournalEntry,
    decode_entries,
    decode_foot,
    decode_head,
    encode_batch,
    encode_entries,
    extent,
    salt_at,
)

ENTRIES = [JournalEntry(7, 3, 1, b"abc"), JournalEntry(8, 4, 2, b"")]
HEAD = Head(
    flags=2,
    salt=0x1122334455667788,
    segment=3,
    batch=9,
    durable=8,
    previous_crc=0xA1B2C3D4,
    body_length=35,
    body_crc=0x01020304,
    entry_count=2,
    term=5,
    vote=6,
    commit_index=7,
    base_index=4,
    base_term=1,
    first_index=7,
    last_index=8,
    last_term=4,
    doubt_term=10,
    doubt_index=11,
)
GOLDEN_BODY = (
    "03000000" "01" "000000" "0300000000000000" "616263"
    "00000000" "02" "000000" "0400000000000000"
)  # fmt: skip
GOLDEN_HEAD = (
    "514a4231" "0100" "0200" "8877665544332211" "0300000000000000"
    "0900000000000000" "0800000000000000" "d4c3b2a1" "23000000"
    "04030201" "02000000" "0500000000000000" "0600000000000000"
    "0700000000000000" "0400000000000000" "0100000000000000"
    "0700000000000000" "0800000000000000" "0400000000000000"
    "0a00000000000000" "0b00000000000000"
)  # fmt: skip


GOLDEN_BATCH = "f70cb39cff0ed2eab1abcdc772cc3525b36aa54249f1ba4e36b24a4c58eac7a1"


def test_a_batch_has_these_bytes_for_ever() -> None:
    body = encode_entries(ENTRIES)
    assert body.hex() == GOLDEN_BODY
    data, head_crc = encode_batch(HEAD, body)
    assert len(data) == BLOCK_BYTES
    assert data[: HEAD_BYTES - 4].hex() == GOLDEN_HEAD
    assert data[HEAD_BYTES - 4 : HEAD_BYTES] == head_crc.to_bytes(4, "little")
    assert data[HEAD_BYTES : HEAD_BYTES + 35] == body
    assert not data[HEAD_BYTES + 35 : -FOOT_BYTES].strip(b"\0")
    assert data[-FOOT_BYTES : -FOOT_BYTES + 8] == b"QJF1" + head_crc.to_bytes(
        4, "little"
    )
    assert sha256(data).hexdigest() == GOLDEN_BATCH


def test_what_was_encoded_is_decoded() -> None:
    body = encode_entries(ENTRIES)
    data, head_crc = encode_batch(HEAD, body)
    assert decode_head(data, 0) == (HEAD, head_crc)
    assert decode_foot(data, len(data)) == Foot(
        head_crc, HEAD.salt, HEAD.segment, HEAD.batch, 5, 6, 8, 4
    )
    assert decode_entries(body, 7, 2) == ENTRIES
    assert salt_at(data, 0) == HEAD.salt


@pytest.mark.parametrize("count", [0, 1, 3])
def test_entries_that_are_not_exactly_so_many_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"early|after"):
        decode_entries(encode_entries(ENTRIES), 7, count)


def test_entries_cut_anywhere_are_refused() -> None:
    body = encode_entries(ENTRIES)
    for length in range(len(body)):
        with pytest.raises(ValueError, match="early"):
            decode_entries(body[:length], 7, 2)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_noise_is_neither_head_nor_foot(noise: bytes, at: int) -> None:
    assert decode_head(noise, at) is None
    assert decode_foot(noise, at) is None


@given(st.integers(0, HEAD_BYTES * 8 - 1))
def test_a_head_with_a_flipped_bit_is_no_head(bit: int) -> None:
    data = bytearray(encode_batch(HEAD, encode_entries(ENTRIES))[0])
    data[bit // 8] ^= 1 << bit % 8
    assert decode_head(bytes(data), 0) is None


@given(st.integers(0, 5 * BLOCK_BYTES))
def test_an_extent_is_whole_blocks_and_not_one_too_many(body_length: int) -> None:
    size = extent(body_length)
    spare = size - (HEAD_BYTES + body_length + FOOT_BYTES)
    assert size % BLOCK_BYTES == 0
    assert 0 <= spare < BLOCK_BYTES
