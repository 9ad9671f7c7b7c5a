"""Lists of operations that a transaction takes: no key is written twice."""

from hypothesis import strategies as st
from quorate.wire import TxnDelete, TxnGet, TxnOperation, TxnPut


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
