"""A checkpoint is believed whole or not at all."""

import random
from hashlib import blake2b, sha256

import msgspec
import pytest
from quorate.node.database import CheckpointReader, DamagedCheckpoint, Database, Header
from quorate.node.database.checkpoint import (
    BLOCK_BYTES,
    header_of,
    write_checkpoint,
)

from .support import (
    CLUSTER,
    CONFIGURATION,
    checkpoint_of,
    delete,
    put,
    read_checkpoint,
    records_of,
)

GOLDEN = "b98bfe568c2fce8f6226568ee87804274436834059e1ff0237a74234b75be47d"


def small() -> Database:
    database = Database()
    database.apply(
        [
            put(1, b"a", b"one"),
            put(2, b"b", b""),
            put(3, b"a", b"two"),
            put(4, b"c", b"gone"),
            delete(5, b"c"),
        ]
    )
    return database


def large() -> Database:
    """Several blocks, and a value larger than one."""
    database = Database()
    dice = random.Random(5)
    entries = [put(n, b"key %d" % n, dice.randbytes(900)) for n in range(1, 200)]
    entries.append(put(200, b"large", dice.randbytes(3 * BLOCK_BYTES)))
    database.apply(entries)
    return database


def test_a_checkpoint_has_these_bytes_for_ever() -> None:
    data = checkpoint_of(small())
    assert (
        data[:12].hex()
        == "51434b3101000000" + len(header(data)).to_bytes(4, "little").hex()
    )
    assert msgspec.msgpack.decode(header(data))[:5] == [CLUSTER, 1, 5, 1, CONFIGURATION]
    assert data[-32:] == blake2b(data[:-32], digest_size=32).digest()
    assert sha256(data).hexdigest() == GOLDEN


def header(data: bytes) -> bytes:
    length = int.from_bytes(data[8:12], "little")
    return data[12 : 12 + length]


@pytest.mark.parametrize("make", [Database, small, large])
@pytest.mark.parametrize("piece", [1, 4096, 1 << 30])
def test_what_was_written_is_read_in_pieces_of_any_size(
    make: type[Database], piece: int
) -> None:
    database = make()
    data = checkpoint_of(database)
    if piece == 1 and len(data) > 2000:
        piece = 777
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    read = read_checkpoint(pieces)
    assert read.meta() == database.meta()
    assert read.state_hash() == database.state_hash()
    assert records_of(read) == records_of(database)
    assert read.store.count() == database.store.count()
    assert read.store.size_bytes() == database.store.size_bytes()
    assert read.store.applied_index == database.applied_index
    assert checkpoint_of(read) == data


def test_the_header_tells_what_it_is_of_before_the_rest_has_come() -> None:
    database = small()
    data = checkpoint_of(database)
    reader = CheckpointReader(CLUSTER)
    reader.feed(data[: 12 + len(header(data)) + 4])
    assert isinstance(reader.header, Header)
    assert (reader.header.index, reader.header.term) == (5, 1)
    assert reader.header.configuration == CONFIGURATION
    with pytest.raises(DamagedCheckpoint, match="early"):
        reader.finish()


def test_a_database_goes_on_from_a_checkpoint_as_if_nothing_had_been() -> None:
    database = small()
    read = read_checkpoint([checkpoint_of(database)])
    more = [put(6, b"a", b"three"), put(7, b"d", b"x", 0), delete(8, b"b")]
    assert read.apply(more) == database.apply(more)
    assert read.state_hash() == database.state_hash()
    assert checkpoint_of(read) == checkpoint_of(database)


def test_the_view_of_a_checkpoint_does_not_change_while_the_store_does() -> None:
    database = small()
    before = records_of(database)
    view = database.store.view()
    database.apply([put(6, b"a", b"new"), put(7, b"z", b"new"), delete(8, b"b")])
    assert list(view.records()) == before


def test_every_truncation_is_damage() -> None:
    data = checkpoint_of(small())
    for length in range(len(data)):
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint([data[:length]])


def test_every_flipped_bit_is_damage() -> None:
    data = checkpoint_of(small())
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(DamagedCheckpoint):
                read_checkpoint([bytes(damaged)])


def test_a_flipped_bit_anywhere_in_a_large_one_is_damage() -> None:
    data = checkpoint_of(large())
    dice = random.Random(1)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint([bytes(damaged)])


def test_parts_that_change_places_are_damage() -> None:
    """Each block has its own crc; only the hash of the whole sees their order."""
    data = checkpoint_of(large())
    start = 12 + len(header(data)) + 4
    first = 8 + int.from_bytes(data[start : start + 4], "little")
    second_at = start + first
    second = 8 + int.from_bytes(data[second_at : second_at + 4], "little")
    end = second_at + second
    swapped = data[second_at:end] + data[start:second_at]
    for changed in (swapped, b"", data[start:second_at] * 2 + data[second_at:end]):
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint([data[:start] + changed + data[end:]])


@pytest.mark.parametrize("together", [True, False])
def test_bytes_after_the_end_are_damage(together: bool) -> None:
    data = checkpoint_of(small())
    pieces = [data + b"\0"] if together else [data, b"\0"]
    with pytest.raises(DamagedCheckpoint, match="after the end"):
        read_checkpoint(pieces)


def test_a_checkpoint_of_another_cluster_is_refused_at_its_header() -> None:
    data = checkpoint_of(small(), CLUSTER + 1)
    reader = CheckpointReader(CLUSTER)
    with pytest.raises(DamagedCheckpoint, match="another cluster"):
        reader.feed(data[: 12 + len(header(data)) + 4])


def resealed(database: Database, **changes: int | bytes) -> bytes:
    """A checkpoint with another header, all its checksums right."""
    wanted = header_of(CLUSTER, CONFIGURATION, database.meta(), database.store.count())
    wanted = msgspec.structs.replace(wanted, **changes)
    return b"".join(write_checkpoint(wanted, database.store.view()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"store": 2}, "another cluster or store"),
        ({"count": 1}, "number of records"),
        ({"digest_sum": bytes(16)}, "digests do not add up"),
    ],
)
def test_a_header_that_contradicts_the_records_is_damage(
    changes: dict[str, int | bytes], reason: str
) -> None:
    with pytest.raises(DamagedCheckpoint, match=reason):
        read_checkpoint([resealed(small(), **changes)])


def test_a_format_of_the_future_is_refused() -> None:
    data = checkpoint_of(small())
    with pytest.raises(DamagedCheckpoint, match="does not begin"):
        read_checkpoint([data[:4] + b"\2\0" + data[6:]])


def test_lengths_that_promise_too_much_are_refused_before_they_are_buffered() -> None:
    data = checkpoint_of(small())
    reader = CheckpointReader(CLUSTER)
    with pytest.raises(DamagedCheckpoint):
        reader.feed(data[:8] + b"\xff\xff\xff\x7f")
    start = 12 + len(header(data)) + 4
    reader = CheckpointReader(CLUSTER)
    with pytest.raises(DamagedCheckpoint, match="too long"):
        reader.feed(data[:start] + b"\xff\xff\xff\x7f\0\0\0\0")
