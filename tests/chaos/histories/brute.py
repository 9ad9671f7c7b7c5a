"""The slow twins of both checkers: every order, every pair, straight from the words.

Law: shares nothing with what it judges, and is too slow for more than a few operations.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations

from quorate.chaos.histories import UNSEEN, Append, Change, Operation

Values = dict[bytes, bytes | None]


def explainable(operations: Sequence[Operation]) -> bool:
    """Whether some order explains what every client saw.

    It holds all operations that happened and any of the unknown writes, agrees with
    time, and every answer in it is what a map of keys would have given.
    """
    required = [o for o in operations if o.outcome == "ok"]
    optional = [o for o in operations if o.outcome == "unknown" and o.kind != "get"]
    return any(
        _agrees_with_time(order) and _agrees_with_answers(order)
        for count in range(len(optional) + 1)
        for chosen in combinations(optional, count)
        for order in permutations([*required, *chosen])
    )


def appends_explainable(appends: Sequence[Append]) -> bool:
    """The same of lists that elements are appended to, one or several at once."""
    required = [one for one in appends if one.outcome == "ok"]
    optional = [one for one in appends if one.outcome == "unknown"]
    return any(
        not any(_is_before(later, one) for one, later in combinations(order, 2))
        and _agrees_with_lists(order)
        for count in range(len(optional) + 1)
        for chosen in combinations(optional, count)
        for order in permutations([*required, *chosen])
    )


def _agrees_with_lists(order: Sequence[Append]) -> bool:
    lists: dict[bytes, tuple[bytes, ...]] = {}
    for one in order:
        if any(lists.get(key, ()) != found for key, found in one.read.items()):
            return False
        for key, element in one.appended.items():
            lists[key] = (*lists.get(key, ()), element)
    return True


def _is_before(one: Operation | Append, other: Operation | Append) -> bool:
    return one.outcome != "unknown" and one.end is not None and one.end < other.start


def _agrees_with_time(order: Sequence[Operation]) -> bool:
    return not any(_is_before(later, one) for one, later in combinations(order, 2))


def _agrees_with_answers(order: Sequence[Operation]) -> bool:
    values: Values = {}
    for operation in order:
        there = values.get(operation.key)
        if operation.kind == "get":
            if there != operation.value:
                return False
            continue
        if operation.kind == "cas" and operation.expected_value not in (there, UNSEEN):
            return False
        values[operation.key] = operation.value
    return True


def replayable(operations: Sequence[Operation], changes: Sequence[Change]) -> bool:
    """Whether every operation has a place in this log that agrees with its answer.

    Those that name no revision need one each, beside all that have only one; nobody
    looks whether two of them agree with each other. Deletes tell their counts.
    """
    log = {change.revision: change for change in changes}
    places = [_places(operation, log) for operation in operations]
    if any(place == [] for place in places):
        return False
    if not _every_change_is_wanted(operations, places, log):
        return False
    return all(
        any(_fits(number, revision, operations, places) for revision in place)
        for number, place in enumerate(places)
        if place is not None
    )


def _places(operation: Operation, log: dict[int, Change]) -> list[int] | None:
    """The revisions where it can have been; None: it never was, and need not."""
    everywhere = range(1, max(log, default=1) + 1)
    own = [r for r in log if log[r].value == operation.value is not None]
    match operation.kind, operation.outcome:
        case "get", "ok":
            return [
                r
                for r in _told(operation, everywhere)
                if _state(log, operation.key, r)
                == (operation.value, operation.mod_revision)
            ]
        case "put" | "cas", "ok":
            return [
                r for r in own if r in _told(operation, own) and _met(operation, r, log)
            ]
        case "put" | "cas", "unknown":
            return [r for r in own if _met(operation, r, log)] if own else None
        case "put" | "cas", "refused":
            if own:
                return []
            if operation.mod_revision < 0:
                return None
            return [
                r
                for r in everywhere
                if _state(log, operation.key, r)[1] == operation.mod_revision
                and operation.mod_revision != operation.expected
            ]
        case "delete", "ok" if operation.count == 1:
            removals = [
                r
                for r in log
                if log[r] == Change(r, operation.key, None)
                and _state(log, operation.key, r - 1)[1]
            ]
            return [r for r in removals if r in _told(operation, removals)]
        case "delete", "ok":
            told = _told(operation, everywhere)
            return [r for r in told if _state(log, operation.key, r)[1] == 0]
        case _:
            return None


def _told(operation: Operation, others: Iterable[int]) -> list[int]:
    if operation.revision:
        return [r for r in others if r == operation.revision]
    return list(others)


def _state(
    log: dict[int, Change], key: bytes, revision: int
) -> tuple[bytes | None, int]:
    """The key's value and mod revision; None and 0 if there is no such key."""
    own = [r for r in log if log[r].key == key and r <= revision]
    newest = max(own, default=0)
    value = log[newest].value if newest else None
    return (None, 0) if value is None else (value, newest)


def _met(operation: Operation, revision: int, log: dict[int, Change]) -> bool:
    if operation.key != log[revision].key:
        return False
    if operation.kind == "put":
        return True
    value, at = _state(log, operation.key, revision - 1)
    return at == operation.expected and operation.expected_value in (value, UNSEEN)


def _made(operation: Operation) -> bool:
    return operation.outcome != "refused" and (
        operation.kind in ("put", "cas") or operation.count == 1
    )


def _fits(
    number: int,
    revision: int,
    operations: Sequence[Operation],
    places: Sequence[list[int] | None],
) -> bool:
    """Whether it can have been there beside all whose place is known."""
    operation = operations[number]
    for other, place in zip(operations, places, strict=True):
        if place is None or other is operation:
            continue
        known = other.revision or (place[0] if other.kind in ("put", "cas") else 0)
        if other.outcome == "refused":
            known = 0
        seen = known or max(other.mod_revision, 0)
        if _is_before(other, operation) and revision < seen + _made(operation):
            return False
        if known and _is_before(operation, other) and known < revision + _made(other):
            return False
    return True


def _every_change_is_wanted(
    operations: Sequence[Operation],
    places: Sequence[list[int] | None],
    log: dict[int, Change],
) -> bool:
    """Each put is somebody's; each delete is that of one who was told, or may be."""
    written = {o.value for o in operations if o.kind in ("put", "cas")}
    values = [change.value for change in log.values() if change.value is not None]
    if not written.issuperset(values) or len(set(values)) < len(values):
        return False
    told = [o.revision for o in operations if o.kind == "delete" and o.count == 1]
    if len(set(told)) < len(told):
        return False
    open_ = [r for r in log if log[r].value is None and r not in told]
    doubtful = [o for o in operations if (o.kind, o.outcome) == ("delete", "unknown")]
    return any(
        all(
            log[r].key == o.key
            and not any(
                _is_before(other, o) and max(other.revision, other.mod_revision) >= r
                for other in operations
            )
            for r, o in zip(open_, chosen, strict=True)
        )
        for chosen in permutations(doubtful, len(open_))
    )
