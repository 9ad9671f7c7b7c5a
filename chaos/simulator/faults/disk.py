"""Faults of disks: errors, slowness, no room; and damage, which hits victims only.

Law: each function starts one fault and answers how to end it, or None. Damage is what
single bits and sectors do: an identity at one end of a batch survives it (decision
0004). Errors are told; damage and misdirection are not.
"""

from functools import partial
from random import Random

from ....raft import EntriesReply
from ....storage.journal_format import (
    BLOCK_BYTES,
    HEAD_BYTES,
    decode_head,
    extent,
    segment_sequence,
)
from ....storage.memory_disk import SECTOR_BYTES
from ....storage.memory_env import Kind
from ..node import Node
from ..world import MILLISECOND
from .ground import Ground, Undo
from .plan import Fault
from .process import hold_down

_ENDLESS_BYTES = 1 << 50
_STORE = "/data/stores/1"
_ERRORS: dict[str, Kind] = {
    "eio_read": "read",
    "eio_write": "write",
    "eio_sync": "sync",
    "eio_open": "open",
    "eio_rename": "rename",
    "eio_remove": "remove",
    "eio_directory": "sync_directory",
}


def segments_of(node: Node) -> dict[str, bytes]:
    """The journal's live segments, oldest first, by path."""
    journal = node.env.peek(f"{_STORE}/journal")
    return {
        f"{_STORE}/journal/{name}": data
        for name, data in journal.items()
        if name.endswith(".seg") and "spare" not in name
    }


def engine_files_of(node: Node) -> dict[str, bytes]:
    """Manifest, tables and files of values, by path."""
    files = node.env.peek(f"{_STORE}/engine")
    return {f"{_STORE}/engine/{n}": d for n, d in files.items() if d}


def batches_of(segments: dict[str, bytes]) -> list[tuple[str, int, int]]:
    """Path, begin and end of each batch, in order.

    A recycled segment still holds heads of its former life, which are nobody's.
    """
    batches: list[tuple[str, int, int]] = []
    for path, data in segments.items():
        sequence = segment_sequence(path.rpartition("/")[2])
        for start in range(0, len(data), BLOCK_BYTES):
            found = decode_head(data, start)
            if found is not None and found[0].segment == sequence:
                batches.append((path, start, start + extent(found[0].body_length)))
    return batches


def entries_at(node: Node, position: int) -> int:
    """How many bytes of entries a batch has, counted from the end; 0: no such batch."""
    segments = segments_of(node)
    batches = batches_of(segments)
    if len(batches) < 3:
        return 0
    path, start, _ = batches[position]
    found = decode_head(segments[path], start)
    return 0 if found is None else found[0].body_length


def damage_batch(node: Node, position: int, dice: Random) -> None:
    """Flip one bit in the entries of a batch, counted from the end."""
    path, start, _ = batches_of(segments_of(node))[position]
    at = start + HEAD_BYTES + dice.randrange(entries_at(node, position))
    node.damaged = True
    node.env.flip_bit(path, at, dice.randrange(8))
    node.world.trace(node.name, "bit flip", f"{path} at {at}")


def lose_head(node: Node) -> None:
    """The first sector of the last batch reads back as zeros; its foot is whole."""
    path, start, _ = batches_of(segments_of(node))[-1]
    node.damaged = True
    node.env.zero_range(path, start, SECTOR_BYTES)
    node.world.trace(node.name, "lost sector", f"{path} at {start}")


def _may_wound(ground: Ground, node: Node, path: str, at: int) -> bool:
    """Each batch is damaged once at most: one of its ends still says who it is."""
    for member, wounded, start, end in ground.wounds:
        if (member, wounded) == (node.member, path) and start <= at < end:
            return False
    for batch in batches_of(segments_of(node)):
        if batch[0] == path and batch[1] <= at < batch[2]:
            ground.wounds.append((node.member, *batch))
    return True


def _victim(ground: Ground, dice: Random) -> Node | None:
    """One of the few whose disks may be damaged; a cluster of one has none."""
    return dice.choice(ground.victims) if ground.victims else None


