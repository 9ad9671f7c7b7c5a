"""Mixes: YCSB's shares, and keys that exist when they are read."""

from collections import Counter
from random import Random

import pytest
from quorate.chaos.load.mixes import (
    KINDS,
    SCAN_KEYS_MAX,
    WORKLOADS,
    Operation,
    Stream,
    Values,
    key_of,
)

COUNT = 10_000


def stream(name: str, keys: int = 100, process: int = 0, processes: int = 1) -> Stream:
    mix = WORKLOADS[name]
    return Stream(
        mix,
        mix.distribution,
        keys,
        Random(5),
        process=process,
        processes=processes,
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_kind_gets_its_share(name: str) -> None:
    mix = WORKLOADS[name]
    assert sum(mix.shares.values()) == pytest.approx(1.0)
    operations = stream(name)
    counts = Counter(operations.next().kind for _ in range(COUNT))
    assert counts.keys() == mix.shares.keys()
    assert set(KINDS) >= counts.keys()
    for kind, share in mix.shares.items():
        assert counts[kind] / COUNT == pytest.approx(share, abs=0.02)


def test_only_workloads_that_read_need_keys_that_are_there() -> None:
    assert [name for name, mix in WORKLOADS.items() if not mix.reads] == ["put"]


def test_the_same_seed_draws_the_same_operations() -> None:
    one, other = stream("E"), stream("E")
    assert [one.next() for _ in range(100)] == [other.next() for _ in range(100)]


def test_a_new_key_is_chosen_only_once_it_is_there() -> None:
    operations = stream("D", keys=10)
    made: list[int] = []
    for _ in range(1000):
        operation = operations.next()
        if operation.kind == "insert":
            made.append(operation.number)
        else:
            assert operation.number < 10
    assert made == list(range(10, 10 + len(made)))
    operations.inserted(made[3])
    seen = {
        each.number for _ in range(1000) if (each := operations.next()).kind == "get"
    }
    assert made[3] in seen
    assert seen <= {*range(10), made[3]}


def test_no_two_processes_make_the_same_key() -> None:
    numbers: list[int] = []
    for process in range(3):
        operations = stream("D", 10, process, 3)
        drawn = [operations.next() for _ in range(500)]
        numbers += [each.number for each in drawn if each.kind == "insert"]
    assert len(set(numbers)) == len(numbers) > 30


def test_scans_want_from_one_to_a_hundred_keys() -> None:
    operations = stream("E")
    lengths = {
        each.length for _ in range(COUNT) if (each := operations.next()).kind == "scan"
    }
    assert (min(lengths), max(lengths)) == (1, SCAN_KEYS_MAX)
    assert Operation("get", 1).length == 0


def test_keys_are_in_order_below_their_prefix() -> None:
    keys = [key_of(b"bench/", number) for number in (0, 9, 10, 999_999_999_999)]
    assert keys == sorted(keys)
    assert keys[0] == b"bench/key000000000000"


@pytest.mark.parametrize("size", [0, 1, 256])
def test_values_have_their_size_and_differ(size: int) -> None:
    values = Values(size, Random(1))
    drawn = [values.next() for _ in range(100)]
    assert {len(value) for value in drawn} == {size}
    assert len(set(drawn)) > 50 or size < 2
