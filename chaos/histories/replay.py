"""Replay along revisions: every reply is what the log says at the revision it names.

Law: revisions are believed until they contradict each other, so that this needs the
other checker beside it. With the agreed log everything in it is accounted for and every
reply compared; without it, with what the replies themselves prove (see log).

What is answered is never older than what had been answered before it was asked: of each
operation the newest revision of any that ended before it began is its floor. A reply
that names no revision (a refused cas; a read, where the client does not tell) must be
right at one that it can have: from its floor on, and before anything that began after
its end.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import Final, NoReturn

from .log import NO_TIMELINE, Log, Timeline, Value
from .operations import (
    FOREVER,
    UNSEEN,
    Change,
    Objection,
    Operation,
    Refuted,
    end_of,
    show,
)

_END: Final = attrgetter("end")
_START: Final = attrgetter("start")


def check_replay(
    operations: Sequence[Operation],
    changes: Sequence[Change] | None = None,
    newest: int = 0,
) -> Objection | None:
    """The first objection to a history.

    `changes` is the agreed log, if there is one: all of it, and all of its writes have
    to be in the history. `newest` is its last revision, when that one is of keys that
    are in neither.
    """
    try:
        log = Log.told(operations) if changes is None else Log.agreed(changes, newest)
        _Replay(operations, log).check()
    except Refuted as refuted:
        return refuted.objection
    return None


class _Replay:
    """One history beside one log."""

    def __init__(self, operations: Sequence[Operation], log: Log) -> None:
        self.operations = operations
        self.log = log
        self.ok = [o for o in operations if o.outcome == "ok"]
        # Replies that name no revision: first of all, who was refused for what it is.
        self.floating = [
            o for o in operations if o.mod_revision >= 0 and o.outcome == "refused"
        ]
        done = [*self.ok, *self.floating]
        done.sort(key=_END)
        self.ends: list[int] = list(map(_END, done))
        # The newest revision in the replies that had come by each of these ends.
        self.floors = [newest := 0]
        for operation in done:
            told = operation.revision or operation.mod_revision
            if told > newest:
                newest = told
            self.floors.append(newest)
        # Deletes that somebody was told of.
        self.removed: set[int] = set()

    def check(self) -> None:
        """Raises Refuted."""
        writes = [o for o in self.operations if o.kind == "put" or o.kind == "cas"]
        deletes = [o for o in self.operations if o.kind == "delete"]
        self._check_writers(writes)
        self._check_gets([o for o in self.ok if o.kind == "get"])
        self._check_writes([o for o in writes if o.outcome == "ok"])
        for operation in deletes:
            if operation.outcome == "ok" and operation.revision:
                self._check_delete(operation)
        if self.log.complete:
            self._check_removals(deletes)
        if self.floating:
            self._check_floating()

    def _floor(self, operation: Operation) -> int:
        """The newest revision of any reply before `operation` began."""
        return self.floors[bisect_left(self.ends, operation.start)]

    # -- the log's side --------------------------------------------------------------

    def _check_writers(self, writes: list[Operation]) -> None:
        """Whatever is in the log was asked for, and not refused."""
        writers = {operation.value: operation for operation in writes}
        assert len(writers) == len(writes), "no two writes have the same value"
        find, changes = writers.get, self.log.changes
        for value, revision in self.log.revisions.items():
            writer = find(value)
            if writer is None or writer.key != changes[revision][0]:
                seen = [o for o in self.ok if value in (o.value, o.expected_value)]
                detail = f"nobody wrote {show(value)}, of revision {revision}"
                _refute("I-54", detail, *seen[:1])
            if writer.outcome == "refused":
                detail = f"a refused write was applied at revision {revision}"
                _refute("I-54", detail, writer)
            if writer.outcome == "unknown":
                if revision <= self._floor(writer):
                    self._refuse_age(writer, revision)
                if writer.kind == "cas":
                    self._check_condition(writer, revision)

    def _check_removals(self, deletes: list[Operation]) -> None:
        """Every delete in the log is one that somebody was told of, or may be."""
        doubtful: dict[bytes, list[int]] = {}
        for operation in deletes:
            done = operation.outcome == "ok" and operation.revision
            if operation.outcome != "refused" and not done:
                floors = doubtful.setdefault(operation.key, [])
                floors.append(self._floor(operation))
        for floors in doubtful.values():
            floors.sort(reverse=True)
        for revision in self.log.removals:
            if revision not in self.removed:
                key = self.log.changes[revision][0]
                floors = doubtful.get(key)
                if not floors or floors.pop() >= revision:
                    detail = f"{show(key)} was removed at revision {revision}"
                    _refute("I-54", f"{detail}, and nobody asked for it")

    # -- the replies' side -----------------------------------------------------------

    def _check_gets(self, gets: list[Operation]) -> None:
        ends, floors, newest = self.ends, self.floors, self.log.newest
        find = self.log.timelines.get
        for operation in gets:
            revision = operation.revision
            if not revision:
                self.floating.append(operation)
                continue
            floor = floors[bisect_left(ends, operation.start)]
            if revision < floor:
                self._refuse_age(operation, revision)
            timeline = find(operation.key, NO_TIMELINE)
            position = bisect_right(timeline.revisions, revision) - 1
            value = None if position < 0 else timeline.values[position]
            if value != operation.value or revision > newest:
                self._refuse_state(operation, timeline)
            at = 0 if value is None else timeline.revisions[position]
            if at != operation.mod_revision and (at or operation.mod_revision > 0):
                self._refuse_state(operation, timeline)

    def _check_writes(self, writes: list[Operation]) -> None:
        ends, floors, log = self.ends, self.floors, self.log
        find, changes = log.revisions.get, log.changes.get
        for operation in writes:
            value = operation.value
            assert value is not None
            revision = operation.revision or find(value, 0)
            if changes(revision) != (operation.key, value):
                if log.complete or revision:
                    detail = f"an acknowledged write is not at revision {revision}"
                    _refute("I-16", detail, operation)
                continue
            floor = floors[bisect_left(ends, operation.start)]
            if revision <= floor:
                self._refuse_age(operation, revision)
            if operation.kind == "cas":
                self._check_condition(operation, revision)

    def _check_delete(self, operation: Operation) -> None:
        log, revision, floor = self.log, operation.revision, self._floor(operation)
        timeline = log.timelines.get(operation.key, NO_TIMELINE)
        removed = log.changes.get(revision) == (operation.key, None)
        if operation.count == 1:
            if not removed or revision in self.removed:
                who = "another delete's" if removed else "not there"
                detail = f"an acknowledged delete of revision {revision} is {who}"
                _refute("I-16", detail, operation)
            floor += 1
            if timeline.at(revision - 1)[1] is None and not log.may_be_there(operation):
                _refute("I-44", "there was nothing to remove", operation)
        elif timeline.at(revision)[1] is not None or revision > log.newest:
            self._refuse_state(operation, timeline)
        if revision < floor:
            self._refuse_age(operation, revision)
        if removed and operation.count:
            self.removed.add(revision)

    def _check_condition(self, operation: Operation, revision: int) -> None:
        """A cas was applied at `revision`: the key was what it expected before."""
        at, value = self.log.timelines[operation.key].at(revision - 1)
        if value is None:
            at = 0
        expected, known = operation.expected, operation.expected_value
        assert expected is not None
        if at < expected and not self.log.complete:
            return  # nobody told of what it expected
        same = known is UNSEEN or value is UNSEEN or known == value
        if at != expected or not same:
            detail = f"the cas of revision {revision} came upon {_record(at, value)}"
            _refute("I-44", detail, operation)

    def _refuse_age(self, operation: Operation, revision: int) -> NoReturn:
        """It is older than what had been told before it was asked for.

        What changed something made a revision that nobody had seen: it has to be newer.
        """
        floor = self._floor(operation)
        done = [*self.ok, *self.floating]
        told = [o for o in done if (o.revision or o.mod_revision) == floor]
        detail = f"revision {revision} is too old: {floor} was told before it began"
        _refute("I-40", detail, min(told, key=_END), operation)

    def _refuse_state(self, operation: Operation, timeline: Timeline) -> NoReturn:
        at, value = timeline.at(operation.revision)
        detail = f"at revision {operation.revision} there is {_record(at, value)}"
        if operation.revision > self.log.newest:
            detail = f"there is no revision {operation.revision}"
        _refute("I-44", detail, operation)

    # -- replies that name no revision -----------------------------------------------

    def _check_floating(self) -> None:
        """Each was right at some revision from its floor on."""
        for operation in self.floating:
            if operation.mod_revision > 0 or (
                operation.kind == "get" and operation.value is not None
            ):
                self._check_presence(operation)
            else:
                self._check_absence(operation)
            if operation.kind == "cas" and operation.expected == operation.mod_revision:
                _refute("I-44", "a cas was refused for what it expected", operation)

    def _check_presence(self, operation: Operation) -> None:
        """The key came to that revision, and was not past it at the floor.

        Had it been seen too early, somebody who began later would be at an older one:
        this revision is his floor.
        """
        at = operation.mod_revision
        key, value = self.log.changes.get(at, (b"", None))
        found = operation.value if operation.kind == "get" else UNSEEN
        same = value == found or (value is not None and found is UNSEEN)
        if key != operation.key or value is None or not same:
            _refute("I-44", f"revision {at} did not make it so", operation)
        revisions = self.log.timelines[key].revisions
        following = bisect_right(revisions, at)
        if following < len(revisions) and revisions[following] <= self._floor(
            operation
        ):
            self._refuse_age(operation, revisions[following] - 1)

    def _check_absence(self, operation: Operation) -> None:
        """The key was gone at the floor, or between it and the ceiling."""
        floor = self._floor(operation)
        timeline = self.log.timelines.get(operation.key, NO_TIMELINE)
        at, value = timeline.at(floor)
        if value is None or self.log.may_be_gone(operation):
            return
        starts, ceilings = self._ceilings
        ceiling = ceilings[bisect_right(starts, end_of(operation))]
        first = bisect_right(timeline.revisions, floor)
        last = bisect_right(timeline.revisions, ceiling)
        if None not in timeline.values[first:last]:
            detail = f"from revision {floor} on there is {_record(at, value)}"
            _refute("I-40", detail, operation)

    @cached_property
    def _ceilings(self) -> tuple[list[int], list[int]]:
        """Starts in order; from each on the oldest revision that anybody came upon."""
        known = [o for o in self.ok if o.revision]
        known.sort(key=_START, reverse=True)
        ceilings = [oldest := FOREVER]
        for operation in known:
            # A delete came upon the revision before its own; so did a put, but a
            # put can't be what makes a key seem gone.
            oldest = min(oldest, operation.revision - (operation.count == 1))
            ceilings.append(oldest)
        known.reverse()
        ceilings.reverse()
        return list(map(_START, known)), ceilings


def _record(revision: int, value: Value) -> str:
    if value is None:
        return "no such key"
    return f"{'a value' if value is UNSEEN else show(value)} of revision {revision}"


def _refute(invariant: str, detail: str, *shown: Operation) -> NoReturn:
    raise Refuted(invariant, detail, *shown)
