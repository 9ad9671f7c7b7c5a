"""What is on a simulated disk, and what a power loss may leave of it.

Law: values and rules only: no paths, no handles, no faults (`memory_env` has those),
and chance is an argument.

A file has two images: `content`, what a reader sees, and `durable`, what surely
survives; `pending` holds the steps between them since the last sync. A directory has
two tables of names in the same way. The rules of a power loss:

  writes    each pending write is kept, lost or torn, whatever became of the others. A
            torn write leaves any subset of its 512-byte sectors, and the file reaches
            either to the last sector left or to the write's whole end, zeros between.
            This is harsher than most disks: two writes to one sector part company too.
  truncates kept or lost, whole.
  names     a prefix of each directory's pending changes is kept. A rename inside one
            directory is one change. Between two directories it is two: a file may be
            left under both names and never under neither, a directory moves whole.
  files     those without a name afterwards are gone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

SECTOR_BYTES = 512

LOST, KEPT, TORN = 0, 1, 2


class Chance(Protocol):
    """The dice of a power loss: `random.Random` fits."""

    def randrange(self, stop: int, /) -> int: ...

    def getrandbits(self, k: int, /) -> int: ...


class TooManyCrashStates(Exception):
    """The workload is too large to enumerate within the bound."""

    def __init__(self, bound: int) -> None:
        super().__init__(f"more than {bound} crash states")
        self.bound = bound


class Inode:
    """A file: bytes with any number of names."""

    __slots__ = ("content", "diverged", "durable", "links", "pending")

    def __init__(self, image: bytes | bytearray = b"") -> None:
        self.content = bytearray(image)
        self.durable = bytearray(image)
        # (offset, data) of a write, (size, None) of a truncate.
        self.pending: list[tuple[int, bytes | None]] = []
        # A sync failed: `content` holds bytes that no sync makes durable any more.
        self.diverged = False
        self.links = 0

    def sync(self) -> None:
        for offset, data in self.pending:
            apply(self.durable, offset, data)
        self.pending.clear()

    def fail_sync(self) -> None:
        """Mark the pages clean without writing them, as kernels do (fsyncgate)."""
        self.diverged = self.diverged or bool(self.pending)
        self.pending.clear()

    def copy(self) -> Inode:
        twin = Inode()
        twin.content = bytearray(self.content)
        twin.durable = bytearray(self.durable)
        twin.pending = self.pending.copy()
        twin.diverged, twin.links = self.diverged, self.links
        return twin

    def settle(self, image: bytearray) -> None:
        """Start again from `image`, after a power loss."""
        self.durable = image
        self.content = bytearray(image)
        self.pending.clear()
        self.diverged = False


class Change:
    """One step in a directory's table, and the steps elsewhere that it stands on."""

    __slots__ = ("names", "needs")

    def __init__(
        self, names: tuple[tuple[str, Node | None], ...], needs: tuple[Need, ...] = ()
    ) -> None:
        self.names = names
        self.needs = needs


class Directory:
    """Names, each of a file or of another directory."""

    __slots__ = ("durable", "entries", "pending")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.pending: list[Change] = []

    def change(
        self, *names: tuple[str, Node | None], needs: tuple[Need, ...] = ()
    ) -> Change:
        """Change what is seen; what is durable follows by `sync` or by luck."""
        change = Change(names, needs)
        enter(self.entries, change)
        self.pending.append(change)
        return change

    def sync(self, last: Change | None = None) -> None:
        """Make the pending changes durable, up to `last` when it is given.

        What a change needs elsewhere was made at the same moment as the change, so
        the way through other directories leads only to older steps, and ends.
        """
        while self.pending:
            change = self.pending.pop(0)
            for directory, need in change.needs:
                if need in directory.pending:
                    directory.sync(need)
            enter(self.durable, change)
            if change is last:
                return

    def needs(self) -> tuple[Need, ...]:
        """Tell what must be durable before this directory itself may disappear."""
        return tuple(need for change in self.pending for need in change.needs)

    def after(self, count: int) -> dict[str, Node]:
        """Build the table that is left when the first `count` changes are kept."""
        table = dict(self.durable)
        for change in self.pending[:count]:
            enter(table, change)
        return table


Node = Inode | Directory
Need = tuple[Directory, Change]
Prefixes = dict[Directory, int]


def enter(table: dict[str, Node], change: Change) -> None:
    for name, node in change.names:
        if node is None:
            table.pop(name, None)
        else:
            table[name] = node


