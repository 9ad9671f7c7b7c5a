"""What an engine is opened with: what is refused, and that the rest can be done."""

import pytest
from quorate.storage.engine import EngineOptions
from quorate.storage.engine.table_format import BLOCK_BYTES_MAX, KEY_BYTES_MAX

from .engine_kit import new_engine


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memtable_bytes", 0),
        ("memtables_max", 0),
        ("block_bytes", 0),
        ("block_bytes", BLOCK_BYTES_MAX + 1),
        ("scanned_block_bytes", BLOCK_BYTES_MAX + 1),
        ("compressed_block_bytes", BLOCK_BYTES_MAX + 1),
        ("table_bytes", 0),
        ("tier_ratio", 1),
        ("filter_bits", 0),
        ("blob_bytes", 0),
        ("blob_bytes", 1 + (16 << 10)),
        ("cache_bytes", -1),
        ("compression", ()),
        ("compression", ("none", "lzma")),
    ],
)
def test_what_no_engine_can_do_is_refused(name: str, value: object) -> None:
    """Story: it was found out by a worker that died of it again and again, or never."""
    with pytest.raises(ValueError, match=f"^{name} is "):
        EngineOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_largest_block_has_room_for_the_longest_entry(compression: str) -> None:
    """One byte less than fills it, and then the longest key and record."""
    options = EngineOptions(
        block_bytes=BLOCK_BYTES_MAX,
        compressed_block_bytes=BLOCK_BYTES_MAX,
        compression=(compression,),  # type: ignore[arg-type]
    )
    engine = new_engine(options)
    first, left = b"a", BLOCK_BYTES_MAX - 1
    effects: dict[bytes, bytes | None] = {}
    while left:
        # A record has a byte more than its value, an entry six more than both.
        size = min(left, 8000) - len(first) - 7
        effects[first] = bytes(size)
        left -= size + len(first) + 7
        first = bytes([first[0] + 1])
    effects[b"z" * KEY_BYTES_MAX] = b"v" * ((16 << 10) - 1)
    engine.write(effects, 1)
    engine.compact()
    assert dict(engine.scan()) == effects
    (table,) = engine.levels()[0]
    assert table.entries == len(effects)
    assert sum(engine.verify()) > 0
