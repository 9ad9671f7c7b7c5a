"""The file of boot pairs that this node has met (docs/formats.md section 7).

Law: a damaged file is an error for people to look at: without the pairs an old copy of
a member's data directory could not be told from the member.

    data/peers = crc32 u32 | body      body = msgpack map { member_id: [count, nonce] }
"""

import asyncio
from collections.abc import Container
from concurrent.futures import Executor
from zlib import crc32

import msgspec

from ..storage.env import Env, read_file, write_file_durably
from .identity import DamagedIdentity
from .peer_hello import BootPairs, Introduction

FILE = "peers"
_CRC_BYTES = 4


class Met:
    """The pairs of a node that runs. Raises DamagedIdentity, OSError."""

    def __init__(self, env: Env, data_dir: str, executor: Executor) -> None:
        self._env = env
        self._data_dir = data_dir
        self._executor = executor
        # Once a replica has been here the file is too, whomever it has met.
        self.begun = env.exists(f"{data_dir}/{FILE}")
        self._known = read_pairs(env, data_dir)
        self._writing = asyncio.Lock()

    def begin(self) -> None:
        """From now on an empty store here is one that was lost. Raises OSError."""
        if not self.begun:
            write_pairs(self._env, self._data_dir, self._known.pairs)
            self.begun = True

    def __contains__(self, member: int) -> bool:
        return member in self._known.pairs

    def is_news(self, who: Introduction) -> bool:
        """Has this boot of it not been met before? Raises HelloError."""
        return self._known.check(who)

    async def meet(self, who: Introduction, gone: Container[int]) -> None:
        """Returns once its pair is durable. Raises HelloError, OSError.

        A member dials several times at once: all of them wait for the one write, and
        what could not be written is news the next time. Those who are `gone` from the
        cluster are refused for that: their pairs are forgotten then.
        """
        if not self.is_news(who):
            return
        async with self._writing:
            if not self.is_news(who):
                return
            pair = (who.boot_count, who.boot_nonce)
            kept = {m: p for m, p in self._known.pairs.items() if m not in gone}
            pairs = {**kept, who.member_id: pair}
            await asyncio.get_running_loop().run_in_executor(
                self._executor, write_pairs, self._env, self._data_dir, pairs
            )
            self._known.pairs = pairs


def read_pairs(env: Env, data_dir: str) -> BootPairs:
    """The pairs met so far; none at first. Raises DamagedIdentity, OSError."""
    path = f"{data_dir}/{FILE}"
    if not env.exists(path):
        return BootPairs()
    data = read_file(env, path)
    body = data[_CRC_BYTES:]
    if len(data) < _CRC_BYTES or crc32(body) != int.from_bytes(data[:4], "little"):
        raise DamagedIdentity(f"{path}: damaged: its checksum is wrong")
    try:
        return BootPairs(msgspec.msgpack.decode(body, type=dict[int, tuple[int, int]]))
    except msgspec.MsgspecError as error:
        raise DamagedIdentity(f"{path}: damaged: {error}") from error


def write_pairs(env: Env, data_dir: str, pairs: dict[int, tuple[int, int]]) -> None:
    """Make the pairs durable, all of them at once. Raises OSError."""
    body = msgspec.msgpack.encode(pairs)
    data = crc32(body).to_bytes(_CRC_BYTES, "little") + body
    write_file_durably(env, f"{data_dir}/{FILE}", data)
