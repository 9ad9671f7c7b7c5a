"""What a leader had committed an election timeout ago."""

from quorate.node.replica.committed import Committed

PATIENCE = 20


def test_at_first_all_that_is_committed_is_needed() -> None:
    committed = Committed()
    for now in range(100, 100 + PATIENCE, 5):
        committed.took(1, now, now, PATIENCE)
        assert committed.needed(now + 3) == now + 3


def test_later_what_was_committed_an_election_timeout_ago() -> None:
    committed = Committed()
    for now in range(100, 300, 5):
        committed.took(1, now, 1000 * now, PATIENCE)
    assert committed.needed(295_999) == 1000 * (295 - PATIENCE)


def test_looks_that_are_far_apart_ask_for_what_was_true_at_least_that_long_ago() -> (
    None
):
    committed = Committed()
    for now in (100, 113, 140, 151):
        committed.took(1, now, now, PATIENCE)
    assert committed.needed(200) == 113


def test_what_it_saw_when_it_led_before_is_too_old() -> None:
    committed = Committed()
    committed.took(1, 100, 5, PATIENCE)
    committed.took(3, 900, 5000, PATIENCE)
    assert committed.needed(6000) == 6000
    committed.took(3, 900 + PATIENCE, 7000, PATIENCE)
    assert committed.needed(8000) == 5000
