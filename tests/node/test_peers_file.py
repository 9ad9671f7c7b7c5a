"""Boot pairs on the disk, and what they are for: telling an old copy from the member."""

import pytest
from quorate.node.identity import DamagedIdentity
from quorate.node.peer_hello import BootPairs, HelloError, Introduction
from quorate.node.peers_file import read_pairs, write_pairs
from quorate.storage.memory_env import MemoryEnv


def _env() -> MemoryEnv:
    env = MemoryEnv()
    env.make_directory("/data")
    env.sync_directory("/")
    return env


def _boot(count: int, nonce: int) -> Introduction:
    return Introduction(1, 7, 8, count, nonce, "n", "http://127.0.0.1:1")


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


def test_a_boot_is_welcome_once_it_counts_higher_or_is_the_same_one() -> None:
    pairs = BootPairs({7: (3, 99)})
    assert not pairs.check(_boot(3, 99)), "the same boot is no news"
    assert pairs.check(_boot(4, 5))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_old_copy_is_turned_away(count: int) -> None:
    """A count that is not higher, under another nonce (design: peers)."""
    with pytest.raises(HelloError, match="old copy"):
        BootPairs({7: (3, 99)}).check(_boot(count, 5))