def apply(image: bytearray, offset: int, data: bytes | None) -> None:
    """Do one write or truncate to an image."""
    size = len(image)
    if data is None and offset < size:
        del image[offset:]
    elif offset > size:
        image.extend(bytes(offset - size))
    if data is not None:
        image[offset : offset + len(data)] = data


def apply_torn(
    image: bytearray, offset: int, data: bytes, sectors: int, *, extend: bool
) -> None:
    """Do a part of a write: bit n of `sectors` stands for its n-th sector."""
    end = offset + len(data)
    start = offset
    while start < end:
        stop = min(end, start - start % SECTOR_BYTES + SECTOR_BYTES)
        if sectors & 1:
            apply(image, start, data[start - offset : stop - offset])
        sectors >>= 1
        start = stop
    if extend and len(image) < end:
        apply(image, end, None)


def sector_count(offset: int, data: bytes) -> int:
    """Count the sectors that a write touches."""
    return (offset + len(data) - 1) // SECTOR_BYTES - offset // SECTOR_BYTES + 1


def reachable(root: Directory) -> tuple[list[Directory], list[Inode]]:
    """List all that any crash could leave a name to, always in the same order."""
    directories, inodes = [root], list[Inode]()
    seen: set[Node] = {root}
    for directory in directories:  # it grows while it is read
        nodes: Iterable[Node | None] = directory.durable.values()
        if directory.pending:  # else both tables name the same
            changed = (node for change in directory.pending for _, node in change.names)
            nodes = itertools.chain(nodes, directory.entries.values(), changed)
        for node in nodes:
            if node is None or node in seen:
                continue
            seen.add(node)
            if isinstance(node, Directory):
                directories.append(node)
            else:
                inodes.append(node)
    return directories, inodes


class _Copier:
    """Copies what is below a directory, pending steps and their needs included.

    Each is known before its parts are copied, because needs go round in circles. Far
    faster than the library's deep copy: whoever tries every crash copies all the time.
    """

    def __init__(self) -> None:
        self.nodes: dict[Node, Node] = {}
        self.changes: dict[Change, Change] = {}

    def directory(self, old: Directory) -> Directory:
        known = self.nodes.get(old)
        if isinstance(known, Directory):
            return known
        twin = Directory()
        self.nodes[old] = twin
        twin.entries = {name: self.node(n) for name, n in old.entries.items()}
        twin.durable = {name: self.node(n) for name, n in old.durable.items()}
        twin.pending = [self.change(change) for change in old.pending]
        return twin

    def node(self, old: Node) -> Node:
        if isinstance(old, Directory):
            return self.directory(old)
        if old not in self.nodes:
            self.nodes[old] = old.copy()
        return self.nodes[old]

    def change(self, old: Change) -> Change:
        if old in self.changes:
            return self.changes[old]
        twin = self.changes[old] = Change(())
        twin.names = tuple((name, node and self.node(node)) for name, node in old.names)
        twin.needs = tuple((self.directory(d), self.change(n)) for d, n in old.needs)
        return twin


def copy_of(root: Directory) -> Directory:
    """Copy a tree with what is and what is not yet durable."""
    return _Copier().directory(root)


def _needed(prefixes: Prefixes) -> Iterator[tuple[Directory, int]]:
    """Name each directory, and the prefix, that a kept change elsewhere stands on."""
    for directory, count in list(prefixes.items()):
        for change in directory.pending[:count]:
            for other, need in change.needs:
                if other in prefixes and need in other.pending:
                    yield other, other.pending.index(need) + 1


def _close(prefixes: Prefixes) -> None:
    """Lengthen prefixes until every kept change has what it stands on."""
    while short := [(d, n) for d, n in _needed(prefixes) if prefixes[d] < n]:
        for directory, count in short:
            prefixes[directory] = max(prefixes[directory], count)


def _reboot(
    root: Directory, prefixes: Prefixes, survivor: Callable[[Inode], Inode]
) -> Directory:
    """Build the tree that the next boot finds, of `survivor` of each file still named.

    `survivor` is called once for each, however many names it has.
    """
    survivors: dict[Inode, Inode] = {}

    def boot(directory: Directory) -> Directory:
        fresh = Directory()
        for name, node in directory.after(prefixes[directory]).items():
            if isinstance(node, Directory):
                fresh.entries[name] = boot(node)
                continue
            if node not in survivors:
                survivors[node] = survivor(node)
                survivors[node].links = 0
            survivors[node].links += 1
            fresh.entries[name] = survivors[node]
        fresh.durable = dict(fresh.entries)
        return fresh

    return boot(root)


