"""Keys are sorted before a scan wants them, where scans are likely."""

import random

import msgspec
import pytest
from quorate.storage.engine import memtable

from .engine_kit import SMALL, Twin

OPTIONS = msgspec.structs.replace(SMALL, memtable_bytes=1 << 16)


def unsorted(twin: Twin) -> int:
    newest = twin.engine._memtable
    return len(newest.data) - newest._sorted


def test_a_scan_now_and_then_does_not_sort_a_whole_memtable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: the first scan after 16 MiB of writes held the loop for 40 ms, and for as
    long again for each memtable that waited to be flushed.
    """
    monkeypatch.setattr(memtable, "_UNSORTED_KEYS", 10)
    monkeypatch.setattr(memtable, "_SCANNED_LATELY", 2)
    twin, chance = Twin(OPTIONS), random.Random(7)

    def write() -> None:
        twin.write({chance.randbytes(6): b"x" for _ in range(4)})

    for _ in range(20):
        write()
    assert unsorted(twin) == len(twin.engine._memtable.data) > 70
    twin.check()
    most = 0
    for round_number in range(3):
        for _ in range(40):
            write()
            most = max(most, unsorted(twin))
        if round_number < 2:
            # The next two memtables expect scans as well; the third one does not.
            twin.engine.freeze()
            assert twin.engine._memtable.scans_likely == 1 - round_number
            twin.engine.flush()
            assert most < 10
    assert most > 100
    twin.check()
