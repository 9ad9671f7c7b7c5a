"""The bytes of a key's record, kept for ever."""

from hypothesis import given
from hypothesis import strategies as st
from quorate.node.database.records import (
    HEAD_BYTES,
    KeyRecord,
    as_record,
    as_told,
    decode_record,
    encode_record,
    mod_and_lease_of,
    mod_revision_of,
)
from quorate.storage.engine import VALUE
from quorate.wire import encode_record as encode_for_clients

U64 = st.integers(0, 2**64 - 1)
GOLDEN = (
    "0200000000000000" "0500000000000000" "0300000000000000" "0700000000000000"
    "DIGEST" "68656c6c6f"
)  # fmt: skip
GOLDEN_DIGEST = "f47a314a729023a95ba3f772ecb4dcea"


def test_a_record_has_these_bytes_for_ever() -> None:
    record, number = encode_record(b"greeting", 2, 5, 3, 7, b"hello")
    assert number.to_bytes(16, "little").hex() == GOLDEN_DIGEST
    assert record.hex() == "00" + GOLDEN.replace("DIGEST", GOLDEN_DIGEST)


@given(U64, U64, U64, U64, st.binary(max_size=40))
def test_what_was_encoded_is_decoded(
    create: int, mod: int, version: int, lease: int, value: bytes
) -> None:
    record, number = encode_record(b"k", create, mod, version, lease, value)
    wanted = KeyRecord(create, mod, version, lease, number, value)
    kept = record[len(VALUE) :]
    assert decode_record(kept) == wanted
    assert mod_revision_of(kept) == mod
    assert mod_and_lease_of(record) == (mod, lease)
    assert len(kept) == HEAD_BYTES + len(value)


@given(st.binary(max_size=9), U64, U64, U64, U64, st.binary(max_size=40))
def test_clients_are_told_the_same_by_both_ways(
    key: bytes, create: int, mod: int, version: int, lease: int, value: bytes
) -> None:
    record, _ = encode_record(key, create, mod, version, lease, value)
    wanted = encode_for_clients(as_record(key, record[len(VALUE) :]))
    assert as_told(key, record) == wanted


def digest(
    key: bytes, create: int, mod: int, version: int, lease: int, value: bytes
) -> int:
    _, number = encode_record(key, create, mod, version, lease, value)
    return number


def test_every_part_of_a_record_is_in_its_digest() -> None:
    base = digest(b"key", 1, 2, 3, 4, b"value")
    others = {
        digest(b"kez", 1, 2, 3, 4, b"value"),
        digest(b"key", 9, 2, 3, 4, b"value"),
        digest(b"key", 1, 9, 3, 4, b"value"),
        digest(b"key", 1, 2, 9, 4, b"value"),
        digest(b"key", 1, 2, 3, 9, b"value"),
        digest(b"key", 1, 2, 3, 4, b"valuf"),
        digest(b"keyv", 1, 2, 3, 4, b"alue"),
        digest(b"", 1, 2, 3, 4, b"keyvalue"),
    }
    assert len(others | {base}) == 9
