"""What must hold of everything that a watch was told: etcd's nine rules, and ours.

Law: one function a rule; each looks at the whole watch and believes nothing that
another one has found. The first rule that is broken is named: a rule further down may
rely on those above it.
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from .operations import Objection, show
from .watches import (
    Before,
    Created,
    Ended,
    Event,
    Events,
    Facts,
    Progress,
    Told,
    Watch,
)

# None: the rule holds; else what was seen.
_Rule: TypeAlias = Callable[[Watch, Facts], str | None]


def check_watch(watch: Watch, facts: Facts) -> Objection | None:
    """The first objection to what a watch was told."""
    for name, invariant, rule in _RULES:
        detail = rule(watch, facts)
        if detail is not None:
            shown = f"{name}: {detail}\n  {describe_watch(watch)}"
            return Objection(invariant, shown, None)
    return None


def check_complete(watch: Watch, facts: Facts) -> Objection | None:
    """An objection when a watch was not told all that there is for it."""
    missing = facts.wanted(watch, watch.reached() + 1, facts.newest)
    if not missing:
        return None
    event = show(missing[0].event.key)
    detail = f"revision {missing[0].revision} ({event}) was never told"
    return Objection("I-58", f"complete: {detail}\n  {describe_watch(watch)}", None)


def describe_watch(watch: Watch) -> str:
    """What was asked for, in one line."""
    words = ["watch", f"{show(watch.start)}..{show(watch.end)}"]
    words.append(f"from {watch.first}" if watch.first else "next")
    words += ["previous"] * watch.previous
    words += [] if watch.puts else ["noputs"]
    words += [] if watch.deletes else ["nodeletes"]
    return " ".join(words)


def _replies(watch: Watch) -> Iterator[Events]:
    return (told for told in watch.told if isinstance(told, Events))


def _events(watch: Watch) -> Iterator[tuple[int, Event]]:
    for reply in _replies(watch):
        for event in reply.events:
            yield reply.revision, event


# -- its life --------------------------------------------------------------------------


def _begun(watch: Watch, facts: Facts) -> str | None:
    """It is created once, before it is told anything, at a revision that there is."""
    for position, told in enumerate(watch.told):
        if isinstance(told, Created):
            if position:
                return "it was created in the middle"
            if told.revision > max(1, facts.newest):
                return f"it was created at {told.revision}, after {facts.newest}"
        elif not position and not isinstance(told, Ended):
            return f"it was told of revision {told.revision} before it was created"
    return None


def _cancelled(watch: Watch, facts: Facts) -> str | None:
    """It ends with a reason, and is told nothing more; `compacted` only if it was."""
    for position, told in enumerate(watch.told):
        if not isinstance(told, Ended):
            continue
        if position + 1 < len(watch.told):
            return f"it was told more after it had ended ({told.reason})"
        if not told.reason:
            return "it ended without a reason"
        needed = watch.reached() + 1
        if (told.reason == "compacted") != (told.compacted > 0):
            return f"it ended ({told.reason}) with {told.compacted} compacted"
        if told.compacted > facts.compacted:
            return f"{told.compacted} was never compacted to"
        if told.compacted and (not watch.begins() or needed >= told.compacted):
            return f"it ended, compacted to {told.compacted}; it needs {needed}"
    return None


# -- the nine --------------------------------------------------------------------------


def _filter(watch: Watch, facts: Facts) -> str | None:
    """Nothing that was not asked for."""
    del facts
    for revision, event in _events(watch):
        if not watch.wants(event.key, event.value):
            return f"{show(event.key)} of revision {revision} was not asked for"
        if event.previous is not None and not watch.previous:
            return f"nobody asked what was before revision {revision}"
    return None


def _ordered(watch: Watch, facts: Facts) -> str | None:
    """Revisions never go down."""
    del facts
    last = 0
    for reply in _replies(watch):
        if reply.revision < last:
            return f"revision {reply.revision} came after {last}"
        last = reply.revision
    return None


def _unique(watch: Watch, facts: Facts) -> str | None:
    """Each change once."""
    del facts
    seen: set[tuple[int, bytes]] = set()
    for revision, event in _events(watch):
        if (revision, event.key) in seen:
            return f"{show(event.key)} of revision {revision} came twice"
        seen.add((revision, event.key))
    return None


def _atomic(watch: Watch, facts: Facts) -> str | None:
    """A revision comes whole, in the order of the log; `more` means that more comes."""
    part: list[bytes] = []
    open_at, whole = 0, 0
    for told in watch.told:
        if open_at and not (isinstance(told, Events) and told.revision == open_at):
            return f"revision {open_at} was cut"
        if not isinstance(told, Events):
            continue
        if not told.events:
            return f"revision {told.revision} came with nothing"
        if told.revision == whole:
            return f"revision {told.revision} came whole, and then more of it"
        part += [event.key for event in told.events]
        wanted = facts.wanted(watch, told.revision, told.revision)
        keys = [fact.event.key for fact in wanted]
        if told.more and (keys[: len(part)] != part or len(keys) == len(part)):
            return f"of revision {told.revision} no more was to come, or other keys"
        if not told.more and sorted(keys) != sorted(part):
            return f"revision {told.revision} came with {len(part)} of {len(keys)} keys"
        if not told.more and keys != part:
            return f"the keys of revision {told.revision} came in another order"
        open_at = told.revision if told.more else 0
        if not told.more:
            whole, part = told.revision, []
    return None


def _bookmarkable(watch: Watch, facts: Facts) -> str | None:
    """Progress is never behind what was told, never ahead of it, and never goes back.

    Behind a progress nothing of its revision or an earlier one is told.
    """
    mark = told_up_to = 0
    for told in watch.told:
        if isinstance(told, Events):
            if told.revision <= mark:
                return f"revision {told.revision} came after progress {mark}"
            told_up_to = told.revision
        elif isinstance(told, Progress):
            if told.revision < max(mark, told_up_to):
                behind = max(mark, told_up_to)
                return f"progress {told.revision} came after {behind}"
            if told.revision > max(1, facts.newest):
                return f"progress {told.revision}; {facts.newest} is the newest"
            mark = told.revision
    return None


def _silent(watch: Watch, facts: Facts) -> str | None:
    """Nothing is told of what is before its start (I-60, and I-61)."""
    del facts
    first = watch.begins() or 0
    for told in watch.told:
        early = isinstance(told, Events) and told.revision < first
        if early or (isinstance(told, Progress) and told.revision < first - 1):
            return f"it begins with {first}, and was told of {_revision(told)}"
    return None


def _resumable(watch: Watch, facts: Facts) -> str | None:
    """What it is told first is the first that there is for it from its start on."""
    begins = watch.begins()
    told = next(_replies(watch), None)
    if told is None or begins is None:
        return None
    wanted = facts.wanted(watch, begins, told.revision)
    first = wanted[0].revision if wanted else 0
    if told.revision != first:
        return (
            f"it was told of {told.revision} first, from {begins} on there is {first}"
        )
    return None


def _reliable(watch: Watch, facts: Facts) -> str | None:
    """All of it between the start and the last that it was told of, as it was."""
    begins = watch.begins()
    if begins is None:
        return None
    up_to = watch.reached()
    found = [(revision, event.key, event.value) for revision, event in _events(watch)]
    # Of a revision of which more was to come there is a part.
    last = max(up_to, found[-1][0]) if found else up_to
    wanted = [
        (fact.revision, fact.event.key, fact.event.value)
        for fact in facts.wanted(watch, begins, last)
    ]
    for want, got in zip(wanted, found, strict=False):
        if want != got:
            return f"it was told of {_shown(*got)} where the log has {_shown(*want)}"
    missing, extra = wanted[len(found) :], found[len(wanted) :]
    if missing and missing[0][0] <= up_to:
        return f"{_shown(*missing[0])} is missing, it was told up to {up_to}"
    return f"{_shown(*extra[0])} is in no log" if extra else None


def _is_create(watch: Watch, facts: Facts) -> str | None:
    """A key that was not there before is created, with version 1; others go on."""
    for revision, event, fact in _pairs(watch, facts):
        told = event.create_revision, event.version
        known = fact.create_revision, fact.version
        if told != known:
            return (
                f"{show(event.key)} of revision {revision} was created at {told[0]} and"
                f" has version {told[1]}, not {known[0]} and {known[1]}"
            )
    return None


def _previous(watch: Watch, facts: Facts) -> str | None:
    """What was there is the state one revision before; only compaction hides it.

    One that came later hides nothing of what had been told by then.
    """
    if not watch.previous:
        return None
    hidden = [
        facts.compacted if reply.compacted is None else reply.compacted
        for reply in _replies(watch)
        for _ in reply.events
    ]
    pairs = zip(_pairs(watch, facts), hidden, strict=False)
    for (revision, event, fact), up_to in pairs:
        gone = event.previous is None and revision <= up_to
        if event.previous != fact.previous and not gone:
            return (
                f"before {show(event.key)} of revision {revision} there was"
                f" {_before(fact.previous)}, not {_before(event.previous)}"
            )
    return None


def _pairs(watch: Watch, facts: Facts) -> Iterator[tuple[int, Event, Event]]:
    """Each event beside what the log has in its place."""
    told = list(_events(watch))
    if told:
        wanted = facts.wanted(watch, told[0][0], told[-1][0])
        for (revision, event), fact in zip(told, wanted, strict=False):
            yield revision, event, fact.event


# -- in words --------------------------------------------------------------------------


def _revision(told: Told) -> int:
    return 0 if isinstance(told, Ended) else told.revision


def _shown(revision: int, key: bytes, value: bytes | None) -> str:
    return f"r{revision} {show(key)} {show(value)}"


def _before(before: Before | None) -> str:
    if before is None:
        return "nothing"
    return f"{show(before.value)} of revision {before.mod_revision}"


_RULES: Final[tuple[tuple[str, str, _Rule], ...]] = (
    ("begun", "I-58", _begun),
    ("cancelled", "I-59", _cancelled),
    ("filter", "I-58", _filter),
    ("ordered", "I-61", _ordered),
    ("unique", "I-58", _unique),
    ("atomic", "I-58", _atomic),
    ("silent", "I-60", _silent),
    ("bookmarkable", "I-58", _bookmarkable),
    ("resumable", "I-59", _resumable),
    ("reliable", "I-58", _reliable),
    ("is-create", "I-58", _is_create),
    ("previous", "I-58", _previous),
)
