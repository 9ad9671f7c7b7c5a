"""The store in memory: ordered, counted, and no larger than what is in it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.node.database import MemoryStore

KEYS = st.binary(min_size=1, max_size=2)
EFFECTS = st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=6)


def footprint(store: MemoryStore) -> int:
    return len(store.ordered) + len(store.unordered)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(EFFECTS, KEYS, KEYS | st.none()), max_size=30))
def test_it_is_a_sorted_dict(
    steps: list[tuple[dict[bytes, bytes | None], bytes, bytes | None]],
) -> None:
    store, model = MemoryStore(), dict[bytes, bytes]()
    for index, (effects, start, end) in enumerate(steps):
        store.write(effects, index)
        for key, record in effects.items():
            if record is None:
                model.pop(key, None)
            else:
                model[key] = record
        wanted = [k for k in sorted(model) if k >= start and (end is None or k < end)]
        assert list(store.keys(start, end)) == wanted
        assert list(store.view().records()) == sorted(model.items())
        assert store.count() == len(model)
        assert store.size_bytes() == sum(len(k) + len(v) for k, v in model.items())
        assert store.applied_index == index
        assert all(store.get(k) == model.get(k) for k in effects)


def test_a_key_put_and_deleted_for_ever_takes_no_more_room() -> None:
    """Story: every time a deleted key was put again it stood once more in the list of
    keys: a lock that is taken and released made every range slower than the last.
    """
    store = MemoryStore()
    for index in range(2_000):
        store.write({b"lock": b"held"}, index)
        assert list(store.keys(b"", None)) == [b"lock"]
        store.write({b"lock": None}, index)
    assert footprint(store) <= 70


def test_keys_that_come_and_go_unread_take_no_room() -> None:
    """Story: the list of new keys was only emptied by a range read: a queue of ever new
    keys, read by nobody in order, grew without end.
    """
    store = MemoryStore()
    for index in range(2_000):
        store.write({b"%d" % index: b"job"}, index)
        store.write({b"%d" % index: None}, index)
    assert store.count() == 0
    assert footprint(store) == 0


def test_the_list_of_keys_shrinks_with_the_store() -> None:
    store = MemoryStore()
    store.write({b"%05d" % n: b"x" for n in range(1_000)}, 1)
    assert len(list(store.keys(b"", None))) == 1_000
    store.write({b"%05d" % n: None for n in range(990)}, 2)
    assert len(list(store.keys(b"", None))) == 10
    assert footprint(store) == 10
