"""A hundred thousand leases whose time was over at once brought the cluster down.

The leader wrote the ends of a thousand leases into the log every 50 ms, however far
they had been applied. An end is about 0.1 ms of work on every replica, twice that on a
busy machine: all three fell behind, heartbeats came late, one leader after the other
was deposed, and a client's writes had unknown outcomes. Found on real nodes, 100,000
leases with a key each. Now a hundred at most are on their way.
"""

from quorate.wire import Grant

from ..node.replica.together import TTL_MS, Together

LEASES = 400
AT_ONCE_MAX = 100
KEYS_MAX = 256


def many(together: Together, leases: int, keys: int) -> None:
    for lease in range(1, leases + 1):
        together.done(Grant(lease, TTL_MS))
    for number in range(keys):
        together.put(b"%d" % number, number % leases + 1)


def ends(together: Together) -> list[int]:
    """How many leases ended in each tick, until none is left."""
    table = together.replicas[together.leader].database.lease_table
    seen: list[int] = []
    before = len(table.leases)
    assert before
    while table.leases:
        together.run(1)
        seen.append(before - len(table.leases))
        before = len(table.leases)
    return [each for each in seen if each]


def test_they_end_by_and_by() -> None:
    together = Together()
    many(together, LEASES, 0)
    steps = ends(together)
    assert max(steps) <= AT_ONCE_MAX
    assert sum(steps) == LEASES


def test_those_with_keys_end_still_fewer_at_a_time() -> None:
    together = Together()
    many(together, 100, 400)
    steps = ends(together)
    assert max(steps) <= KEYS_MAX // 4
    assert sum(steps) == 100


def test_nothing_more_is_said_while_what_was_said_is_not_applied() -> None:
    together = Together()
    many(together, 2 * AT_ONCE_MAX, 0)
    together.run(5)
    leader = together.replicas[together.leader]
    log = leader.raft.log
    together.cut = {member for member in together.replicas if member != leader.raft.id}
    before = log.last_index
    # Shorter than the election timeout: it leads, and nobody hears it.
    leader.lease_keeper.leases.ticks += TTL_MS
    for _ in range(3):
        leader.lease_keeper.tick()
    assert log.last_index == before + 1
