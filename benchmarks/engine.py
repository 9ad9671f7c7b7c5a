"""The engine beside LevelDB and RocksDB, from Python, in one run.

    pip install plyvel rocksdict
    python benchmarks/engine.py --entries 300000 --value-bytes 256

Every engine gets the same keys in the same random order, in batches of 100, and its
defaults. Puts are timed while they come, and again when compaction owes nothing. Gets
are of random present keys, warm, from compacted tables: other ones in each round, all
keys alike, so that what an engine remembers of the round before is of little use; and
skewed, as YCSB has it (zipf, 0.99). The engines take turns, round by round, and the
median round counts. Nobody syncs; quorate has no log of its
own, so RocksDB is shown with its log on and off.

With `--values records` the values are JSON documents, and quorate and LevelDB are shown
with compressed blocks as well (zstd and Snappy).
"""

import argparse
import gc
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from quorate.chaos.load.distributions import Zipf
from quorate.storage.engine import Codec, Engine, EngineOptions, Worker
from quorate.storage.env import RealEnv
from quorate.storage.errors import WriteStalled

BATCH = 100
GETS = 20_000
RANGES = 500
RANGE_KEYS = 100


class Subject(Protocol):
    """What is measured of each."""

    name: str
    get: Callable[[bytes], bytes | None]

    def put(self, batch: Mapping[bytes, bytes]) -> None: ...

    def settle(self) -> None:
        """Return when nothing is owed, and everything is in compacted tables."""
        ...

    def scan(self, start: bytes) -> Iterator[tuple[bytes, bytes]]: ...

    def close(self) -> None: ...


