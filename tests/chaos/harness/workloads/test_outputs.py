"""What a history has of a read: nothing, where there is no such key."""

from quorate.chaos.harness.history import Output
from quorate.chaos.harness.workloads import leases, levels


def test_of_a_key_that_is_not_there_nothing_is_noted() -> None:
    assert levels.output_of("load/levels/0", (0, 0)) == Output()
    assert leases.output_of("load/leases/0", 0) == Output()


def test_a_value_that_is_there_has_the_name_by_which_it_was_written() -> None:
    found = levels.output_of("load/levels/0", (3, 9))
    assert found == Output(value="load/levels/0:3", mod_revision=9)
    found = leases.output_of("load/leases/0", 9)
    assert found == Output(value="load/leases/0:1", mod_revision=9)
