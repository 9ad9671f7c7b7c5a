"""The log in memory, against a plain list of all entries that ever were in it."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.raft.log import ENTRY_OVERHEAD_BYTES, Log

from .alone import command, log_of


def _log(*terms: int, base: tuple[int, int] = (0, 0)) -> Log:
    log = Log(*base)
    log.append(log_of(*terms, first=base[0] + 1))
    return log


def test_terms_are_known_from_the_base_to_the_end() -> None:
    log = _log(2, 3, base=(4, 1))
    assert [log.term(index) for index in range(3, 8)] == [None, 1, 2, 3, None]
    assert (log.last_index, log.last_term) == (6, 3)


def test_an_empty_log_ends_at_its_base() -> None:
    log = _log(base=(4, 1))
    assert (log.last_index, log.last_term) == (4, 1)


def test_a_gap_in_the_log_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        _log(1).append([command(3, 1)])


def test_a_conflict_is_the_first_place_that_differs_or_is_new() -> None:
    log = _log(1, 1, 2)
    assert log.find_conflict(log_of(1, 1, 2)) is None
    assert log.find_conflict(log_of(1, 3)) == 2
    assert log.find_conflict(log_of(1, 1, 2, 2)) == 4
    assert log.find_conflict(()) is None


@given(
    st.lists(st.integers(1, 5), max_size=12).map(sorted),
    st.integers(0, 15),
    st.integers(0, 6),
)
def test_the_last_possible_match_is_the_highest_with_no_later_term(
    terms: list[int], index: int, term: int
) -> None:
    log = _log(*terms)
    fitting = [
        (at, own) for at, own in enumerate(terms, 1) if at <= index and own <= term
    ]
    assert log.last_possible_match(index, term) == max(fitting, default=(0, 0))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=10), st.integers(0, 400))
def test_a_slice_is_the_longest_prefix_within_its_bytes(
    sizes: list[int], limit: int
) -> None:
    log = Log(0, 0)
    for index, size in enumerate(sizes, 1):
        log.append([type(command(1, 1))(index, 1, 1, b"x" * size)])
    chosen = log.slice(1, log.last_index, limit)
    costs = [size + ENTRY_OVERHEAD_BYTES for size in sizes]
    fitting = [n for n in range(1, len(sizes) + 1) if sum(costs[:n]) <= limit]
    assert len(chosen) == max(fitting, default=1)


@given(st.data())
def test_any_history_of_a_log_agrees_with_a_plain_list(data: st.DataObject) -> None:
    """Appends, truncations, commits, checkpoints: what is left, and its size."""
    log, plain = Log(0, 0), log_of()
    for _ in range(data.draw(st.integers(1, 15))):
        step = data.draw(st.sampled_from(["append", "truncate", "commit", "compact"]))
        if step == "append":
            term = max(log.last_term, data.draw(st.integers(1, 5)))
            more = log_of(*[term] * data.draw(st.integers(0, 4)), first=len(plain) + 1)
            log.append(more)
            plain += more
        elif step == "truncate" and log.commit_index < len(plain):
            cut = data.draw(st.integers(log.commit_index + 1, len(plain)))
            log.truncate_from(cut)
            plain = plain[: cut - 1]
            assert log.stable_index < cut
        elif step == "commit":
            log.stable_index = len(plain)
            log.commit_index = data.draw(st.integers(log.commit_index, len(plain)))
            log.applied_index = log.commit_index
        elif step == "compact" and log.applied_index <= log.stable_index:
            log.compact(data.draw(st.integers(0, log.applied_index)))
        assert tuple(log.entries) == plain[log.base_index :]
        assert log.last_index == len(plain)
        expected = sum(len(e.data) + ENTRY_OVERHEAD_BYTES for e in log.entries)
        assert log.size_bytes == expected


def test_what_was_forgotten_is_let_go_a_little_at_a_time() -> None:
    """To free it all at once would hold up the loop; it is in no count meanwhile."""
    log = _log(*[1] * 5000)
    log.commit_index = log.stable_index = log.applied_index = 5000
    wanted = log.entries[0]
    kept = sys.getrefcount(wanted)
    log.compact(4990)
    assert len(log.entries) == 10
    assert sys.getrefcount(wanted) == kept
    for _ in range(3):
        log.let_go()
    assert sys.getrefcount(wanted) == kept - 1
    log.let_go()
    assert log.term(4990) == 1
