"""Parts of transactions that decode: no branch writes a key twice."""

from hypothesis import strategies as st
from quorate.wire import (
    Compare,
    Relation,
    Target,
    TxnDelete,
    TxnGet,
    TxnOperation,
    TxnPut,
)


def compares(
    keys: st.SearchStrategy[bytes],
    values: st.SearchStrategy[bytes],
    numbers: st.SearchStrategy[int],
) -> st.SearchStrategy[Compare]:
    relations = st.sampled_from(Relation)
    targets = st.sampled_from([t for t in Target if t is not Target.VALUE])
    return st.one_of(
        st.builds(Compare, keys, st.just(Target.VALUE), relations, values),
        st.builds(Compare, keys, targets, relations, numbers),
    )


def branches(
    keys: st.SearchStrategy[bytes], values: st.SearchStrategy[bytes]
) -> st.SearchStrategy[tuple[TxnOperation, ...]]:
    operations: st.SearchStrategy[TxnOperation] = st.one_of(
        st.builds(TxnPut, keys, values),
        st.builds(TxnDelete, keys),
        st.builds(TxnGet, keys),
    )
    return st.lists(operations, max_size=6).filter(_writes_once).map(tuple)


def _writes_once(branch: list[TxnOperation]) -> bool:
    written = [o.key for o in branch if not isinstance(o, TxnGet)]
    return len(written) == len(set(written))
