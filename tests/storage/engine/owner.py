"""An owner of an engine with a worker, to be killed: `python owner.py DIRECTORY`.

Effects depend on their index alone, so that whoever looks afterwards knows what should
be there. One line for each write: its index.
"""

import os
import sys
from random import Random

from quorate.storage.engine import Engine, EngineOptions, Worker
from quorate.storage.env import RealEnv
from quorate.storage.errors import WriteStalled

OPTIONS = EngineOptions(
    memtable_bytes=60_000, table_bytes=50_000, tier_ratio=2, blob_bytes=2000
)
KEYS = 400


def effects(index: int) -> dict[bytes, bytes | None]:
    """Twenty keys of write `index`; some are deleted."""
    dice = Random(index)
    keys = [b"key-%04d" % dice.randrange(KEYS) for _ in range(20)]
    return {
        key: None
        if dice.random() < 0.2
        else b"%d-" % index + bytes(dice.choice([100] * 19 + [2500]))
        for key in keys
    }


def main() -> None:
    engine = Engine(RealEnv(), sys.argv[1], lambda: os.urandom(16), OPTIONS, Worker)
    print("open", engine.applied_index, flush=True)
    while True:
        index = engine.last_index + 1
        try:
            engine.write(effects(index), index)
        except WriteStalled:
            engine.flush()
            continue
        engine.work()
        print(index, flush=True)


if __name__ == "__main__":
    main()
