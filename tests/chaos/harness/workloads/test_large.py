"""Large values are whole or none."""

import pytest
from quorate.chaos.harness.history import UNREADABLE
from quorate.chaos.harness.workloads.large import SIZES, _named, large_value
from quorate.client import KeyValue


async def found(value: bytes) -> KeyValue | None:
    return KeyValue(b"large/0", value, 2, 7, 1, lease=0)


@pytest.mark.parametrize("size", SIZES)
async def test_a_value_is_as_long_as_it_says_and_known_by_its_name(size: int) -> None:
    name = f"large/0:12:{size}"
    value = large_value(name, size)
    assert len(value) == size
    assert await _named(found(value)) == (name, 7)


async def test_a_value_of_which_anything_is_wrong_is_no_value() -> None:
    value = large_value("large/0:12:1024", 1024)
    wrong = [value[:-1], value + b"x", value[:500] + b"x" + value[501:], b"", b"large"]
    for each in wrong:
        assert await _named(found(each)) == (UNREADABLE, 7)


@pytest.mark.parametrize("size", ["²", "9" * 5000, str(10**15), "-1", ""])
async def test_a_size_that_is_damaged_is_not_taken_for_one(size: str) -> None:
    assert await _named(found(f"large/0:12:{size}\nx".encode())) == (UNREADABLE, 7)
