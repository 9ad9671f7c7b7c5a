"""Boot pairs on the disk, and what they are for: telling an old copy from a member."""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import msgspec
import pytest
from quorate.node.identity import DamagedIdentity
from quorate.node.peer_hello import (
    BootPairs,
    HelloError,
    Introduction,
    short_nonce,
)
from quorate.node.peers_file import Met, read_pairs, write_pairs
from quorate.storage.memory_env import MemoryEnv


def _env() -> MemoryEnv:
    env = MemoryEnv()
    env.make_directory("/data")
    env.sync_directory("/")
    return env


def _boot(*nonces: int) -> Introduction:
    """Member 7 in its latest boot, after all of these."""
    history = b"".join(map(short_nonce, nonces))
    return Introduction(
        1, 7, 8, len(nonces), nonces[-1], "n", "http://127.0.0.1:1", history
    )


def test_pairs_come_back_as_they_were_written() -> None:
    env = _env()
    assert read_pairs(env, "/data").pairs == {}
    write_pairs(env, "/data", {7: (3, 99)})
    assert read_pairs(env, "/data").pairs == {7: (3, 99)}


def test_a_flipped_bit_anywhere_is_an_error_that_names_the_file() -> None:
    env = _env()
    write_pairs(env, "/data", {7: (3, 99), 8: (1, 1 << 60)})
    for offset in range(env.size("/data/peers")):
        env.flip_bit("/data/peers", offset, offset % 8)
        with pytest.raises(DamagedIdentity, match="/data/peers"):
            read_pairs(env, "/data")
        env.flip_bit("/data/peers", offset, offset % 8)
    assert read_pairs(env, "/data").pairs


def test_a_boot_is_welcome_when_it_is_the_same_or_remembers_the_last_one() -> None:
    pairs = BootPairs({7: (3, 99)})
    assert not pairs.check(_boot(1, 2, 99)), "the same boot is no news"
    assert pairs.check(_boot(1, 2, 99, 5))
    assert pairs.check(_boot(1, 2, 99, 5, 6, 7))


@pytest.mark.parametrize("boots", range(1, 6))
def test_an_old_copy_is_turned_away_however_often_it_boots(boots: int) -> None:
    """Boot 3 with nonce 99 has been met; this copy was taken before it.

    Found by starting a node with its data deleted twice: only the count was compared,
    and the second start counted high enough.
    """
    copied = _boot(*range(1, 3), *range(50, 50 + boots))
    with pytest.raises(HelloError, match="old copy"):
        BootPairs({7: (3, 99)}).check(copied)


@pytest.mark.parametrize("boots", range(1, 6))
def test_an_emptied_directory_is_turned_away_however_often_it_boots(boots: int) -> None:
    with pytest.raises(HelloError, match="old copy"):
        BootPairs({7: (3, 99)}).check(_boot(*range(50, 50 + boots)))


def test_a_history_that_does_not_reach_back_far_enough_proves_nothing() -> None:
    who = _boot(*range(1, 10))
    cut = msgspec.structs.replace(who, boot_history=who.boot_history[-8:])
    # Nobody can tell it from an old copy, and whoever reads this has to act.
    with pytest.raises(HelloError, match=r"may be an old copy: boot 3, .* new member"):
        BootPairs({7: (3, 3)}).check(cut)
    # The oldest one that it remembers is enough, and says which one it is.
    assert BootPairs({7: (8, 8)}).check(cut)
    with pytest.raises(HelloError, match="is an old copy: it does not remember boot 8"):
        BootPairs({7: (8, 99)}).check(cut)
    assert BootPairs({7: (3, 3)}).check(who)


class Slow(Executor):
    """Does what it is given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except OSError as error:
                future.set_exception(error)

        self.waiting.append(run)
        return future

    async def until_asked(self) -> None:
        async with asyncio.timeout(30):
            while not self.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_nobody_is_met_before_that_is_durable() -> None:
    """Story: a member dials three times at once. The pair was known from when the first
    of them came, and the others were welcomed while its write was under way.
    """
    env, disk = _env(), Slow()
    met = Met(env, "/data", disk)
    meetings = [asyncio.ensure_future(met.meet(_boot(5), ())) for _ in range(3)]
    await disk.until_asked()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(each.done() for each in meetings)
    disk.waiting.pop()()
    await asyncio.gather(*meetings)
    assert (disk.waiting, 7 in met) == ([], True)
    assert read_pairs(env, "/data").pairs == {7: (1, 5)}


async def test_who_could_not_be_written_down_is_news_the_next_time() -> None:
    """Story: with a full disk its first dial was refused, and the second welcomed."""
    env, disk = _env(), Slow()
    met = Met(env, "/data", disk)
    env.fail("write", "/data/peers.tmp", error=errno.ENOSPC)
    for refused in (True, False):
        meeting = asyncio.ensure_future(met.meet(_boot(5), ()))
        await disk.until_asked()
        disk.waiting.pop()()
        if refused:
            with pytest.raises(OSError, match="space"):
                await meeting
            assert 7 not in met
        else:
            await meeting
    assert read_pairs(env, "/data").pairs == {7: (1, 5)}


async def test_who_was_removed_is_forgotten_with_the_next_that_is_met() -> None:
    """Story: the file had everybody who had ever been a member, for ever."""
    env, disk = _env(), Slow()
    write_pairs(env, "/data", {8: (3, 99), 9: (1, 1)})
    met = Met(env, "/data", disk)
    meeting = asyncio.ensure_future(met.meet(_boot(5), {8: "gone"}))
    await disk.until_asked()
    disk.waiting.pop()()
    await meeting
    assert (8 in met, 9 in met) == (False, True)
    assert read_pairs(env, "/data").pairs == {7: (1, 5), 9: (1, 1)}
