"""What is known of the log, revision by revision: all of it, or what replies prove.

Law: says what each revision did, and judges no reply. Only where two replies say
different things of one revision there is no log at all, and that is an objection.

Without the agreed log its parts are told by acknowledged writes, by what reads found,
and by the revisions that a cas expected or was refused for. What else happened is not
known. A key may be gone that nobody was told to have removed, if there is a delete of
unknown outcome: then its absence is put into the key's timeline where it was seen.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final, Self, TypeAlias

import msgspec

from .operations import (
    FOREVER,
    UNSEEN,
    Change,
    Operation,
    Refuted,
    Unseen,
    end_of,
    show,
)

# None: no such key. UNSEEN: a value that nobody told.
Value: TypeAlias = bytes | Unseen | None

# Of a store that nothing has changed yet: what changes it makes later ones.
FIRST_REVISION: Final = 1
_REVISION: Final = itemgetter(0)


class Timeline(msgspec.Struct, eq=False):
    """One key: revisions in order, and its value from each of them on."""

    revisions: list[int]
    values: list[Value]

    def at(self, revision: int) -> tuple[int, Value]:
        """The key's newest change up to `revision`, and what it left; 0 if none."""
        position = bisect_right(self.revisions, revision) - 1
        if position < 0:
            return 0, None
        return self.revisions[position], self.values[position]


NO_TIMELINE: Final = Timeline([], [])


