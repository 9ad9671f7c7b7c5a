"""Transactions at random: those that decode, and those that write a key twice."""

from collections.abc import Sequence
from typing import TypeAlias

from hypothesis import strategies as st
from quorate.wire import (
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnOperation,
    TxnPut,
)

Bytes: TypeAlias = st.SearchStrategy[bytes]
Numbers: TypeAlias = st.SearchStrategy[int]
Branch: TypeAlias = tuple[TxnOperation, ...]
# Of each transaction on the way to a part of a branch: which one, and which side.
Way: TypeAlias = tuple[tuple[tuple[int, ...], bool], ...]

U32 = st.integers(0, 2**32 - 1)


def compares(
    keys: Bytes, values: Bytes, numbers: Numbers, ends: st.SearchStrategy[bytes | None]
) -> st.SearchStrategy[Compare]:
    """Comparisons of one key, or, where `ends` has a bound, of all in a range."""
    relations = st.sampled_from(Relation)
    targets = st.sampled_from([t for t in Target if t is not Target.VALUE])
    return st.one_of(
        st.builds(Compare, keys, st.just(Target.VALUE), relations, values, ends),
        st.builds(Compare, keys, targets, relations, numbers, ends),
    )


def branches(
    keys: Bytes, values: Bytes, leases: Numbers | None = None
) -> st.SearchStrategy[Branch]:
    """Of keys alone: no ranges, no leases but those given, nothing inside."""
    operations: st.SearchStrategy[TxnOperation] = st.one_of(
        st.builds(TxnPut, keys, values, st.just(0) if leases is None else leases),
        st.builds(TxnDelete, keys),
        st.builds(TxnGet, keys),
    )
    return st.lists(operations, max_size=6).map(_without_repeats)


def transactions(
    keys: Bytes,
    values: Bytes,
    numbers: Numbers,
    leases: Numbers,
    *,
    limits: Numbers = U32,
    depth: int = 3,
    careless: bool = False,
) -> st.SearchStrategy[Transaction]:
    """All operations, nested to `depth`; the `careless` may write a key twice."""
    bounds = st.one_of(keys, st.just(b""))
    compared = st.one_of(
        compares(keys, values, numbers, st.none()),
        compares(bounds, values, numbers, bounds),
    )
    operations: st.SearchStrategy[TxnOperation] = st.one_of(
        st.builds(TxnPut, keys, values, leases),
        st.builds(TxnDelete, keys),
        st.builds(TxnGet, keys),
        st.builds(TxnDeleteRange, bounds, bounds),
        st.builds(TxnGetRange, bounds, bounds, limits, st.booleans()),
    )
    if depth > 1:
        inner = transactions(
            *(keys, values, numbers, leases),
            limits=limits,
            depth=depth - 1,
            careless=True,
        )
        operations = st.one_of(operations, operations, operations, inner)
    branch = st.lists(operations, max_size=4).map(tuple)
    made = st.builds(
        Transaction, st.lists(compared, max_size=2).map(tuple), branch, branch
    )
    return made if careless else made.map(_carefully)


def writes_once(transaction: Transaction) -> bool:
    """Is no key put twice, or put and deleted, on any way through it?"""
    both = [_writes(transaction.then, ()), _writes(transaction.otherwise, ())]
    return not any(
        _meet(way, other_way) and _clash(one, other)
        for parts in both
        for number, (one, way) in enumerate(parts)
        for other, other_way in parts[:number]
    )


def _writes(
    branch: Branch, way: Way, at: tuple[int, ...] = ()
) -> list[tuple[TxnOperation, Way]]:
    """All that a branch writes at all depths, with the sides that lead to it."""
    found: list[tuple[TxnOperation, Way]] = []
    for number, operation in enumerate(branch):
        name = (*at, number)
        if isinstance(operation, Transaction):
            found += _writes(operation.then, (*way, (name, True)), (*name, 1))
            found += _writes(operation.otherwise, (*way, (name, False)), (*name, 0))
        elif not isinstance(operation, TxnGet | TxnGetRange):
            found.append((operation, way))
    return found


def _meet(one: Way, other: Way) -> bool:
    """Can both be done? Not on two sides of the same transaction."""
    sides = dict(one)
    return all(sides.get(name, side) == side for name, side in other)


def _clash(one: TxnOperation, other: TxnOperation) -> bool:
    match one, other:
        case TxnDeleteRange(), TxnDeleteRange():
            return False
        case (TxnDeleteRange(start, end), TxnPut(key)) | (
            TxnPut(key),
            TxnDeleteRange(start, end),
        ):
            return start <= key and (end == b"" or key < end)
        case (TxnDeleteRange(), _) | (_, TxnDeleteRange()):
            return False
        case ((TxnPut() | TxnDelete()), (TxnPut() | TxnDelete())):
            return one.key == other.key
        case _:
            raise AssertionError("nothing else writes")


def _without_repeats(operations: Sequence[TxnOperation]) -> Branch:
    """Those that can be done beside the ones before them."""
    kept: Branch = ()
    for operation in operations:
        one = _carefully(operation) if isinstance(operation, Transaction) else operation
        if writes_once(Transaction((), (*kept, one), ())):
            kept = (*kept, one)
    return kept


def _carefully(made: Transaction) -> Transaction:
    then = _without_repeats(made.then)
    return Transaction(made.compares, then, _without_repeats(made.otherwise))
