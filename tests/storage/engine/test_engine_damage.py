"""Damage of any byte of any file: it is told, and never answered from."""

import errno
from collections.abc import Callable

import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.errors import CorruptionError, Unreadable
from quorate.storage.memory_env import Kind, MemoryEnv

from .engine_kit import COMPRESSED, DIRECTORY, SMALL, Names, Twin, same


def _store(options: EngineOptions = SMALL) -> Twin:
    """One compacted run of three tables of several blocks, and a file of values."""
    twin = Twin(options)
    for number in range(24):
        twin.write({b"key%03d" % number: b"value %d " % number * 6})
    twin.engine.flush()
    twin.write({b"key005": b"long" * 60, b"key900": b"longer" * 50})
    twin.engine.compact()
    twin.engine.close()
    assert len(twin.engine.levels()[0]) > 1
    return twin


def _open(env: MemoryEnv) -> Engine:
    return Engine(env, DIRECTORY, Names(), SMALL)


def _files(env: MemoryEnv) -> list[str]:
    return [n for n in env.list(DIRECTORY) if n not in ("LOCK", "work")]


@pytest.mark.parametrize("options", [SMALL, COMPRESSED], ids=["plain", "compressed"])
def test_a_flipped_bit_in_any_byte_gives_no_wrong_answer(
    options: EngineOptions,
) -> None:
    """Reads say what was written or that it is damaged; verify says it always."""
    twin = _store(options)
    flips = 0
    for name in _files(twin.env):
        path = f"{DIRECTORY}/{name}"
        for offset in range(twin.env.size(path)):
            env = twin.env.copy()
            env.flip_bit(path, offset, offset % 8)
            flips += 1
            wrong, told = _ask(env, twin.model)
            assert not wrong, (path, offset)
            assert told == {path}, (path, offset)
    assert flips > 2000


def _ask(env: MemoryEnv, model: dict[bytes, bytes]) -> tuple[list[bytes], set[str]]:
    """Open, read everything each way, verify: wrong answers, and damaged paths."""
    wrong: list[bytes] = []
    told: set[str] = set()
    try:
        engine = _open(env)
    except CorruptionError as error:
        return wrong, {error.path}
    for key in (*model, b"key999"):
        try:
            if engine.get(key) != model.get(key):
                wrong.append(key)
        except CorruptionError as error:
            told.add(error.path)
    for reverse in (False, True):
        found: list[tuple[bytes, bytes]] = []
        try:
            found.extend(engine.scan(reverse=reverse))
        except CorruptionError as error:
            told.add(error.path)
        wanted = sorted(model.items(), reverse=reverse)
        if found != (wanted[: len(found)] if told else wanted):
            wrong.append(b"scan")
    try:
        list(engine.verify())
    except CorruptionError as error:
        told.add(error.path)
    engine.close()
    return wrong, told


def test_a_file_that_is_cut_or_gone_is_told() -> None:
    twin = _store()
    for name in _files(twin.env):
        path = f"{DIRECTORY}/{name}"
        for size in (0, 1, twin.env.size(path) - 1):
            env = twin.env.copy()
            file = env.open(path)
            file.truncate(size)
            file.close()
            with pytest.raises(CorruptionError):
                _open(env)
        env = twin.env.copy()
        env.remove(path)
        with pytest.raises(CorruptionError):
            _open(env)


def test_a_block_of_another_place_is_told() -> None:
    """Two blocks of one file change places; both have right checksums of their own."""
    twin = _store()
    name = next(n for n in _files(twin.env) if n.endswith(".sst"))
    path = f"{DIRECTORY}/{name}"
    data = twin.env.peek(DIRECTORY)[name]
    block = data.index((1).to_bytes(4, "little"), 8) - 8
    file = twin.env.open(path)
    file.write_at(0, data[block : 2 * block])
    file.close()
    engine = _open(twin.env)
    with pytest.raises(CorruptionError, match="of another place"):
        engine.get(b"key000")


def test_a_table_of_an_older_life_is_told() -> None:
    """A stale read: the right name and size, whole and well-formed, of before."""
    twins = Twin(), Twin()
    for twin, value in zip(twins, (b"old", b"new"), strict=True):
        twin.write({b"a": value})
        twin.engine.flush()
    old, new = twins
    (name,) = [n for n in new.env.list(DIRECTORY) if n.endswith(".sst")]
    file = new.env.open(f"{DIRECTORY}/{name}")
    file.write_at(0, old.env.peek(DIRECTORY)[name])
    file.close()
    with pytest.raises(CorruptionError, match="older than its parent"):
        new.engine.get(b"a")
    new.env.kill()
    with pytest.raises(CorruptionError, match="of another table"):
        new.open()


