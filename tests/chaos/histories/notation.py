"""Histories as text: one operation a line, as `describe` writes it.

    c1 0..2 put k a ok r2          a put of a, acknowledged at store revision 2
    c2 3..4 get k -> a ok r2 m2    a read at revision 2, of what revision 2 wrote
    c2 3..4 get k -> nothing ok r1 m0
    c3 5..6 delete k ok r3 n1      one key was removed
    c3 7..8 cas k 2=a b refused m0 expected revision 2, which is a; there is no such key
    c3 9..10 cas k 4=? c ok r5     expected revision 4, whose value it has never seen
    c4 5.. put k d unknown         no answer, or none that decides
    log r2 k a                     what the agreed log has at revision 2
    log r3 k nothing               a delete

Law: reads what people write. A history has a name and a story in comment lines before
it, and an empty line behind it. In a broken one `[bad|good]` may stand where it is
broken, and what would mend it.
"""

import re
from pathlib import Path
from typing import NamedTuple

from quorate.chaos.histories import UNSEEN, Change, Operation, Unseen

_MEND = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_KINDS = ("put", "get", "delete", "cas")
_OUTCOMES = ("ok", "refused", "unknown")


class Story(NamedTuple):
    """A history with its name, as it is and as it would be right."""

    name: str
    text: str
    operations: list[Operation]
    mended: list[Operation]
    changes: list[Change]


def read_stories(path: Path) -> list[Story]:
    """All histories of a file."""
    stories: list[Story] = []
    for block in re.split(r"\n\s*\n", path.read_text()):
        lines = block.strip().splitlines()
        comments = [line[1:].strip() for line in lines if line.startswith("#")]
        text = "\n".join(line for line in lines if line[0] not in "#l")
        log = [line.removeprefix("log ") for line in lines if line[0] == "l"]
        assert comments, f"no name: {text}"
        stories.append(
            Story(
                comments[0],
                " ".join(comments[1:]),
                read_history(_MEND.sub(r"\1", text)),
                read_history(_MEND.sub(r"\2", text)),
                [read_change(line) for line in log],
            )
        )
    return stories


def read_history(text: str) -> list[Operation]:
    """One history; empty lines are nothing."""
    return [read_operation(line) for line in text.splitlines() if line.strip()]


def read_operation(line: str) -> Operation:
    """One line."""
    client, times, kind, key, *rest = line.split()
    assert kind in _KINDS, line
    start, _, end = times.partition("..")
    operation = Operation(int(client[1:]), kind, key.encode(), int(start))
    if kind == "cas":
        expected, _, value = rest.pop(0).partition("=")
        operation.expected = int(expected)
        operation.expected_value = _value(value)
    if rest[0] == "->":
        rest.pop(0)
    if rest[0] not in _OUTCOMES:
        value = _value(rest.pop(0))
        assert not isinstance(value, Unseen), line
        operation.value = value
    outcome = rest.pop(0)
    assert outcome in _OUTCOMES, line
    operation.outcome = outcome
    operation.end = None if outcome == "unknown" else int(end)
    for word in rest:
        _read_reply(operation, word)
    return operation


def read_change(line: str) -> Change:
    """One line of the agreed log."""
    revision, key, word = line.split()
    value = _value(word)
    assert not isinstance(value, Unseen), line
    return Change(int(revision[1:]), key.encode(), value)


def _read_reply(operation: Operation, word: str) -> None:
    number = int(word[1:])
    match word[0]:
        case "r":
            operation.revision = number
        case "m":
            operation.mod_revision = number
        case "n":
            operation.count = number
        case _:
            raise AssertionError(word)


def _value(text: str) -> bytes | Unseen | None:
    if text == "nothing":
        return None
    return UNSEEN if text == "?" else text.encode()
