"""One CRC-32, whoever computes it."""

import subprocess
import sys
import zlib
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.storage.checksum import crc32

# What a node of another processor does: the same, with zlib.
_WITHOUT_ISAL = """
import sys, zlib
sys.modules["isal"] = None
from quorate.storage import checksum
assert checksum.crc32 is zlib.crc32
from quorate.storage.engine import Engine
"""


@given(st.binary(max_size=5000), st.integers(0, (1 << 32) - 1))
def test_it_is_the_one_of_zlib(data: bytes, begun: int) -> None:
    assert crc32(data) == zlib.crc32(data)
    assert crc32(data, begun) == zlib.crc32(data, begun)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 2048, 70_000, 1 << 20])
def test_it_takes_whatever_has_bytes(size: int) -> None:
    data = bytes(n * 7 % 251 for n in range(size))
    expected = zlib.crc32(data)
    assert crc32(bytearray(data)) == expected
    assert crc32(memoryview(data)) == expected
    assert crc32(array("B", data)) == expected
    half = size // 2
    assert crc32(memoryview(data)[half:], crc32(data[:half])) == expected


def test_nothing_is_missing_where_there_is_no_wheel() -> None:
    subprocess.run([sys.executable, "-c", _WITHOUT_ISAL], check=True, timeout=60)