def _byte(node: Node, dice: Random) -> tuple[str, int] | None:
    """A byte of the journal or of the engine that is likely to mean something.

    Most of a segment is padding, to which damage would be none. The newest segment
    comes most often.
    """
    segments = segments_of(node)
    files = engine_files_of(node)
    if files and dice.random() < 0.25:
        path = dice.choice(list(files))
        data = files[path]
    elif segments:
        path = dice.choice(list(segments)[-1:] * 3 + list(segments))
        data = segments[path]
    else:
        return None
    if not data.strip(b"\0"):
        return None
    at = dice.randrange(len(data))
    while not data[at]:
        at = dice.randrange(len(data))
    return path, at


def bit_flip(ground: Ground, fault: Fault, dice: Random) -> None:
    """One bit, or a few in one sector."""
    node = _victim(ground, dice)
    place = _byte(node, dice) if node is not None else None
    if node is not None and place is not None:
        _flip(ground, node, place, fault.strength, dice)


def _flip(
    ground: Ground, node: Node, place: tuple[str, int], strength: int, dice: Random
) -> None:
    path, at = place
    if not _may_wound(ground, node, path, at):
        return
    node.damaged = True
    ground.world.trace(node.name, "bit flip", f"{path} at {at}")
    node.env.flip_bit(path, at, dice.randrange(8))
    size = node.env.size(path)
    for _ in range(strength):
        near = at - at % SECTOR_BYTES + dice.randrange(SECTOR_BYTES)
        node.env.flip_bit(path, min(size - 1, near), dice.randrange(8))


def rotten_tail(ground: Ground, fault: Fault, dice: Random) -> Undo | None:
    """A node is down, and its last batch, which it may have acknowledged, is damaged.

    At full strength it comes back at once, while the leader is away: then nobody can
    settle its doubt for a while.
    """
    node = _victim(ground, dice)
    start_again = None if node is None else _rot(ground, node, fault.strength, dice)
    if start_again is None or fault.strength < 2:
        return start_again
    away = ground.leader(dice)
    away.pause(True)
    start_again()
    return partial(away.pause, False)


def rotten_table(ground: Ground, fault: Fault, dice: Random) -> Undo | None:
    """A node is down, and bits of its engine's files flip before it starts again."""
    node = _victim(ground, dice)
    files = engine_files_of(node) if node is not None else {}
    if node is None or not files:
        return None
    start_again = hold_down([node], "kill")
    path = dice.choice(list(files))
    at = dice.randrange(len(files[path]))
    _flip(ground, node, (path, at), fault.strength, dice)
    return start_again


def lonely_tail(ground: Ground, fault: Fault, dice: Random) -> Undo | None:
    """The newest entries reach one node alone, whose copy of them is damaged.

    Whoever asks for its vote then never had what it doubts, and for as long as the
    fault lasts nobody's answer about it comes through.
    """
    node, leader = _victim(ground, dice), ground.acting_leader(dice)
    if node is None or leader is None or not node.up:
        return None
    network = ground.network
    others = [n.member for n in ground.nodes if n not in (node, leader)]
    heard_again = network.close([(leader.member, other) for other in others])
    undo: list[Undo] = [heard_again]

    def look(last_index: int) -> None:
        if not undo or not node.up:
            return
        if node.raft.log.stable_index <= last_index:
            ground.later(MILLISECOND, look, last_index)
        elif (start_again := _rot(ground, node, fault.strength, dice)) is not None:
            answers = [(other.member, node.member) for other in ground.nodes]
            undo.append(network.silence((EntriesReply,), answers))
            undo.append(partial(leader.pause, False))
            leader.pause(True)
            heard_again()
            start_again()

    def end() -> None:
        for step in undo:
            step()
        undo.clear()
        node.wanted = True
        node.start()

    look(node.raft.log.stable_index)
    return end


