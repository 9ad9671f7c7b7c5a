"""What the caretaker was told, and the last of what it did: part of the state.

Law: values. Nothing is stored until somebody says something to it, or it does
something: a state without a record is one with these defaults.
"""

from typing import Final

import msgspec

from ...wire import (
    LAG_MS,
    SILENCE_MS,
    STABLE_MS,
    WANTED_VOTERS,
    Action,
    SetCaretaker,
)

DECISIONS_MAX: Final = 8


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """What it did about a member, at this cluster time, and why."""

    action: Action
    member: int
    successor: int
    at_ms: int
    reason: str


class CaretakerRecord(msgspec.Struct, frozen=True, array_like=True):
    """`decisions` are the last, oldest first. See wire/caretaker for the others."""

    paused: bool = False
    voters: int = WANTED_VOTERS
    silence_ms: int = SILENCE_MS
    stable_ms: int = STABLE_MS
    lag_ms: int = LAG_MS
    decisions: tuple[Decision, ...] = ()


def told(known: CaretakerRecord, command: SetCaretaker) -> CaretakerRecord:
    """What it knows after it was told."""
    given = msgspec.structs.asdict(command)
    changed = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(known, **changed)


def done(known: CaretakerRecord, decision: Decision) -> CaretakerRecord:
    """What it knows after it did something."""
    kept = (*known.decisions, decision)[-DECISIONS_MAX:]
    return msgspec.structs.replace(known, decisions=kept)