class Log:
    """What each revision did, to which key, as far as it is known."""

    def __init__(self, *, complete: bool) -> None:
        self.complete = complete
        self.newest = FOREVER
        self.changes: dict[int, tuple[bytes, Value]] = {}
        self.revisions: dict[bytes, int] = {}
        self.timelines: dict[bytes, Timeline] = {}
        # The deletes of an agreed log.
        self.removals: list[int] = []
        # Of each key the starts of puts and cas, and of deletes, that may have happened
        # at a revision that nobody was told, in order; none beside an agreed log.
        self.doubtful_puts: dict[bytes, list[int]] = {}
        self.doubtful_deletes: dict[bytes, list[int]] = {}
        self._tellers: dict[int, Operation] = {}

    @classmethod
    def agreed(cls, changes: Sequence[Change], newest: int = 0) -> Self:
        """The whole log, one change a revision, in order. Raises Refuted.

        `newest` is its last revision, when that one changed other keys alone.
        """
        log = cls(complete=True)
        last = changes[-1].revision if changes else FIRST_REVISION
        log.newest = max(last, newest)
        log.changes = {c.revision: (c.key, c.value) for c in changes}
        assert len(log.changes) == len(changes), "one change a revision"
        log.removals = [c.revision for c in changes if c.value is None]
        for change in changes:
            value, revision = change.value, change.revision
            if value is not None:
                first = log.revisions.setdefault(value, revision)
                if first != revision:
                    detail = f"{show(value)} was applied at {first} and at {revision}"
                    raise Refuted("I-54", detail)
        log._draw_timelines(log.changes)
        return log

    @classmethod
    def told(cls, operations: Sequence[Operation]) -> Self:
        """What the replies prove. Raises Refuted where they contradict each other."""
        log = cls(complete=False)
        for operation in operations:
            log._learn(operation)
        for starts in (*log.doubtful_puts.values(), *log.doubtful_deletes.values()):
            starts.sort()
        log._draw_timelines(sorted(log.changes))
        if log.doubtful_deletes:
            log._draw_absences(operations)
        return log

    def may_be_gone(self, operation: Operation) -> bool:
        """Whether a delete nobody was told of may have removed its key before it."""
        return _has_begun(self.doubtful_deletes.get(operation.key, []), operation)

    def may_be_there(self, operation: Operation) -> bool:
        """Whether a put nobody was told of may have made its key before it."""
        return _has_begun(self.doubtful_puts.get(operation.key, []), operation)

    def _draw_timelines(self, revisions: Iterable[int]) -> None:
        timelines, changes = self.timelines, self.changes
        for revision in revisions:
            key, value = changes[revision]
            timeline = timelines.get(key)
            if timeline is None:
                timelines[key] = Timeline([revision], [value])
            else:
                timeline.revisions.append(revision)
                timeline.values.append(value)

    # -- what replies prove ----------------------------------------------------------

    def _learn(self, operation: Operation) -> None:
        kind, outcome, key = operation.kind, operation.outcome, operation.key
        if kind == "get":
            if outcome == "ok" and operation.value is not None:
                self._note(operation.mod_revision, operation.value, operation)
        elif outcome == "refused":
            if operation.mod_revision > 0:
                self._note(operation.mod_revision, UNSEEN, operation)
        elif kind == "delete":
            if outcome == "ok" and operation.count == 1 and operation.revision:
                self._note(operation.revision, None, operation)
            elif operation.count != 0:
                self.doubtful_deletes.setdefault(key, []).append(operation.start)
        else:
            if outcome == "ok" and operation.revision:
                self._note(operation.revision, operation.value, operation)
            else:
                self.doubtful_puts.setdefault(key, []).append(operation.start)
            if outcome == "ok" and operation.expected:
                self._note(operation.expected, operation.expected_value, operation)

    def _note(self, revision: int, value: Value, operation: Operation) -> None:
        """`operation` proves that `revision` gave its key this value."""
        if revision <= FIRST_REVISION:
            detail = f"nothing was ever written at revision {revision}"
            raise Refuted("I-44", detail, operation)
        fact = (operation.key, value)
        known = self.changes.get(revision)
        if known is None or known == (operation.key, UNSEEN):
            if known is not None and value is None:
                self._refute(revision, operation)
            self.changes[revision] = fact
            self._tellers[revision] = operation
            if isinstance(value, bytes):
                first = self.revisions.setdefault(value, revision)
                if first != revision:
                    teller = self._tellers[first]
                    detail = f"{show(value)} is of revision {first} and of {revision}"
                    raise Refuted("I-44", detail, teller, operation)
        elif known != fact and not (
            value is UNSEEN and known[0] == operation.key and known[1] is not None
        ):
            self._refute(revision, operation)

    def _refute(self, revision: int, operation: Operation) -> None:
        teller = self._tellers[revision]
        lost = any(
            told.outcome == "ok" and told.kind != "get" and told.revision == revision
            for told in (teller, operation)
        )
        detail = f"two answers about what happened at revision {revision}"
        raise Refuted("I-16" if lost else "I-44", detail, teller, operation)

    def _draw_absences(self, operations: Sequence[Operation]) -> None:
        """Keys that were gone when somebody looked, by a delete nobody was told of.

        In the order of revisions, so that each needs a delete that no other has used.
        """
        gone = [
            (revision, operation)
            for operation in operations
            if (revision := self._gone_at(operation))
        ]
        gone.sort(key=_REVISION)
        used: dict[bytes, int] = {}
        for revision, operation in gone:
            key = operation.key
            timeline = self.timelines.get(key)
            if timeline is None:
                continue
            newest, value = timeline.at(revision)
            starts = self.doubtful_deletes.get(key, [])
            unexplained = value is not None and newest < revision
            if unexplained and _has_begun(starts, operation, used.get(key, 0)):
                position = bisect_right(timeline.revisions, revision)
                timeline.revisions.insert(position, revision)
                timeline.values.insert(position, None)
                used[key] = used.get(key, 0) + 1

    def _gone_at(self, operation: Operation) -> int:
        """Where `operation` says that there was no such key; 0 if it does not."""
        kind, revision = operation.kind, operation.revision
        if kind == "get":
            return revision if operation.value is None else 0
        if kind == "delete":
            return revision if operation.count != 1 else 0
        if operation.expected == 0 and operation.outcome != "refused":
            assert operation.value is not None
            return max(0, (revision or self.revisions.get(operation.value, 0)) - 1)
        return 0


def _has_begun(starts: Sequence[int], operation: Operation, number: int = 0) -> bool:
    """Whether so many of these starts, and one more, are before the operation's end."""
    return number < len(starts) and starts[number] <= end_of(operation)
