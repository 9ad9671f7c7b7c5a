"""A store on its way to another disk: whole and checked, or not believed at all."""

import random
from collections.abc import Callable, Iterator

import pytest
from quorate.storage.engine import Engine
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import DIRECTORY, SMALL, Names, Twin, receive, same


def _twin() -> Twin:
    """Several runs, tables of several blocks, and files of values."""
    twin = Twin()
    for number in range(30):
        twin.write({b"key%03d" % (number * 7 % 19): b"v%d" % number * (1 + number * 3)})
        while twin.engine.work():
            pass
    twin.write({b"key003": None})
    twin.engine.flush()
    return twin


def _receiver() -> Twin:
    """Its files have names of their own."""
    twin = Twin()
    twin.names.count = 1 << 20
    twin.engine.close()
    twin.engine = twin.open()
    return twin


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("size", [1, 77, 4096, 1 << 20])
def test_a_store_arrives_in_pieces_of_any_size(size: int) -> None:
    sender, receiver = _twin(), _receiver()
    pinned = sender.engine.pin()
    data = b"".join(pinned.pieces())
    assert len(data) == pinned.size_bytes
    receive(receiver.engine, _cut(data, size))
    same(receiver.engine.view(), sender.model)
    assert receiver.engine.applied_index == sender.engine.applied_index
    assert receiver.engine.meta == sender.engine.meta
    # It goes on from there, and is there after a power loss.
    receiver.env.crash(random.Random(1))
    receiver.journal, receiver.model = list(sender.journal), dict(sender.model)
    receiver.engine = receiver.open()
    receiver.write({b"new": b"x"})
    receiver.engine.compact()
    receiver.check()


def test_what_was_pinned_is_sent_whatever_happens_meanwhile() -> None:
    sender, receiver = _twin(), _receiver()
    held, pinned = dict(sender.model), sender.engine.pin()
    pieces = pinned.pieces()
    first = next(pieces)
    sender.write({b"key%03d" % n: None for n in range(19)})
    sender.engine.compact()
    receive(receiver.engine, iter([first, *pieces]))
    same(receiver.engine.view(), held)


def test_what_was_here_before_is_given_up_and_views_of_it_go_on() -> None:
    sender, receiver = _twin(), _receiver()
    receiver.write({b"old": b"1" * 300, b"key001": b"mine"})
    receiver.engine.flush()
    receiver.write({b"newer": b"in memory"})
    view, held = receiver.engine.view(), dict(receiver.model)
    receive(receiver.engine, sender.engine.pin().pieces())
    same(receiver.engine.view(), sender.model)
    same(view, held)
    names = {file.name for file in receiver.engine.manifest.files()}
    found = set(receiver.env.list(DIRECTORY)) - {"LOCK", "MANIFEST", "work"}
    assert found == names


def test_files_that_are_here_already_may_come_again() -> None:
    sender, receiver = _twin(), _receiver()
    receive(receiver.engine, sender.engine.pin().pieces())
    sender.write({b"more": b"x" * 300})
    sender.engine.flush()
    receive(receiver.engine, sender.engine.pin().pieces())
    same(receiver.engine.view(), sender.model)
    receiver.journal, receiver.model = list(sender.journal), dict(sender.model)
    receiver.reopen()
    receiver.check()


def test_every_truncation_and_every_addition_is_told() -> None:
    data = b"".join(_twin().engine.pin().pieces())
    receiver = _receiver()
    for wrong in [*(data[:n] for n in range(0, len(data), 37)), data + b"\0"]:
        with pytest.raises(CorruptionError):
            receive(receiver.engine, iter([wrong]))
    assert receiver.engine.applied_index == 0
    receive(receiver.engine, iter([data]))


def test_every_flipped_bit_is_told() -> None:
    data = b"".join(_twin().engine.pin().pieces())
    receiver = _receiver()
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 1 << at % 8
        with pytest.raises(CorruptionError):
            receive(receiver.engine, _cut(bytes(wrong), 1000))
    assert receiver.engine.applied_index == 0
    (nonce,) = receiver.env.list(f"{DIRECTORY}/work")
    assert receiver.env.list(f"{DIRECTORY}/work/{nonce}") == []


def test_a_sender_finds_its_own_damage() -> None:
    """I-28: else it would send the same again and again, to be refused each time."""
    sender = _twin()
    sender.engine.close()
    for file in sender.engine.manifest.files():
        env = sender.env.copy()
        path = f"{DIRECTORY}/{file.name}"
        env.flip_bit(path, 60, 3)
        engine = Engine(env, DIRECTORY, Names(), SMALL)
        with pytest.raises(CorruptionError) as caught:
            list(engine.pin().pieces())
        assert caught.value.path == path