def crash(root: Directory, chance: Chance, *, tear: bool) -> Directory:
    """Lose the power once, by `chance`. The old tree's files are used up."""
    directories, _ = reachable(root)
    prefixes = {d: chance.randrange(len(d.pending) + 1) for d in directories}
    _close(prefixes)

    def survivor(inode: Inode) -> Inode:
        if inode.pending or inode.diverged:
            inode.settle(_image_by_chance(inode, chance, tear=tear))
        return inode

    return _reboot(root, prefixes, survivor)


def _image_by_chance(inode: Inode, chance: Chance, *, tear: bool) -> bytearray:
    image = inode.durable
    for offset, data in inode.pending:
        fate = chance.randrange(3 if tear else 2)
        if fate == TORN and data is not None:
            kept = chance.getrandbits(sector_count(offset, data))
            extend = chance.randrange(2) == 1
            apply_torn(image, offset, data, kept, extend=extend)
        elif fate != LOST:
            apply(image, offset, data)
    return image


def crash_states(
    root: Directory, *, bound: int, tear: bool, unread: Directory | None = None
) -> Iterator[Directory]:
    """Enumerate the trees that a power loss may leave, each one independent.

    States are told apart by what was kept, not by the bytes that it leaves. Every
    prefix of names and every subset of writes is there; with `tear` also each write
    of more than one sector with only its first sector kept. Names in `unread` and below
    are not enumerated: of their changes those are kept on which another one stands.
    Raises `TooManyCrashStates` before the first one.
    """
    directories, _ = reachable(root)
    passed = reachable(unread)[0] if unread is not None else []
    choices = [range(1 if d in passed else len(d.pending) + 1) for d in directories]
    plans: list[tuple[Prefixes, list[Inode]]] = []
    total = 0
    for counts in itertools.product(*choices):
        chosen = dict(zip(directories, counts, strict=True))
        prefixes = dict(chosen)
        if passed:
            _close(prefixes)
            if any(prefixes[d] != n for d, n in chosen.items() if d not in passed):
                continue
        elif any(prefixes[d] < n for d, n in _needed(prefixes)):
            continue
        inodes = _unsettled(root, prefixes)
        total += math.prod(len(f) for i in inodes for f in _fates(i, tear=tear))
        if total > bound:
            raise TooManyCrashStates(bound)
        plans.append((prefixes, inodes))
    return _play(root, plans, tear=tear)


def _play(
    root: Directory, plans: list[tuple[Prefixes, list[Inode]]], *, tear: bool
) -> Iterator[Directory]:
    for prefixes, inodes in plans:
        fates = [list(itertools.product(*_fates(i, tear=tear))) for i in inodes]
        for chosen in itertools.product(*fates):
            fate_of = dict(zip(inodes, chosen, strict=True))

            def survivor(
                inode: Inode, fate_of: dict[Inode, tuple[int, ...]] = fate_of
            ) -> Inode:
                return Inode(_image_by_fate(inode, fate_of.get(inode, ())))

            yield _reboot(root, prefixes, survivor)


def _unsettled(root: Directory, prefixes: Prefixes) -> list[Inode]:
    """List the files with something to lose that keep a name under `prefixes`."""
    unsettled: list[Inode] = []

    def survivor(inode: Inode) -> Inode:
        if inode.pending:
            unsettled.append(inode)
        return Inode()

    _reboot(root, prefixes, survivor)
    return unsettled


def _fates(inode: Inode, *, tear: bool) -> list[tuple[int, ...]]:
    """List what may become of each pending step of a file."""
    fates: list[tuple[int, ...]] = []
    for offset, data in inode.pending:
        torn = tear and data is not None and sector_count(offset, data) > 1
        fates.append((LOST, KEPT, TORN) if torn else (LOST, KEPT))
    return fates


def _image_by_fate(inode: Inode, fates: Iterable[int]) -> bytearray:
    image = bytearray(inode.durable)
    for (offset, data), fate in zip(inode.pending, fates, strict=True):
        if fate == TORN and data is not None:
            apply_torn(image, offset, data, 1, extend=False)
        elif fate == KEPT:
            apply(image, offset, data)
    return image
