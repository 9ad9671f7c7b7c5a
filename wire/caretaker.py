"""The caretaker: what people tell it, and what it decides, as commands and as shown.

Law: as for all commands about members, one encoding each (wire/members). A decision is
written to the log with its reason, by the leader alone; it can take a vote away only by
giving one, so the number of voters never falls by it (docs/decisions/0023).
"""

from enum import IntEnum
from typing import Final, Literal, TypeAlias

import msgspec

from .errors import CommandRefused

# What it goes by until somebody says something else.
WANTED_VOTERS: Final = 3
SILENCE_MS: Final = 60_000
STABLE_MS: Final = 10_000
LAG_MS: Final = 250

VOTERS_MAX: Final = 7
SILENCE_MS_MIN: Final = 5_000
STABLE_MS_MIN: Final = 1_000
TIME_MS_MAX: Final = 7 * 86_400_000
LAG_MS_MIN: Final = 20
LAG_MS_MAX: Final = 10_000
REASON_CHARACTERS_MAX: Final = 300

# Whom it makes a voter; in whose place another one votes; who keeps its vote after all;
# who leads no more.
Did: TypeAlias = Literal["promote", "replace", "keep", "move_leader"]


class SetCaretaker(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """What is None stays as it is; `lag_ms` 0 is never.

    `voters` are wanted; a voter that is silent for `silence_ms` is replaced by somebody
    who has been heard for `stable_ms`; a leader that is late by `lag_ms` hands over.
    """

    paused: bool | None = None
    voters: int | None = None
    silence_ms: int | None = None
    stable_ms: int | None = None
    lag_ms: int | None = None


class Action(IntEnum):
    """What was decided about a member."""

    PROMOTE = 1
    REPLACE = 2
    KEEP = 3
    MOVE_LEADER = 4


class Decide(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`successor` is who votes in the member's place, of REPLACE; else 0."""

    action: Action
    member: int
    successor: int
    reason: str


class Decided(msgspec.Struct, frozen=True):
    """A decision as it is shown: ids are 16 hex digits, "" is nobody."""

    did: Did
    member: str
    successor: str
    age_ms: int
    reason: str


class CaretakerStatus(msgspec.Struct, frozen=True):
    """What the caretaker was told, what it waits for, and what it did, newest first.

    `waits_for` is known to the leader alone.
    """

    paused: bool = False
    voters: int = WANTED_VOTERS
    silence_ms: int = SILENCE_MS
    stable_ms: int = STABLE_MS
    lag_ms: int = LAG_MS
    waits_for: str = ""
    decisions: tuple[Decided, ...] = ()


def check_settings(command: SetCaretaker) -> None:
    """Raises CommandRefused."""
    if command == SetCaretaker():
        raise CommandRefused("nothing is said to the caretaker")
    voters = command.voters
    if voters is not None and not (voters % 2 and 0 < voters <= VOTERS_MAX):
        raise CommandRefused(
            f"{voters} voters: not an odd number from 1 to {VOTERS_MAX}"
        )
    for what, value, least in (
        ("silence", command.silence_ms, SILENCE_MS_MIN),
        ("stable", command.stable_ms, STABLE_MS_MIN),
    ):
        if value is not None and not least <= value <= TIME_MS_MAX:
            reason = f"{what}: {value} ms is not from {least} to {TIME_MS_MAX}"
            raise CommandRefused(reason)
    lag_ms = command.lag_ms
    if lag_ms and not LAG_MS_MIN <= lag_ms <= LAG_MS_MAX:
        reason = f"lag: {lag_ms} ms is not 0, or from {LAG_MS_MIN} to {LAG_MS_MAX}"
        raise CommandRefused(reason)


def check_decision(command: Decide) -> None:
    """Raises CommandRefused."""
    replaces = command.action is Action.REPLACE
    heir = command.successor
    if not 0 <= heir < 1 << 64 or heir == command.member or bool(heir) != replaces:
        raise CommandRefused(f"{heir} is not a successor")
    if not 0 < len(command.reason) <= REASON_CHARACTERS_MAX:
        raise CommandRefused(f"a reason of {len(command.reason)} characters")
