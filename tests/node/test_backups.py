"""Backups of a node that can't take one now: it says why, and does not wait for it."""

import asyncio
from typing import cast

import pytest
from quorate.node.api.errors import Problem
from quorate.node.api.service import Sink
from quorate.node.backups import Backups
from quorate.node.database import Database, begin
from quorate.node.node import Node
from quorate.raft import Configuration, encode_configuration
from quorate.storage.engine import Engine
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    ErrorCode,
    ErrorReply,
    Outcome,
    encode_error,
    error_reply,
)

WAIT_S = 10.0


class Replica:
    def __init__(self, database: Database) -> None:
        self.database = database


class Turning:
    """A loop whose disk does nothing; `damage` is found in its first turn."""

    def __init__(self, store: Engine) -> None:
        self.store = store
        self.damage = CorruptionError("/e/table", 7, "it is rotten")
        self.met: list[CorruptionError] = []

    def rotten(self, damage: CorruptionError) -> None:
        self.met.append(damage)

    async def turned(self) -> None:
        if self.store.damage is not None:
            await asyncio.Event().wait()
        self.store.condemn(self.damage)


class Halted:
    """What a backup needs of a node whose disk does nothing."""

    def __init__(self) -> None:
        ids = iter(range(1, 100))
        self.env = MemoryEnv()
        engine = Engine(self.env, "/e", lambda: next(ids).to_bytes(16, "big"))
        voters = encode_configuration(Configuration((1,)))
        self.replica = Replica(begin(engine, 0xC1, 1, 1, voters))
        self.loop = Turning(engine)
        self.member_id = 1
        self.refusal: ErrorReply | None = None

    def submit(
        self,
        sink: Sink,
        request_id: int,
        kind: int,
        body: bytes,
        timeout_ms: int,
        own: bool = False,
    ) -> None:
        del body, timeout_ms
        assert own
        if self.refusal is None:
            sink.reply(request_id, kind, OK, b"")
        else:
            told = encode_error(self.refusal, DEFAULT_LIMITS)
            sink.reply(request_id, kind, REFUSED, told)


async def begun(node: Halted) -> bytes:
    backups = Backups(cast(Node, node))
    try:
        async with asyncio.timeout(WAIT_S):
            return await anext(backups.stream(1000))
    finally:
        assert backups.busy == 0


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.NO_LEADER,
        ErrorCode.TOO_BUSY,
        ErrorCode.STOPPING,
        ErrorCode.DAMAGED,
        ErrorCode.DEADLINE_EXCEEDED,
    ],
)
async def test_a_backup_is_refused_for_what_is_the_case(code: ErrorCode) -> None:
    node = Halted()
    node.refusal = error_reply(code, Outcome.NONE, "for a reason")
    with pytest.raises(Problem, match="for a reason") as problem:
        await begun(node)
    assert problem.value.code == code.name.lower()


async def test_a_state_that_is_condemned_meanwhile_is_not_waited_for() -> None:
    """Story: it waited a minute for a flush, and blamed the disk."""
    node = Halted()
    node.replica.database.applied_index += 1
    with pytest.raises(Problem, match="it is rotten") as problem:
        await begun(node)
    assert problem.value.code == "damaged"


async def test_a_backup_that_meets_damage_ends_early_and_not_its_node() -> None:
    """Story: a node alone, which served all other keys, ended with each backup."""
    node = Halted()
    store = node.replica.database.store
    store.write({b"k%d" % n: bytes(99) for n in range(99)}, 2, store.meta)
    store.flush()
    node.replica.database.applied_index = 2
    (table,) = [name for name in node.env.list("/e") if name.endswith(".sst")]
    node.env.flip_bit(f"/e/{table}", 99, 1)
    backups = Backups(cast(Node, node))
    size = 0
    async for piece in backups.stream(1000):
        size += len(piece)
    assert size < store.pin().size_bytes
    (met,) = node.loop.met
    assert met.path == f"/e/{table}"
