"""The recipe: who stands where, against the model of transactions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    Compare,
    ErrorCode,
    Fence,
    ProtocolError,
    Queue,
    Record,
    Relation,
    Target,
    Transaction,
    TxnPut,
    TxnReply,
    TxnResult,
    enter,
    entered,
    leave,
    proclaim,
    queue_end,
    queue_prefix,
)
from quorate.wire.locks import holder_key, lease_of_key

from .transaction_model import Model, ModelRefused

LEASES = st.integers(1, 2**64 - 1)


def take(store: Model, name: bytes, lease: int, value: bytes = b"") -> Fence:
    """Stand in line."""
    return entered(name, lease, store.do(enter(name, lease, value))).fence


def queue(store: Model, name: bytes) -> Queue:
    return Queue(store.within(queue_prefix(name), queue_end(name)))


def holds(store: Model, fence: Fence) -> bool:
    return store.holds(fence.compare)


@pytest.mark.parametrize(
    ("lease", "key"),
    [
        (171, b"l/ab"),
        (0x694D71D8A5A0AD0C, b"l/694d71d8a5a0ad0c"),
        # As etcd 3.5.1 prints the lease -7, and the lowest one.
        (2**64 - 7, b"l/-7"),
        (2**63, b"l/-8000000000000000"),
    ],
)
def test_the_key_of_a_holder_is_the_one_that_etcd_gives_him(
    lease: int, key: bytes
) -> None:
    assert holder_key(b"l", lease) == key


@given(st.binary(min_size=1, max_size=5), LEASES)
def test_the_lease_is_read_back_from_the_key(name: bytes, lease: int) -> None:
    assert lease_of_key(name, holder_key(name, lease)) == lease


@pytest.mark.parametrize(
    "key", [b"l/", b"l/0", b"l/0ab", b"l/AB", b"l/-0", b"l/ab/", b"m/ab", b"l/1" * 9]
)
def test_other_keys_are_no_holders(key: bytes) -> None:
    assert lease_of_key(b"l", key) is None


def test_who_came_first_holds_and_the_next_one_waits_for_him() -> None:
    store = Model(leases={1, 2, 3})
    fences = [take(store, b"l", lease) for lease in (2, 3, 1)]
    line = queue(store, b"l")
    assert [entry.fence for entry in line.all()] == fences
    assert line.before(fences[0]) is None
    for earlier, later in itertools.pairwise(fences):
        before = line.before(later)
        assert before is not None
        assert before.fence == earlier
    assert store.do(leave(fences[0])).succeeded
    holder = queue(store, b"l").holder()
    assert holder is not None
    assert (holder.fence, holder.lease) == (fences[1], 3)


def test_to_stand_in_line_twice_is_to_stand_there_once() -> None:
    store = Model(leases={1})
    first = entered(b"l", 1, store.do(enter(b"l", 1, b"x")))
    again = entered(b"l", 1, store.do(enter(b"l", 1, b"y")))
    assert (first.made, first.value) == (True, None)
    assert (again.made, again.value, again.fence) == (False, b"x", first.fence)
    assert store.revision == first.revision == again.revision


def test_a_lock_is_taken_only_on_a_lease_that_is_there() -> None:
    with pytest.raises(ModelRefused) as refused:
        take(Model(leases={1}), b"l", 2)
    assert refused.value.code == ErrorCode.LEASE_NOT_FOUND


def test_tokens_grow_and_an_old_one_never_holds_again() -> None:
    store = Model(leases={1})
    old = take(store, b"l", 1)
    assert holds(store, old)
    store.do(leave(old))
    new = take(store, b"l", 1)
    assert new.key == old.key
    assert new.revision > old.revision
    assert holds(store, new)
    assert not holds(store, old)
    assert not store.do(leave(old)).succeeded
    assert holds(store, new)


def test_a_leader_says_something_else_only_while_it_leads() -> None:
    store = Model(leases={1})
    fence = take(store, b"e", 1, b"one")
    assert store.do(proclaim(fence, 1, b"two")).succeeded
    assert store.table[fence.key].value == b"two"
    assert holds(store, fence)
    store.do(leave(fence))
    assert not store.do(proclaim(fence, 1, b"three")).succeeded
    assert fence.key not in store.table


def test_other_names_are_other_locks() -> None:
    store = Model(leases={1})
    for name in (b"l", b"l/l", b"l0", b"k"):
        take(store, name, 1)
    assert len(queue(store, b"l0").all()) == 1
    # As in etcd, what lies below a name stands in its line.
    assert [entry.key for entry in queue(store, b"l").all()] == [b"l/1", b"l/l/1"]


def test_a_queue_follows_what_changes() -> None:
    line = Queue([Record(b"l/1", b"", 5, 5, 1, 1)])
    fence = Fence(b"l/2", 6)
    line.put(Record(b"l/2", b"", 6, 6, 1, 2))
    assert line.has(fence)
    assert line.before(fence) is not None
    line.delete(b"l/1")
    assert line.before(fence) is None
    line.put(Record(b"l/2", b"", 9, 9, 1, 2))
    assert not line.has(fence)
    line.delete(b"l/2")
    line.delete(b"l/2")
    assert line.holder() is None


def test_a_reply_to_something_else_is_not_believed() -> None:
    line = TxnResult.of_range((), 0)
    other = Record(b"other", b"", 1, 1, 1, 1)
    for results in (
        (),
        (line,),
        (line, TxnResult(True)),
        (TxnResult(True, other), line),
    ):
        with pytest.raises(ProtocolError, match="another transaction"):
            entered(b"l", 1, TxnReply(False, 3, results))


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=30))
def test_there_is_one_holder_at_most_and_each_has_a_higher_revision(
    steps: list[tuple[int, bool]],
) -> None:
    """Whatever they do: of all fences that were held, only the last one holds."""
    store = Model(leases={1, 2, 3, 4})
    fences: dict[int, Fence] = {}
    held: list[Fence] = []
    for lease, comes in steps:
        if comes:
            fences[lease] = take(store, b"l", lease)
        elif lease in fences:
            store.do(leave(fences.pop(lease)))
        line = queue(store, b"l")
        first = [f for f in fences.values() if line.before(f) is None]
        assert len(first) == min(1, len(fences))
        for fence in first:
            if not held or held[-1] != fence:
                held.append(fence)
        assert not any(holds(store, fence) for fence in held[:-1])
    revisions = [fence.revision for fence in held]
    assert revisions == sorted(set(revisions))


def test_the_recipe_is_what_anybody_can_do_by_hand() -> None:
    """etcd's recipe, written out: what enter() is made of."""
    store = Model(leases={171})
    absent = Compare(b"l/ab", Target.CREATE_REVISION, Relation.EQUAL, 0)
    by_hand = Transaction((absent,), (TxnPut(b"l/ab", b"", 171),), ())
    assert store.do(by_hand).succeeded
    assert not entered(b"l", 171, store.do(enter(b"l", 171))).made
