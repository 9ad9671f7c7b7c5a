"""Faults that are commands: read from a file, and dealt into a plan.

Law: pure but for reading the file; chance is an argument. What is not understood is an
error. Kinds are dealt like cards, a whole deck before the next, each as often as it
says.

    [fault.kill-n2]
    begin = "ssh n2 pkill -9 quorate"
    end = "ssh n2 systemctl start quorate"    without it, it ends by itself
    hold = "1s-5s"                            between the two: 3s by default
    timeout = "30s"                           of each command
    often = 1                                 cards in the deck
    nodes = ["n2"]                            whom it concerns, for the report
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from .errors import FaultFileError

FILE_BYTES_MAX: Final = 1 << 20
FAULTS_MAX: Final = 100
OFTEN_MAX: Final = 100
HOLD_SECONDS_MAX: Final = 600.0
TIMEOUT_SECONDS_MAX: Final = 600.0
CALM_SECONDS: Final = (1.0, 3.0)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m)", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


class FaultEntry(msgspec.Struct, forbid_unknown_fields=True):
    """One fault as it is written."""

    begin: str
    end: str = ""
    hold: str = "3s"
    timeout: str = "30s"
    often: int = 1
    nodes: tuple[str, ...] = ()


class _File(msgspec.Struct, forbid_unknown_fields=True):
    fault: dict[str, FaultEntry]


class NamedFault(msgspec.Struct, frozen=True):
    """One fault; `end` is empty where there is nothing to undo."""

    name: str
    begin: str
    end: str
    hold_s: tuple[float, float]
    timeout_s: float
    often: int
    nodes: tuple[str, ...]


class FaultFile(msgspec.Struct, frozen=True):
    """All faults of a file; no path is one without any."""

    path: str = ""
    faults: tuple[NamedFault, ...] = ()


class Planned(msgspec.Struct, frozen=True):
    """One round: calm, and then a fault for so long."""

    number: int
    calm_s: float
    fault: str
    hold_s: float


def load_faults(path: Path) -> FaultFile:
    """Read a file of faults. Raises FaultFileError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise FaultFileError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        raw = tomllib.loads(data.decode())
        entries = msgspec.convert(raw, _File).fault
    except OSError as error:
        raise FaultFileError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        # Not UTF-8, not TOML, or other keys and types than those above.
        raise FaultFileError(f"{path}: {error}") from error
    if not 0 < len(entries) <= FAULTS_MAX:
        raise FaultFileError(f"{path}: fault: 1 to {FAULTS_MAX} of them")
    faults = tuple(_fault(path, name, entry) for name, entry in entries.items())
    return FaultFile(str(path), faults)


def _fault(path: Path, name: str, entry: FaultEntry) -> NamedFault:
    def refuse(key: str, reason: str) -> FaultFileError:
        return FaultFileError(f"{path}: fault.{name[:60]}{key}: {reason}")

    if not _NAME.fullmatch(name):
        raise refuse("", "a name has small letters, digits, dots and dashes, up to 40")
    if not entry.begin.strip():
        raise refuse(".begin", "a command that begins it is needed")
    if not 1 <= entry.often <= OFTEN_MAX:
        raise refuse(".often", f"1 to {OFTEN_MAX}")
    hold = [_seconds(part) for part in entry.hold.split("-")]
    timeout_s = _seconds(entry.timeout)
    low, high = hold[0], hold[-1]
    if len(hold) > 2 or low is None or high is None or not low <= high:
        raise refuse(".hold", f"{entry.hold!r} is no time such as 3s or 1s-5s")
    if high > HOLD_SECONDS_MAX:
        raise refuse(".hold", f"at most {HOLD_SECONDS_MAX:g}s")
    if timeout_s is None or not 0 < timeout_s <= TIMEOUT_SECONDS_MAX:
        raise refuse(".timeout", f"over 0s and up to {TIMEOUT_SECONDS_MAX:g}s")
    return NamedFault(
        *(name, entry.begin, entry.end, (low, high), timeout_s),
        *(entry.often, entry.nodes),
    )


def _seconds(text: str) -> float | None:
    match = _DURATION.fullmatch(text.strip())
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def draw_plan(dice: Random, faults: Sequence[NamedFault]) -> Iterator[Planned]:
    """Rounds without an end; the first n are the same however many are taken."""
    assert faults
    cards = [fault for fault in faults for _ in range(fault.often)]
    number = 0
    while True:
        for fault in dice.sample(cards, len(cards)):
            number += 1
            calm_s = round(dice.uniform(*CALM_SECONDS), 3)
            hold_s = round(dice.uniform(*fault.hold_s), 3)
            yield Planned(number, calm_s, fault.name, hold_s)