class Quorate:
    def __init__(self, path: str, codec: Codec = "none") -> None:
        self.name = "quorate" if codec == "none" else f"quorate-{codec}"
        ids = partial(os.urandom, 16)
        options = EngineOptions(compression=(codec,))
        self.engine = Engine(RealEnv(), path, ids, options, Worker)
        self.get: Callable[[bytes], bytes | None] = self.engine.get
        self.index = 0

    def put(self, batch: Mapping[bytes, bytes]) -> None:
        self.index += 1
        engine = self.engine
        while True:
            try:
                engine.write(batch, self.index)
                break
            except WriteStalled:
                engine.work()
                engine.wait()
        engine.work(1 << 18)

    def settle(self) -> None:
        self.engine.compact()

    def scan(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.engine.scan(start)

    def close(self) -> None:
        engine = self.engine
        rewritten = engine.flushed_bytes + engine.compacted_bytes
        data = engine.levels()
        print(
            f"  {self.name}: write amplification {rewritten / engine.flushed_bytes:.2f}"
            f", {sum(map(len, data))} tables, {engine.blocks_read} blocks read by gets"
        )
        engine.close()


class LevelDB:
    def __init__(self, path: str, codec: str | None = None) -> None:
        plyvel: Any = import_module("plyvel")
        self.name = "leveldb" if codec is None else f"leveldb-{codec}"
        self.db: Any = plyvel.DB(path, create_if_missing=True, compression=codec)
        self.get: Callable[[bytes], bytes | None] = self.db.get

    def put(self, batch: Mapping[bytes, bytes]) -> None:
        with self.db.write_batch() as writes:
            for key, value in batch.items():
                writes.put(key, value)

    def settle(self) -> None:
        self.db.compact_range()

    def scan(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.db.iterator(start=start)

    def close(self) -> None:
        self.db.close()


class RocksDB:
    def __init__(self, path: str, log: bool) -> None:
        rocks: Any = import_module("rocksdict")
        self.name = "rocksdb" if log else "rocksdb-nolog"
        self.options: Any = rocks.WriteOptions()
        self.options.disable_wal = not log
        self.batch: Any = rocks.WriteBatch
        self.db: Any = rocks.Rdict(path, rocks.Options(raw_mode=True))
        self.get: Callable[[bytes], bytes | None] = self.db.get

    def put(self, batch: Mapping[bytes, bytes]) -> None:
        writes = self.batch(raw_mode=True)
        for key, value in batch.items():
            writes.put(key, value)
        self.db.write(writes, self.options)

    def settle(self) -> None:
        self.db.flush()
        self.db.compact_range(None, None)

    def scan(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.db.items(from_key=start)

    def close(self) -> None:
        self.db.close()


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def random_values(value_bytes: int, dice: random.Random) -> list[bytes]:
    """Nothing makes them smaller."""
    return [dice.randbytes(value_bytes) for _ in range(997)]


def records(value_bytes: int, dice: random.Random) -> list[bytes]:
    """JSON documents of about so many bytes, with names and numbers of their own."""
    values: list[bytes] = []
    for number in range(997):
        record: dict[str, object] = {
            "id": dice.getrandbits(48),
            "name": f"customer {number}",
            "email": f"{dice.randbytes(5).hex()}@example.com",
            "active": dice.random() < 0.5,
            "balance": dice.randrange(10**7) / 100,
            "created": f"2026-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}",
            "tags": dice.sample(["new", "loyal", "abroad", "paper", "late"], 2),
        }
        text = json.dumps(record).encode()
        more = value_bytes - len(text)
        if more > 0:
            record["note"] = dice.randbytes(more // 4).hex() + " " * (more // 4)
        values.append(json.dumps(record).encode())
    return values


VALUES = {"random": random_values, "records": records}


def load(subject: Subject, keys: list[bytes], values: list[bytes]) -> list[float]:
    """Puts a second: while they come, and until nothing is owed."""
    begin = time.perf_counter()
    for number in range(0, len(keys), BATCH):
        some = keys[number : number + BATCH]
        subject.put({k: values[(number + n) % len(values)] for n, k in enumerate(some)})
    came = time.perf_counter() - begin
    subject.settle()
    return [len(keys) / came, len(keys) / (time.perf_counter() - begin)]


def get_all(subject: Subject, keys: list[bytes]) -> None:
    get = subject.get
    for key in keys:
        if get(key) is None:
            raise SystemExit(f"{subject.name} has lost {key!r}")


def ranges(subject: Subject, keys: list[bytes]) -> None:
    for key in keys:
        pairs = subject.scan(key)
        for _ in range(RANGE_KEYS):
            if next(pairs, None) is None:
                break


def scan_all(subject: Subject, count: int) -> None:
    found = sum(1 for _ in subject.scan(b"\0"))
    if found != count:
        raise SystemExit(f"{subject.name} scans {found} of {count} entries")


def disk_bytes(path: str) -> int:
    return sum(f.stat().st_blocks * 512 for f in Path(path).rglob("*") if f.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The engine beside LevelDB and RocksDB."
    )
    parser.add_argument("--entries", type=int, default=300_000)
    parser.add_argument("--value-bytes", type=int, default=256)
    parser.add_argument("--values", choices=[*VALUES], default="random")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", help="where to write (default: a temporary one)")
    options = parser.parse_args()
    dice = random.Random(1)
    keys = [b"%016d" % n for n in range(options.entries)]
    dice.shuffle(keys)
    values = VALUES[options.values](options.value_bytes, dice)
    base = tempfile.mkdtemp(prefix="engine-", dir=options.directory)
    makers: list[Callable[[str], Subject]] = [
        Quorate,
        LevelDB,
        lambda path: RocksDB(path, log=True),
        lambda path: RocksDB(path, log=False),
    ]
    if options.values == "records":
        makers += [partial(Quorate, codec="zstd"), partial(LevelDB, codec="snappy")]
    subjects: list[Subject] = []
    table: dict[str, dict[str, float]] = {}
    try:
        for place, make in enumerate(makers):
            path = f"{base}/{place}"
            subject = make(path)
            subjects.append(subject)
            row = table[subject.name] = {}
            gc.collect()
            row["put/s"], row["paid/s"] = load(subject, keys, values)
            row["MB"] = disk_bytes(path) / 1e6
        zipf = Zipf(len(keys))
        starts = dice.choices(keys, k=RANGES)
        times: dict[str, dict[str, list[float]]] = {
            s.name: {"get/s": [], "skewed/s": [], "range/s": [], "scan/s": []}
            for s in subjects
        }
        for subject in subjects:
            get_all(subject, dice.choices(keys, k=GETS))
        for turn in range(options.rounds):
            asked = dice.choices(keys, k=GETS)
            skewed = [keys[zipf.rank(dice.random())] for _ in range(GETS)]
            for subject in subjects if turn % 2 == 0 else reversed(subjects):
                took = times[subject.name]
                took["get/s"].append(
                    GETS / seconds(lambda s=subject, a=asked: get_all(s, a))
                )
                took["skewed/s"].append(
                    GETS / seconds(lambda s=subject, a=skewed: get_all(s, a))
                )
                took["range/s"].append(
                    RANGES / seconds(lambda s=subject: ranges(s, starts))
                )
                if turn < 3:
                    took["scan/s"].append(
                        len(keys) / seconds(lambda s=subject: scan_all(s, len(keys)))
                    )
        for name, columns in times.items():
            for column, figures in columns.items():
                table[name][column] = statistics.median(figures)
        show(table)
        for subject in subjects:
            subject.close()
    finally:
        shutil.rmtree(base)


def show(table: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(table.values())))
    print(f"{'':16}" + "".join(f"{column:>12}" for column in columns))
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"{row[column]:>12,.0f}" for column in columns))
    own = table["quorate"]
    for name, row in table.items():
        if name != "quorate":
            ratios = "".join(f"{own[c] / row[c]:>12.2f}" for c in columns)
            print(f"{'quorate/' + name:16.16}{ratios}")


if __name__ == "__main__":
    main()
