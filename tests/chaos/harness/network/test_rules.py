"""Rules that hold at once become one."""

import pytest
from quorate.chaos.harness.network import PASS, Rule, Way, merge_tables
from quorate.chaos.harness.network.rules import Mode, merge


@pytest.mark.parametrize(
    ("one", "other", "mode"),
    [
        ("pass", "half-open", "half-open"),
        ("half-open", "hold", "hold"),
        ("hold", "reset", "reset"),
    ],
)
def test_the_harder_mode_wins(one: Mode, other: Mode, mode: Mode) -> None:
    assert merge(Rule(one), Rule(other)).mode == mode
    assert merge(Rule(other), Rule(one)).mode == mode


def test_delays_add_up_and_the_slowest_rate_counts() -> None:
    slow = Rule(delay_ms=10.0, jitter_ms=1.0, bytes_per_second=100)
    slower = Rule(delay_ms=5.0, jitter_ms=2.0, bytes_per_second=50, flip=True)
    assert merge(slow, slower) == Rule("pass", 15.0, 3.0, 50, True)
    assert merge(slow, PASS) == slow


def test_a_way_keeps_what_other_faults_have_put_on_it() -> None:
    first: dict[Way, Rule] = {("a", "b"): Rule("hold"), ("b", "a"): Rule(delay_ms=1.0)}
    second: dict[Way, Rule] = {("b", "a"): Rule(delay_ms=2.0)}
    assert merge_tables([first, second]) == {
        ("a", "b"): Rule("hold"),
        ("b", "a"): Rule(delay_ms=3.0),
    }
    assert merge_tables([second]) == second
