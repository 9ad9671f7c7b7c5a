"""What is known of a write by a token, whoever told it first."""

from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.history import Recording
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.locks import PAUSED, WRITES_MAX, Locks
from quorate.chaos.histories import FencedWrite, Holding
from quorate.client import AsyncClient, Fenced


class Refusing:
    """A client whose write is read by others before it is refused."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    async def put(self, key: str, name: str, **_: object) -> int:
        del key
        self._locks.writes[name].revision = 31
        raise Fenced("another one holds the lock")


async def test_a_write_that_was_read_and_then_refused_is_noticed(
    shared: Shared,
) -> None:
    locks = Locks(shared, Recording(), 1.0)
    await locks._write(cast("AsyncClient", Refusing(locks)), 1, "token", 10)
    with pytest.raises(Violated) as caught:
        locks.check()
    assert caught.value.violation.kind == "refused write applied"


async def test_a_load_of_which_no_write_by_a_token_was_done_is_not_judged(
    shared: Shared,
) -> None:
    locks = Locks(shared, Recording(), 1.0)
    locks.writes["load/guarded:1"] = FencedWrite(1, 10, 2, 3, "refused", fenced=True)
    locks.check()
    assert shared.tally("locks").unjudged == "no write by a token was done"
    locks.writes["load/guarded:2"] = FencedWrite(1, 10, 4, 5, "ok", 12)
    locks.holdings.append(Holding(1, 10, 0, 1))
    shared.tally("locks").unjudged = ""
    locks.check()
    assert shared.tally("locks").unjudged == ""


class Promised:
    """A lease with so much left, and a lock that hangs on it."""

    revision, token, over = 10, "token", False

    def __init__(self) -> None:
        self.left = 5.0

    @property
    def lease(self) -> "Promised":
        return self

    async def abandon(self) -> None:
        self.left = 2.0

    async def release(self) -> None:
        pass


class Writing:
    """A client whose writes are refused for their token."""

    async def put(self, *_: object, **__: object) -> int:
        raise Fenced("another one holds the lock")

    async def get(self, *_: object, **__: object) -> None:
        return None


async def test_it_is_noted_until_when_a_lock_was_promised_and_what_was_refused(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = Locks(shared, Recording(), 1.0)
    one = Holding(1, 10, 0, 1)
    locks.holdings.append(one)
    now_s = [1.0]
    monkeypatch.setattr(shared, "now", lambda: now_s[0])
    lock: Any = Promised()

    async def next_beat() -> bool:
        return True

    beat: Any = SimpleNamespace(next=next_beat)
    client: Any = Writing()

    async def pause(_: int) -> None:
        # Longer than it is promised.
        now_s[0] = 8.0

    monkeypatch.setattr(locks, "_pause", pause)
    paused = next(n for n in range(99) if _is_paused(Random(n)))
    await locks._hold(client, one, lock, beat, Random(paused))
    assert one.until == 6_000_000
    assert all(write.fenced for write in locks.writes.values())
    with pytest.raises(Violated, match="refused although it had the lock") as caught:
        locks.check()
    assert caught.value.violation.kind == "a lock that does not hold"


def _is_paused(dice: Random) -> bool:
    dice.randint(1, WRITES_MAX)
    return dice.randrange(PAUSED) == 0
