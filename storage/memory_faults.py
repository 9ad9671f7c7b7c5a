"""The faults that a `MemoryEnv` can be asked for, and the gate that they stand at.

Law: a fault is planned by name and strikes by count alone. While none is planned and
no hook listens, `watched` is false, and a call on a file asks for nothing else.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .env import os_error

Kind = Literal[
    "create",
    "exists",
    "link",
    "list",
    "lock",
    "make_directory",
    "open",
    "read",
    "remove",
    "remove_directory",
    "rename",
    "size",
    "sync",
    "sync_directory",
    "truncate",
    "write",
]

# What `on_operation` sees: all that changes what is seen or what is durable.
MUTATIONS = frozenset[Kind](
    (
        "create",
        "link",
        "make_directory",
        "remove",
        "remove_directory",
        "rename",
        "sync",
        "sync_directory",
        "truncate",
        "write",
    )
)

NAME_BYTES_MAX = 255


class Crashed(BaseException):
    """A failpoint ended the process here.

    No handler of the code under test may survive this, so it is no `Exception`. Once
    raised, every operation raises it again, until `crash` or `kill`: what `finally`
    blocks try on the way out does not happen.
    """


@dataclass(frozen=True, slots=True)
class Operation:
    """A change about to happen; of a rename or link `path` is the new name."""

    kind: Kind
    path: str
    offset: int = 0
    length: int = 0


@dataclass(slots=True)
class Fault:
    """A planned error: `times` times, after `after` matching calls went well."""

    kind: Kind
    path_prefix: str
    error: int
    after: int
    times: int | None
    fired: int = 0

    def strikes(self, kind: Kind, path: str) -> bool:
        """Tell whether this call fails, and count it."""
        if kind != self.kind or not path.startswith(self.path_prefix):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        self.fired += 1
        return True


class Machine:
    """The part of a `MemoryEnv` that goes wrong: hook, planned errors, standstill."""

    def __init__(self) -> None:
        # True while anything but the plain operation may happen.
        self.watched = False
        self._down = False
        self._hook: Callable[[Operation], None] | None = None
        self._faults: list[Fault] = []
        self._misdirected: dict[str, int] = {}
        self._losing: list[str] = []

    @property
    def on_operation(self) -> Callable[[Operation], None] | None:
        """What is called before each change; what it raises stops the change.

        When that is `Crashed` the machine stands still until `crash` or `kill`.
        """
        return self._hook

    @on_operation.setter
    def on_operation(self, hook: Callable[[Operation], None] | None) -> None:
        self._hook = hook
        self._watch()

    def fail(
        self,
        kind: Kind,
        path_prefix: str = "",
        *,
        error: int = errno.EIO,
        after: int = 0,
        times: int | None = 1,
    ) -> Fault:
        """Plan an error, for ever when `times` is None; its `fired` tells if it struck.

        Paths are as in `Operation`. A failed sync of a file drops what it should have
        made durable: that stays readable until the crash, and no later sync saves it.
        """
        assert after >= 0
        assert times is None or times > 0
        prefix = "/" + path_prefix.lstrip("/") if path_prefix else ""
        fault = Fault(kind, prefix, error, after, times)
        self._faults.append(fault)
        self._watch()
        return fault

    def misdirect_next_read(self, path: str, delta: int) -> None:
        """Let the next read by this name return the bytes `delta` further on."""
        self._misdirected[place_of(path)] = delta
        self._watch()

    def lose_next_write(self, path: str) -> None:
        """Let the next write by this name report success and do nothing.

        From then on reads of that place are stale.
        """
        self._losing.append(place_of(path))
        self._watch()

    def heal(self) -> None:
        """Take back every planned fault; damage that was done stays."""
        self._faults.clear()
        self._misdirected.clear()
        self._losing.clear()
        self._watch()

    def before(self, kind: Kind, place: str, offset: int = 0, length: int = 0) -> None:
        """Let the hook and the faults have their say before an operation."""
        if self._down:
            raise Crashed
        if self._hook is not None and kind in MUTATIONS:
            try:
                self._hook(Operation(kind, place, offset, length))
            except Crashed:
                self._down = True
                self._watch()
                raise
        for fault in self._faults:
            if fault.strikes(kind, place):
                raise os_error(fault.error, place)

    def before_read(self, place: str, offset: int, length: int) -> int:
        """Tell where the read really happens."""
        self.before("read", place, offset, length)
        return max(0, offset + self._misdirected.pop(place, 0))

    def before_write(self, place: str, offset: int, length: int) -> bool:
        """Tell whether the write really happens."""
        self.before("write", place, offset, length)
        if place not in self._losing:
            return True
        self._losing.remove(place)
        return False

    def _watch(self) -> None:
        self.watched = self._down or bool(
            self._hook or self._faults or self._misdirected or self._losing
        )


@lru_cache(maxsize=4096)  # a simulated cluster asks for the same few for ever
def parts_of(path: str) -> tuple[str, ...]:
    """Split a path into its names."""
    if not path:
        raise os_error(errno.ENOENT, path)
    if "\0" in path:
        raise ValueError("embedded null byte")
    parts = [part for part in path.split("/") if part and part != "."]
    for part in parts:
        if part == "..":
            raise os_error(errno.EINVAL, path)
        if len(part.encode()) > NAME_BYTES_MAX:
            raise os_error(errno.ENAMETOOLONG, path)
    return tuple(parts)


@lru_cache(maxsize=4096)
def place_of(path: str) -> str:
    """Spell a path in the one way by which faults and operations name it."""
    return "/" + "/".join(parts_of(path))
