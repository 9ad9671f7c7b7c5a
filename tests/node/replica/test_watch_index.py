"""Who wants a change is found as by looking at everybody, and without doing so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.replica.watch_index import Group, Watch, WatchIndex
from quorate.wire import WatchRequest
from quorate.wire.bounds import prefix_end

from .watching import FakeSink

KEYS = st.binary(max_size=3).map(
    lambda key: key.translate(bytes([97, 98, 0, 255] * 64))
)
Bounds = tuple[bytes, bytes]


def of_a_key(key: bytes) -> Bounds:
    return key, key + b"\0"


def of_a_prefix(prefix: bytes) -> Bounds:
    return prefix, prefix_end(prefix)


def asked(bounds: Bounds, previous: bool, puts: bool, deletes: bool) -> WatchRequest:
    return WatchRequest(*bounds, 0, previous, puts, deletes)


BOUNDS = st.one_of(
    KEYS.map(of_a_key), KEYS.map(of_a_prefix), st.tuples(KEYS, KEYS | st.just(b""))
)
REQUESTS = st.builds(asked, BOUNDS, st.booleans(), st.booleans(), st.booleans())


@given(
    st.lists(st.tuples(REQUESTS, st.sampled_from(["live", "behind", "again", "gone"]))),
    KEYS,
    st.booleans(),
)
def test_those_who_want_a_change_are_found_and_nobody_else(
    wishes: list[tuple[WatchRequest, str]], key: bytes, put: bool
) -> None:
    index, sink = WatchIndex(), FakeSink(1)
    wanted: list[tuple[int, int]] = []
    left: list[tuple[tuple[int, int], Watch]] = []
    for number, (request, fate) in enumerate(wishes):
        name = (1, number)
        watch = Watch(sink, number, index.join(request), 1)
        if fate != "behind":
            index.is_live(name, watch)
        if fate == "again":
            index.is_not_live(name, watch)
            index.is_live(name, watch)
        if fate == "gone":
            index.leave(name, watch)
            continue
        left.append((name, watch))
        inside = request.start <= key and (not request.end or key < request.end)
        if fate != "behind" and inside and (request.puts if put else request.deletes):
            wanted.append(name)
    groups = list(index.wanting(key, put))
    assert len(groups) == len(set(groups)), "each once"
    assert sorted(name for group in groups for name in group.live) == wanted
    for name, watch in left:
        index.leave(name, watch)
    assert vars(index) == vars(WatchIndex()), "nothing is left of them"


def test_those_who_want_something_else_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: each change was compared with the bounds of everybody who watched."""
    index, sink = WatchIndex(), FakeSink(1)
    for number in range(3000):
        prefix = b"service/%d/" % number
        request = WatchRequest(prefix, prefix_end(prefix))
        index.is_live((1, number), Watch(sink, number, index.join(request), 1))
    compared: list[bytes] = []
    has = Group.has

    def counted(group: Group, key: bytes) -> bool:
        compared.append(group.start)
        return has(group, key)

    monkeypatch.setattr(Group, "has", counted)
    (group,) = index.wanting(b"service/17/a", True)
    assert group.start == b"service/17/"
    assert not list(index.wanting(b"other", True))
    assert compared == []
