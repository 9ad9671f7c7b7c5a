"""Keys that are only scanned are in no filter, and are found all the same."""

import msgspec
import pytest
from quorate.storage.engine import EngineOptions

from .engine_kit import SMALL, Twin

SCANNED = msgspec.structs.replace(SMALL, scanned=b"sz")


def filled(options: EngineOptions) -> Twin:
    """Keys of three families in several runs, some of them deleted again."""
    twin = Twin(options)
    for number in range(120):
        key = b"%c%03d" % (b"abs"[number % 3], number * 7 % 40)
        twin.write({key: None if number % 11 == 5 else b"v%d" % number * 4})
        if number % 30 == 29:
            twin.engine.flush()
    return twin


def bytes_of_filters(twin: Twin) -> int:
    return sum(len(table.words) for table in twin.engine._version.tables())


def test_what_is_in_no_filter_is_found() -> None:
    twin = filled(SCANNED)
    twin.check()
    assert twin.engine.get(b"s999") is None
    assert twin.engine.get(b"a999") is None
    twin.engine.compact()
    twin.check()


def test_filters_are_smaller_by_what_they_do_not_have() -> None:
    assert bytes_of_filters(filled(SCANNED)) < bytes_of_filters(filled(SMALL))


@pytest.mark.parametrize(("before", "after"), [(SCANNED, SMALL), (SMALL, SCANNED)])
def test_a_table_knows_by_itself_what_its_filter_lacks(
    before: EngineOptions, after: EngineOptions
) -> None:
    """Whoever opens it may have been told otherwise."""
    twin = filled(before)
    twin.engine.flush()
    twin.options = after
    twin.reopen()
    twin.check()
    twin.write({b"s000": b"other", b"a000": b"other"})
    twin.engine.flush()
    twin.check()
    twin.engine.compact()
    twin.check()


def test_a_table_of_nothing_but_scanned_keys_has_a_filter_of_nothing() -> None:
    twin = Twin(SCANNED)
    twin.write({b"s%d" % number: b"v" for number in range(20)})
    twin.engine.flush()
    twin.check()
    assert twin.engine.get(b"a") is None
    assert list(twin.engine.verify())
