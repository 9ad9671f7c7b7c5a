"""Found while the simulator's checker of leases was written (I-63): a lease that had
been kept alive could end up to a tick before its keeper was told that it would.

Time is counted in whole ticks, so what is asked in the middle of a tick counts from its
begin; to be late and never early, a lease ends only behind the tick of its deadline.
That was so for a lease whose first deadline came. But one that had been kept alive
stood in the queue with its old deadline; when that was over, the new one was looked at,
and there the tick of the deadline itself was late enough.
"""

from quorate.node.database import begin
from quorate.node.replica.leases import Leases
from quorate.storage.engine import Engine
from quorate.storage.memory_env import MemoryEnv

TICK_MS, TTL_MS = 10, 1000


def test_a_lease_that_was_kept_alive_ends_behind_the_tick_of_its_deadline() -> None:
    engine = Engine(MemoryEnv(), "/e", lambda: b"id" * 8)
    database = begin(engine, 1, 1, 1, b"")
    leases = Leases(database, TICK_MS)
    leases.lead()
    database.lease_table.grant(7, TTL_MS, 2, {})
    leases.learn()
    leases.tick()
    assert leases.keep(7, leases.now_ms) == TTL_MS
    while leases.now_ms < TICK_MS + TTL_MS:
        leases.tick()
    assert leases.left_ms(7) == 0
    assert leases.due() == [], "it was kept alive in the middle of a tick"
    leases.tick()
    assert leases.due() == [(7, 2)]
