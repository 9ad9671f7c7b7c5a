"""Puts over existing keys: what is sent, what is said, and a short run."""

from pathlib import Path

import pytest
from quorate.benchmarks.clusters import Quorate, ask
from quorate.benchmarks.frames import key_of
from quorate.benchmarks.overwrites import (
    TOGETHER,
    fill,
    leader_port,
    leg,
    lines_of,
    native,
    together,
)
from quorate.benchmarks.pairs import Leg

KEYS = 730


def test_keys_come_a_hundred_at_a_time() -> None:
    keys = [key_of(number) for number in range(2 * TOGETHER + 30)]
    some = [*together(keys)]
    assert [len(each) for each in some] == [TOGETHER, TOGETHER, 30]
    assert [key for each in some for key in each] == keys
    assert [*together([])] == []


@pytest.mark.parametrize(("rate", "verdict"), [(1500.0, "met"), (1499.0, "missed")])
def test_the_ratio_of_the_pairs_is_judged(rate: float, verdict: str) -> None:
    theirs = [Leg(1000.0, 1000, cpu_us=100.0)] * 7
    ours = [Leg(rate, 1000, cpu_us=50.0)] * 6 + [Leg(9000.0, 1000, cpu_us=10.0)]
    lines = lines_of(ours, theirs)
    told = f"quorate  {rate:,.0f} puts/s ({rate:,.0f}–9,000); 50 µs of all nodes each"
    assert lines[0] == told
    assert f"aim ≥ 1.5: {verdict}; processor time 0.50 (0.10–0.50)" in lines[2]


def test_it_puts_over_what_it_loaded(tmp_path: Path) -> None:
    system = Quorate(tmp_path, nodes=1)
    try:
        side = native(system, KEYS)
        assert f"quorate  {KEYS} keys" in fill(side, KEYS)
        port = leader_port(system)
        before = ask(port, "/v1/status")
        assert int(before["keys"]) == KEYS
        puts = leg(side, 0.2)
        after = ask(port, "/v1/status")
        assert int(after["keys"]) == KEYS, "none is new"
        grown = int(after["revision"]) - int(before["revision"])
        assert grown == puts.operations > 0
        assert puts.cpu_us > 0
    finally:
        system.stop()
