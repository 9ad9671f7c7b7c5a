"""How much a page of a range reads, whatever it shows."""

import pytest
from quorate.storage.engine.blob import Blob

from .support import new_database, put, range_of

VALUE = bytes(100_000)


@pytest.mark.parametrize("keys_only", [False, True])
def test_a_page_ends_after_so_many_bytes_whether_it_shows_them_or_not(
    keys_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: a page of keys alone read, and held, a thousand values of any size."""
    database = new_database()
    keys = [b"%03d" % n for n in range(60)]
    for index, key in enumerate(keys, start=1):
        database.apply([put(index, key, VALUE)])
    database.store.flush()
    read: list[int] = []
    value = Blob.value

    def counted(blob: Blob, offset: int, length: int, crc: int) -> bytes:
        read.append(length)
        return value(blob, offset, length, crc)

    monkeypatch.setattr(Blob, "value", counted)
    page, more = range_of(
        database, b"", None, records_max=1000, bytes_max=1 << 20, keys_only=keys_only
    )
    assert more
    assert [record.key for record in page] == keys[:11]
    # And the one that says that there is more.
    assert len(read) == 12
    assert {len(record.value) for record in page} == {0 if keys_only else len(VALUE)}
