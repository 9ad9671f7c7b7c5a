"""Reads that asked for less than the newest: bounded, local, of the past.

Law: they need the world's own time, so they are judged here and not in
chaos/histories. What they show is exact at the revision that they name (I-44).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ....wire import Level
from ...histories import NOT_TOLD, Change, Operation
from ..world import MILLISECOND, World
from .model import Model

if TYPE_CHECKING:
    from ..workload import Client, WeakRead

# Clocks run up to 5 % fast or slow; a reply is formed within a few turns.
_CLOCK = 1.06
_SLACK_US = 2 * MILLISECOND


def check_weak_reads(
    world: World,
    clients: "Sequence[Client]",
    model: Model,
    history: Sequence[Operation],
) -> None:
    """Every bounded or local read that was answered, and those of the past."""
    by_key: dict[bytes, list[Change]] = {}
    for change in model.changes:
        by_key.setdefault(change.key, []).append(change)
    ended = sorted(
        (op.end, op.revision)
        for op in history
        if op.outcome == "ok" and op.end is not None
    )
    newest: list[int] = []
    for _, revision in ended:
        newest.append(max(revision, newest[-1] if newest else 0))
    ends = [end for end, _ in ended]
    for client in clients:
        for read in client.weak:
            if read.operation.outcome == "refused":
                _gone(world, read, model.compacted)
            if read.operation.outcome != "ok":
                continue
            _exact(world, read, by_key.get(read.operation.key, []))
            _far_enough(world, read)
            if read.level is Level.BOUNDED:
                allowed_us = int(read.max_staleness_ms * MILLISECOND * _CLOCK)
                since = read.operation.start - allowed_us - _SLACK_US
                known = bisect_right(ends, since)
                _fresh(world, read, newest[known - 1] if known else 0)
            elif read.level is Level.LINEARIZABLE:
                known = bisect_left(ends, read.operation.start)
                _newest(world, read, newest[known - 1] if known else 0)


def _exact(world: World, read: "WeakRead", changes: Sequence[Change]) -> None:
    """I-44."""
    operation = read.operation
    revision = read.revision or operation.revision
    position = bisect_right(changes, revision, key=lambda c: c.revision)
    change = changes[position - 1] if position else None
    value = None if change is None else change.value
    if value != operation.value:
        world.fail(
            "I-44",
            f"a {read.level.name.lower()} read of {operation.key!r} at revision"
            f" {revision} gave {operation.value!r}, not {value!r}",
        )
    made = 0 if change is None or value is None else change.revision
    if operation.mod_revision not in (made, NOT_TOLD):
        world.fail(
            "I-44",
            f"a {read.level.name.lower()} read of {operation.key!r} at revision"
            f" {revision} calls it made at {operation.mod_revision}, not {made}",
        )


def _gone(world: World, read: "WeakRead", compacted: int) -> None:
    """Only what was compacted is refused for it."""
    if not read.revision < read.operation.mod_revision <= compacted:
        world.fail(
            "I-39",
            f"revision {read.revision} is said to be gone, and"
            f" {read.operation.mod_revision} kept; {compacted} was asked for",
        )


def _far_enough(world: World, read: "WeakRead") -> None:
    """I-43."""
    if read.operation.revision < read.min_revision:
        world.fail(
            "I-43",
            f"a read at revision {read.operation.revision}, asked for"
            f" {read.min_revision} at least",
        )


def _fresh(world: World, read: "WeakRead", newest: int) -> None:
    """A bounded read shows all that was answered before the time it may be behind."""
    if read.operation.revision < newest:
        world.fail(
            "staleness",
            f"a read at most {read.max_staleness_ms} ms behind, begun at"
            f" {read.operation.start} us, shows revision {read.operation.revision};"
            f" {newest} was answered in time",
        )


def _newest(world: World, read: "WeakRead", newest: int) -> None:
    """I-40: also who reads the past does so at a store that is up to date."""
    if read.operation.revision < newest:
        world.fail(
            "I-40",
            f"a linearizable read of revision {read.revision}, begun at"
            f" {read.operation.start} us, is of a store at revision"
            f" {read.operation.revision}; {newest} was answered before",
        )
