"""Base64 in both alphabets, padded or not, and no other text for the same bytes."""

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire.base64_text import decode_base64

PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@given(st.binary(max_size=40))
def test_both_alphabets_are_read_padded_or_not(data: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(data)
        assert decode_base64(encoded) == data
        assert decode_base64(encoded.rstrip(b"=")) == data


@given(st.text([*map(chr, PLAIN), *"==-_ \n\u00e4"], max_size=12).map(str.encode))
def test_what_is_read_is_what_would_have_been_written(text: bytes) -> None:
    found = decode_base64(text)
    plain = text.translate(bytes.maketrans(b"-_", b"+/"))
    if found is not None:
        whole = base64.b64encode(found)
        assert plain in (whole, whole.rstrip(b"="))
        return
    # What is not read is not what an encoder writes.
    for ending in (b"", b"=", b"=="):
        try:
            other = base64.b64decode(plain + ending, validate=True)
        except binascii.Error:
            continue
        whole = base64.b64encode(other)
        assert plain not in (whole, whole.rstrip(b"="))


@pytest.mark.parametrize(
    "text",
    [b"A", b"=", b"AB=", b"AB===", b"AQ==A", b"A=Q=", b"AR==", b"A Q=", b"AQ==\n"],
)
def test_half_padding_spare_bits_and_other_characters_are_refused(text: bytes) -> None:
    assert decode_base64(text) is None
