"""One operation of a client, one change of the log, and what a checker objects to.

Law: values, no judgement. An operation is what its client knows and nothing more. Times
are whole numbers of any unit that never runs backwards; one operation is before another
only when it ended at an earlier time than the other began. All values that are written
in a history differ from each other, so that a value names its write.
"""

from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["put", "get", "delete", "cas"]
Outcome: TypeAlias = Literal["ok", "refused", "unknown"]

# Of counts and of `mod_revision`: the reply did not say.
NOT_TOLD: Final = -1
# Later than any time and any revision.
FOREVER: Final = 1 << 63
_SHOWN_BYTES: Final = 40


class Unseen(Enum):
    """In the place of a value: there is one, but who speaks does not know it."""

    UNSEEN = "?"


UNSEEN: Final = Unseen.UNSEEN


class Operation(msgspec.Struct, gc=False, eq=False):
    """What a client asked for, when, and what it was told.

    Made when it begins, and then of unknown outcome; that it stays, with `end` None,
    when no answer comes or none that decides. An unknown write may take effect at any
    time after its start. `refused` means that it never did and never will.

    `value` is what a put or cas writes, or what a get found (None: no such key). A cas
    writes if the key's mod revision is `expected` (0: no such key); `expected_value` is
    the value that its client knows to be of that revision (None: no such key).

    `revision` is the store's in the reply (0: not told), a write's own if it changed
    something. `mod_revision` is the key's (0: no such key): of a get what it found, of
    a cas that was refused for it what stands in its way. `count` is how many keys a
    delete removed.
    """

    client: int
    kind: Kind
    key: bytes
    start: int
    end: int | None = None
    outcome: Outcome = "unknown"
    value: bytes | None = None
    expected: int | None = None
    expected_value: bytes | Unseen | None = UNSEEN
    revision: int = 0
    mod_revision: int = NOT_TOLD
    count: int = NOT_TOLD


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one revision of the agreed log did: `value` None is a delete."""

    revision: int
    key: bytes
    value: bytes | None


class Objection(msgspec.Struct, frozen=True):
    """Why a history can't be.

    `invariant` is I-16 (an acknowledged write is lost), I-40 (an answer is older than
    one given before it was asked for), I-44 (an answer is not what its revision says),
    I-54 (what was refused, or nobody asked for, took effect) or linearizability.
    """

    invariant: str
    detail: str
    operation: Operation | None

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


def end_of(operation: Operation) -> int:
    """When it was over at the latest; never, of an unknown write."""
    if operation.outcome == "unknown" or operation.end is None:
        return FOREVER
    return operation.end


def describe(operation: Operation) -> str:
    """One line: client, start..end, operation, outcome, and what the reply said.

    `c1 5..7 cas k 4=a b ok r6`: the revision of the store is r, that of the key m, the
    number of removed keys n.
    """
    end = "" if operation.end is None else operation.end
    words = [f"c{operation.client}", f"{operation.start}..{end}", operation.kind]
    words.append(show(operation.key))
    if operation.kind == "cas":
        words.append(f"{operation.expected}={show(operation.expected_value)}")
    if operation.kind == "get" and operation.outcome == "ok":
        words.append("->")
    if operation.kind in ("put", "cas") or words[-1] == "->":
        words.append(show(operation.value))
    words.append(operation.outcome)
    if operation.revision:
        words.append(f"r{operation.revision}")
    if operation.mod_revision != NOT_TOLD:
        words.append(f"m{operation.mod_revision}")
    if operation.count != NOT_TOLD:
        words.append(f"n{operation.count}")
    return " ".join(words)


def show(data: bytes | Unseen | None) -> str:
    """A key or value for people: its beginning; `nothing` where there is none."""
    if data is None:
        return "nothing"
    if isinstance(data, Unseen):
        return data.value
    text = data[:_SHOWN_BYTES].decode("ascii", "backslashreplace")
    return text if len(data) <= _SHOWN_BYTES else f"{text}…"


class Refuted(Exception):
    """Nothing explains the history; ends a check from within."""

    def __init__(self, invariant: str, detail: str, *shown: Operation) -> None:
        lines = "".join(f"\n  {describe(operation)}" for operation in shown)
        self.objection = Objection(
            invariant, detail + lines, shown[-1] if shown else None
        )
        super().__init__(str(self.objection))