def test_a_length_that_promises_too_much_is_refused_before_it_is_buffered() -> None:
    incoming = _receiver().engine.receive("a stranger")
    with pytest.raises(CorruptionError, match="a manifest of"):
        incoming.feed(b"\xff\xff\xff\x7f")


def test_a_condemned_store_answers_nothing_until_another_takes_its_place() -> None:
    """Its memtable is gone: story: a flush on the way out then claimed its effects.

    Nor does it take a write: the flush of that one once made it answer again.
    """
    sender, receiver = _twin(), _receiver()
    receiver.write({b"a": b"1"})
    receiver.engine.flush()
    receiver.write({b"b": b"2"})
    damage = CorruptionError("a table", 7, "it is spoilt")
    receiver.engine.condemn(damage)
    for ask in (
        lambda: receiver.engine.get(b"a"),
        lambda: receiver.engine.get(b"b"),
        lambda: list(receiver.engine.scan()),
        receiver.engine.flush,
        receiver.engine.freeze,
        receiver.engine.pin,
        receiver.engine.compact,
        lambda: list(receiver.engine.verify()),
        lambda: receiver.engine.checkpoint("/copy"),
        lambda: receiver.engine.write({b"c": b"3"}, 3),
    ):
        with pytest.raises(CorruptionError) as caught:
            ask()
        assert caught.value is damage
    assert not receiver.engine.work()
    assert not receiver.engine.owed
    assert receiver.engine.applied_index == 1
    assert not receiver.env.exists("/copy")
    receive(receiver.engine, sender.engine.pin().pieces())
    assert receiver.engine.damage is None
    same(receiver.engine.view(), sender.model)


def test_a_store_with_a_damaged_table_opens_for_whoever_can_replace_it() -> None:
    sender, receiver = _twin(), _receiver()
    receiver.write({b"a": b"1"})
    receiver.engine.flush()
    receiver.engine.close()
    (file,) = receiver.engine.manifest.files()
    receiver.env.truncate_durable(f"{DIRECTORY}/{file.name}", 40)
    with pytest.raises(CorruptionError):
        Engine(receiver.env, DIRECTORY, receiver.names, SMALL)
    receiver.engine = Engine(
        receiver.env, DIRECTORY, receiver.names, SMALL, even_damaged=True
    )
    assert receiver.engine.damage is not None
    assert (receiver.engine.applied_index, receiver.engine.meta) == (1, b"1")
    with pytest.raises(CorruptionError):
        receiver.engine.get(b"a")
    receive(receiver.engine, sender.engine.pin().pieces())
    same(receiver.engine.view(), sender.model)


def rots(env: MemoryEnv, path: str) -> None:
    env.flip_bit(path, 60, 3)


def vanishes(env: MemoryEnv, path: str) -> None:
    env.remove(path)


@pytest.mark.parametrize("happens", [rots, vanishes])
@pytest.mark.parametrize("kind", [".sst", ".blob"])
def test_a_damaged_file_is_replaced_by_one_of_the_same_name(
    kind: str, happens: Callable[[MemoryEnv, str], None]
) -> None:
    """Story: who had taken a state once has files under the sender's names.

    One of them rotted, and came whole with the next state. But what had a name of the
    current manifest was not moved into its place: reads met the good one, which nobody
    would find again, and the next opening, copy or merge met the damage.
    """
    sender, receiver = _twin(), _receiver()
    receive(receiver.engine, sender.engine.pin().pieces())
    shared = receiver.engine.manifest.names()
    receiver.engine.close()
    happens(receiver.env, next(f"{DIRECTORY}/{n}" for n in shared if n.endswith(kind)))
    receiver.engine = Engine(
        receiver.env, DIRECTORY, receiver.names, SMALL, even_damaged=True
    )
    receiver.engine.condemn(CorruptionError("a file", 60, "a read met it"))
    sender.write({b"later": b"x"})
    sender.engine.flush()
    assert shared < sender.engine.manifest.names()
    receive(receiver.engine, sender.engine.pin().pieces())
    receiver.engine.checkpoint("/copy")
    receiver.journal, receiver.model = list(sender.journal), dict(sender.model)
    receiver.reopen()
    receiver.check()
    assert sum(receiver.engine.verify()) > 0
    receiver.engine.compact()
    receiver.check()
    same(Engine(receiver.env, "/copy", Names(), SMALL).view(), sender.model)
