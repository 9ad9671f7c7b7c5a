"""The simulator leaves out turns that could have no effect: it must be right."""

import pytest
from quorate.chaos.simulator.run import run_seed
from quorate.node.replica import Effects, Replica

WITHOUT_EFFECT = Effects()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_turn_that_is_left_out_would_have_done_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    left_out = 0
    has_work = Replica.has_work

    def check(replica: Replica, can_persist: bool) -> bool:
        nonlocal left_out
        if has_work(replica, can_persist):
            return True
        left_out += 1
        effects = replica.turn(can_persist)
        assert effects == WITHOUT_EFFECT
        return False

    monkeypatch.setattr(Replica, "has_work", check)
    run_seed(seed)
    assert left_out > 100