def test_a_value_of_another_place_is_told() -> None:
    """Two values of one length change places; each has its own right checksum."""
    twin = Twin()
    twin.write({b"a": b"1" * 250, b"b": b"2" * 250})
    twin.engine.flush()
    (name,) = [n for n in twin.env.list(DIRECTORY) if n.endswith(".blob")]
    data = twin.env.peek(DIRECTORY)[name]
    head, size = 32, 258
    file = twin.env.open(f"{DIRECTORY}/{name}")
    file.write_at(head, data[head + size :] + data[head : head + size])
    file.close()
    with pytest.raises(CorruptionError, match="wrong checksum"):
        twin.engine.get(b"a")
    with pytest.raises(CorruptionError, match="wrong checksum"):
        list(twin.engine.scan())


def test_a_checkpoint_is_the_store_and_shares_no_fate_with_it() -> None:
    twin = _store()
    twin.engine = twin.open()
    twin.engine.checkpoint("/copy")
    held = dict(twin.model)
    for number in range(24):
        twin.write({b"key%03d" % number: None})
    twin.engine.flush()
    twin.write({b"key900": None})
    twin.engine.compact()
    assert not [n for n in twin.env.list(DIRECTORY) if n.endswith(".blob")]
    copy = Engine(twin.env, "/copy", twin.names, SMALL)
    same(copy.view(), held)
    assert copy.applied_index == 25
    same(twin.engine.view(), {})


READS: dict[str, Callable[[Engine], object]] = {
    "get": lambda engine: [engine.get(b"key%03d" % n) for n in (*range(24), 900)],
    "scan": lambda engine: list(engine.scan()),
    "merge": lambda engine: (engine.write({b"n": b"1"}, 100), engine.compact()),
    "pin": lambda engine: list(engine.pin().pieces()),
    "verify": lambda engine: list(engine.verify()),
}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODATA, errno.EBADMSG])
@pytest.mark.parametrize("ask", READS)
def test_what_the_disk_cannot_read_is_damage(ask: str, code: int) -> None:
    """Story: it ended the node, and the next start met it again, and again.

    Its peers had the bytes; only the scrubber took it for what it is.
    """
    twin = _store()
    for name in twin.engine.manifest.names():
        path = f"{DIRECTORY}/{name}"
        # A merge reads no value that it does not write again.
        if ask == "merge" and name.endswith(".blob"):
            continue
        env = twin.env.copy()
        engine = _open(env)
        env.fail("read", path, error=code, times=None)
        with pytest.raises(CorruptionError, match="can't be read") as caught:
            READS[ask](engine)
        assert caught.value.path == path
        engine.close()


@pytest.mark.parametrize("kind", ["open", "read", "size"])
def test_a_store_that_cannot_be_read_opens_for_whoever_can_replace_it(
    kind: Kind,
) -> None:
    twin = _store()
    for name in twin.engine.manifest.names():
        env = twin.env.copy()
        env.fail(kind, f"{DIRECTORY}/{name}", error=errno.EIO, times=None)
        with pytest.raises(CorruptionError, match="can't be read"):
            _open(env)
        engine = Engine(env, DIRECTORY, Names(), SMALL, even_damaged=True)
        assert engine.damage is not None
        assert engine.damage.path == f"{DIRECTORY}/{name}"


def test_a_range_without_keys_reads_nothing() -> None:
    """Whoever asks whether a node serves asks for one: no damage is met by that."""
    twin = _store()
    for name in _files(twin.env):
        if name.endswith(".sst"):
            twin.env.flip_bit(f"{DIRECTORY}/{name}", 0, 0)
    engine = _open(twin.env)
    for start, end in ((b"", b""), (b"key005", b"key005"), (b"key009", b"key001")):
        assert not list(engine.scan(start, end))
        assert not list(engine.scan(start, end, reverse=True))
    with pytest.raises(CorruptionError):
        list(engine.scan(b"key005", b"key009"))


def test_other_errors_of_reads_stay_what_they_are() -> None:
    twin = _store()
    engine = _open(twin.env)
    twin.env.fail("read", DIRECTORY, error=errno.ENOMEM, times=None)
    with pytest.raises(OSError, match="memory"):
        list(engine.scan())
    with pytest.raises(OSError, match="memory"):
        engine.get(b"key000")


def test_what_was_flushed_and_does_not_read_again_leaves_no_file() -> None:
    """Story: seed 12. It had its name already, and no manifest ever had."""
    twin = _store()
    engine = _open(twin.env)
    engine.write({b"new": b"1"}, 100)
    twin.env.fail("read", DIRECTORY, error=errno.EIO)
    with pytest.raises(Unreadable):
        engine.flush()
    twin.env.heal()
    assert {*_files(twin.env)} == {"MANIFEST", *engine.manifest.names()}
