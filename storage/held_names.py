"""The names of one real directory that wait for its sync.

Law: a table of what differs from the disk, and the steps to it in their order. It
does nothing to the disk itself, and knows nothing of names that do not wait.
"""

from __future__ import annotations

import os
from typing import Literal

from .held_inode import HeldInode

ChangeKind = Literal["add", "moved", "rename", "rmdir", "unlink"]


class Change:
    """One step: the last of `names` is what it does, to which node.

    `victim` is a directory that disappears by it. `needs` must be on the disk first.
    "moved" does nothing: the directory left when its new name came.
    """

    __slots__ = ("kind", "names", "needs", "victim")

    def __init__(
        self,
        kind: ChangeKind,
        names: tuple[tuple[str, Node | None], ...],
        needs: tuple[Need, ...],
        victim: Folder | None,
    ) -> None:
        self.kind: ChangeKind = kind
        self.names = names
        self.needs = needs
        self.victim = victim


class Folder:
    """A real directory, wherever it is by now, and the names in it that wait."""

    __slots__ = ("_name", "_parent", "changes", "known", "pending")

    def __init__(self, parent: Folder | None, name: str) -> None:
        self._parent = parent
        self._name = name
        self.changes: dict[str, Node | None] = {}
        self.pending: list[Change] = []
        # Folders on the disk below this one that were met: they may hold names too.
        self.known: dict[str, Folder] = {}

    def real(self) -> str:
        """Tell where it is on the disk."""
        if self._parent is None:
            return self._name
        return os.path.join(self._parent.real(), self._name)

    def move(self, parent: Folder, name: str) -> None:
        """Note that it was renamed on the disk."""
        if self._parent is not None and self._parent.known.get(self._name) is self:
            del self._parent.known[self._name]
        self._parent = parent
        self._name = name
        parent.known[name] = self

    def change(
        self,
        kind: ChangeKind,
        *names: tuple[str, Node | None],
        needs: tuple[Need, ...] = (),
        victim: Folder | None = None,
    ) -> Change:
        """Hold one more step."""
        change = Change(kind, names, needs, victim)
        self.pending.append(change)
        self.changes.update(names)
        return change

    def forget_published(self) -> None:
        """Let the disk speak for the names whose steps have reached it."""
        self.changes.clear()
        for change in self.pending:
            self.changes.update(change.names)


Node = HeldInode | Folder
Need = tuple[Folder, Change]
