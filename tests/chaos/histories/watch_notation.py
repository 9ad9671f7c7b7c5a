"""Watches as text: what one was told, a line each, beside the agreed log.

    log r2 k a                     revision 2 put a under k
    log r3 k nothing               revision 3 deleted it
    log compacted 3
    watch k..l from 2 previous     an open end: k..; one key: k; also: next, noputs,
                                   nodeletes
    created r1
    events r2 k=a/2.1              the value, its create revision and its version
    events r3 k=nothing<a/2.1@2    and before it a of revision 2
    events r4 j=b/4.1 more         more of revision 4 follows
    events r4 j=b/4.1 compacted 2  so much was compacted when that was told
    progress r5
    ended no_leader
    ended compacted 7              7 is the oldest revision that is kept

Law: reads what people write. As in notation, a history has a name and a story in
comment lines before it; the story of a broken one ends with the rule that it breaks,
and `[bad|good]` may stand where it is broken.
"""

import re
from pathlib import Path
from typing import NamedTuple

from quorate.chaos.histories import (
    Before,
    Change,
    Created,
    Ended,
    Event,
    Events,
    Facts,
    Progress,
    Told,
    Watch,
)

from .notation import read_change

_MEND = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


class WatchStory(NamedTuple):
    """A watch with its name and the rule that it breaks; as it is, and mended."""

    name: str
    rule: str
    watch: Watch
    mended: Watch
    facts: Facts
    mended_facts: Facts


def read_watch_stories(path: Path) -> list[WatchStory]:
    """All stories of a file."""
    stories: list[WatchStory] = []
    for block in re.split(r"\n\s*\n", path.read_text()):
        lines = block.strip().splitlines()
        comments = [line[1:].strip() for line in lines if line.startswith("#")]
        text = "\n".join(line for line in lines if line[0] != "#")
        assert comments, f"no name: {text}"
        watch, facts = read_watch(_MEND.sub(r"\1", text))
        mended, mended_facts = read_watch(_MEND.sub(r"\2", text))
        rule = comments[-1].split()[-1]
        stories.append(
            WatchStory(comments[0], rule, watch, mended, facts, mended_facts)
        )
    return stories


def read_watch(text: str) -> tuple[Watch, Facts]:
    """One watch and its log."""
    changes: list[Change] = []
    watch = Watch(b"", b"")
    compacted = 0
    for line in filter(str.strip, text.splitlines()):
        word, *rest = line.split()
        if word == "log" and rest[0] == "compacted":
            compacted = int(rest[1])
        elif word == "log":
            changes.append(read_change(" ".join(rest)))
        elif word == "watch":
            _read_request(watch, rest)
        else:
            watch.told.append(_read_told(word, rest))
    return watch, Facts(changes, compacted)


def _read_request(watch: Watch, words: list[str]) -> None:
    start, dots, end = words[0].partition("..")
    watch.start = start.encode()
    watch.end = end.encode() if dots else watch.start + b"\0"
    if words[1] == "from":
        watch.first = int(words[2])
    else:
        assert words[1] == "next", words
    watch.previous = "previous" in words
    watch.puts = "noputs" not in words
    watch.deletes = "nodeletes" not in words


def _read_told(word: str, rest: list[str]) -> Told:
    if word == "ended":
        reason, *compacted = rest or [""]
        return Ended(reason, int(compacted[0]) if compacted else 0)
    revision = int(rest[0][1:])
    if word == "created":
        return Created(revision)
    if word == "progress":
        return Progress(revision)
    assert word == "events", word
    compacted = None
    if "compacted" in rest:
        place = rest.index("compacted")
        compacted = int(rest[place + 1])
        del rest[place : place + 2]
    events = [_read_event(text) for text in rest[1:] if text != "more"]
    return Events(revision, tuple(events), "more" in rest, compacted)


def _read_event(text: str) -> Event:
    key, _, told = text.partition("=")
    after, told_before, before = told.partition("<")
    value, create, version, _ = _read_record(after)
    previous = None
    if told_before:
        old, old_create, old_version, mod = _read_record(before)
        assert old is not None
        previous = Before(old, old_create, mod, old_version)
    return Event(key.encode(), value, create, version, previous)


def _read_record(text: str) -> tuple[bytes | None, int, int, int]:
    if text == "nothing":
        return None, 0, 0, 0
    value, _, numbers = text.partition("/")
    lives, _, mod = numbers.partition("@")
    create, _, version = lives.partition(".")
    return value.encode(), int(create), int(version), int(mod or 0)