def _rot(ground: Ground, node: Node, strength: int, dice: Random) -> Undo | None:
    """End the node and damage its last batch; how to start it. None: it has none.

    Some sector of it loses a bit or all its bytes; its other end still says who it is.
    """
    batches = batches_of(segments_of(node))
    if not batches:
        return None
    path, start, _ = batches[-1]
    start_again = hold_down([node], "kill")
    node.damaged = True
    data = segments_of(node)[path]
    sectors = [
        at
        for at in range(start, len(data), SECTOR_BYTES)
        if data[at : at + SECTOR_BYTES].strip(b"\0")
    ]
    at = dice.choice(sectors)
    if strength == 0 and _may_wound(ground, node, path, at):
        node.env.zero_range(path, at, SECTOR_BYTES)
        ground.world.trace(node.name, "lost sector", f"{path} at {at}")
    else:
        sector = data[at : at + SECTOR_BYTES]
        offset = dice.choice([n for n, byte in enumerate(sector) if byte])
        _flip(ground, node, (path, at + offset), 0, dice)
    return start_again


def lost_sector(ground: Ground, fault: Fault, dice: Random) -> None:
    """512 bytes read back as zeros from now on."""
    del fault
    node = _victim(ground, dice)
    place = _byte(node, dice) if node is not None else None
    if node is None or place is None or not _may_wound(ground, node, *place):
        return
    path, at = place
    start = at - at % SECTOR_BYTES
    node.damaged = True
    length = min(SECTOR_BYTES, node.env.size(path) - start)
    node.env.zero_range(path, start, length)
    ground.world.trace(node.name, "lost sector", f"{path} at {start}")


def misdirected_read(ground: Ground, fault: Fault, dice: Random) -> None:
    """The next read of a file returns what lies a few blocks further on, or before.

    Not of the newest segment: zeros in the place of a last batch nobody could miss.
    """
    node = _victim(ground, dice)
    place = _byte(node, dice) if node is not None else None
    if node is None or place is None:
        return
    if place[0] != next(reversed(segments_of(node)), None):
        node.damaged = True
        blocks = dice.choice((1, 2, -1)) if fault.strength else 1
        node.env.misdirect_next_read(place[0], blocks * BLOCK_BYTES)
        ground.world.trace(node.name, "misdirected", place[0])


def lost_write(ground: Ground, fault: Fault, dice: Random) -> None:
    """A write that was reported done was not: a block of the journal is still empty.

    It hits no last batch: that one nobody could miss (README: the disks must keep what
    they said is synced).
    """
    del fault
    node = _victim(ground, dice)
    batches = batches_of(segments_of(node)) if node is not None else []
    if node is None or len(batches) < 2:
        return
    path, start, end = dice.choice(batches[:-1])
    if node.persisting and (path, start, end) == batches[-2]:
        # Seed 6024: the one behind it was still on its way, and a power loss took it.
        return
    if _may_wound(ground, node, path, start):
        node.damaged = True
        node.env.zero_range(path, start, BLOCK_BYTES)
        ground.world.trace(node.name, "lost write", f"{path} at {start}")


def error(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """The disk reports it. After a failed sync the process must end (I-19)."""
    node = ground.choose(fault, dice)[0]
    times = None if fault.strength == 2 else 1
    folder = dice.choice(("journal", "engine", ""))
    node.env.fail(
        _ERRORS[fault.kind],
        f"{_STORE}/{folder}",
        times=times,
        after=dice.randrange(3) if times else 0,
    )
    node.work.unread |= fault.kind in ("eio_read", "eio_open")

    def end() -> None:
        node.env.heal()
        node.start()

    return end


def full_disk(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """No room, or hardly any."""
    nodes = ground.choose(fault, dice)
    for node in nodes:
        node.env.capacity_bytes = _ENDLESS_BYTES
        used = _ENDLESS_BYTES - node.env.free_bytes("/")
        node.env.capacity_bytes = used + (0, 20_000, 600_000)[fault.strength]

    def end() -> None:
        for node in nodes:
            node.env.capacity_bytes = None
            node.start()

    return end


def slow_disk(ground: Ground, fault: Fault, dice: Random) -> Undo:
    nodes = ground.choose(fault, dice)
    for node in nodes:
        node.slow = (5, 50, 500)[fault.strength]

    def end() -> None:
        for node in nodes:
            node.slow = 1

    return end


ERRORS = tuple(_ERRORS)
