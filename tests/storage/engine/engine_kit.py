"""An engine beside the dict that it should be, with an owner's journal.

Law: nothing here decides; the journal is a list that outlives crashes, as the real one
does for everything that was acknowledged.
"""

from collections.abc import Iterable, Mapping

import msgspec
from quorate.storage.engine import Engine, EngineOptions, View
from quorate.storage.memory_env import MemoryEnv

DIRECTORY = "/engine"
# So small that a few dozen writes flush, compact and split.
SMALL = EngineOptions(
    memtable_bytes=1200,
    block_bytes=64,
    table_bytes=400,
    tier_ratio=2,
    blob_bytes=200,
    cache_bytes=3000,
)
# The same, of blocks that have several entries before they are compressed.
COMPRESSED = msgspec.structs.replace(
    SMALL, compression=("zstd",), compressed_block_bytes=300
)


class Names:
    """Names of tables that a test can foretell; no crash makes one come twice."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(16, "big")


def new_engine(options: EngineOptions = SMALL) -> Engine:
    """In a memory of its own."""
    return Engine(MemoryEnv(), DIRECTORY, Names(), options)


def receive(engine: Engine, pieces: Iterable[bytes]) -> None:
    """Be the store that is sent in these pieces."""
    incoming = engine.receive("the sender")
    try:
        for piece in pieces:
            incoming.feed(piece)
        assert sum(incoming.check()) > 0
        engine.install(incoming)
    finally:
        incoming.close()


class Twin:
    """`model` is what the engine should hold; `journal` what its owner would replay."""

    def __init__(self, options: EngineOptions = SMALL) -> None:
        self.env = MemoryEnv()
        self.options = options
        self.names = Names()
        self.model: dict[bytes, bytes] = {}
        self.journal: list[Mapping[bytes, bytes | None]] = []
        self.engine = self.open()

    def open(self) -> Engine:
        engine = Engine(self.env, DIRECTORY, self.names, self.options)
        replay(engine, self.journal)
        return engine

    def write(self, effects: Mapping[bytes, bytes | None]) -> None:
        self.journal.append(effects)
        apply(self.model, effects)
        index = len(self.journal)
        self.engine.write(effects, index, b"%d" % index)

    def reopen(self) -> None:
        self.engine.close()
        self.engine = self.open()

    def check(self) -> None:
        """Everything is there, and nothing else; forwards, backwards, one by one."""
        same(self.engine.view(), self.model)
        for key, value in self.model.items():
            assert self.engine.get(key) == value


def replay(engine: Engine, journal: list[Mapping[bytes, bytes | None]]) -> None:
    """What an owner does after each opening."""
    assert engine.meta == (
        b"%d" % engine.applied_index if engine.applied_index else b""
    )
    for index in range(engine.applied_index + 1, len(journal) + 1):
        while engine.work():
            pass
        engine.write(journal[index - 1], index, b"%d" % index)


def apply(model: dict[bytes, bytes], effects: Mapping[bytes, bytes | None]) -> None:
    for key, value in effects.items():
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


def same(view: View, model: Mapping[bytes, bytes]) -> None:
    """A view shows exactly this, both ways."""
    wanted = sorted(model.items())
    assert list(view.scan()) == wanted
    assert list(view.scan(reverse=True)) == wanted[::-1]
