"""The counter-example of a violated run: what clients did to one key, drawn.

Law: shows the operations around the moment that the violation names, and explains them
in a person's words; which of them is wrong, the checker's text says.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from ..history import LAST_READER, Done, Line
from ..verdict import Violation
from .drawing import LEFT, RIGHT, WIDTH, Scale, rect, svg, text, time_axis

SHOWN_MAX: Final = 16
ROW: Final = 24
_LABEL: Final = 330


def operations_of(violation: Violation, lines: Iterable[Line]) -> list[Done]:
    """Those of its key that were around it, in the order of their starts."""
    mine = [
        one for one in lines if isinstance(one, Done) and one.key == violation.subject
    ]
    mine.sort(key=lambda one: one.start_s)
    place = len(mine)
    if violation.around_s is not None:
        around_s = violation.around_s
        place = sum(one.start_s <= around_s for one in mine) + SHOWN_MAX // 2
    return mine[:place][-SHOWN_MAX:]


def draw_operations(operations: Sequence[Done]) -> str:
    """A row for each operation, and between them the time."""
    from_s = min(one.start_s for one in operations)
    until_s = max(one.end_s for one in operations)
    margin_s = (until_s - from_s) * 0.02
    scale = Scale(from_s - margin_s, until_s + margin_s)
    bottom = len(operations) * ROW + 6.0
    parts = [time_axis(scale, 0, bottom)]
    for place, one in enumerate(operations):
        y = place * ROW + 4
        start, end = scale.x(one.start_s), scale.x(one.end_s)
        who = "last read" if one.client == LAST_READER else f"client {one.client}"
        parts.append(text(LEFT - 8, y + 14, f"{who}, {one.node}", "name", "end"))
        title = f"{_told(one)}\nfrom {one.start_s:.4f} to {one.end_s:.4f} s {one.error}"
        parts.append(rect(start, y + 3, max(end - start, 3), 14, one.outcome, title))
        if one.outcome == "unknown" and one.kind != "get":
            # It may still happen, at any later time.
            parts.append(rect(end, y + 8, WIDTH - RIGHT - end, 4, "perhaps"))
        fits = end + _LABEL < WIDTH
        x = end + 6 if fits else start - 6
        parts.append(text(x, y + 14, _told(one), "told", "start" if fits else "end"))
    return svg(bottom + 22, "".join(parts), "operations on one key")


def explain(violation: Violation) -> str:
    """The violation's words, as a list of what should be and what is."""
    return (
        f"<h3>{escape(violation.kind)}: <code>{escape(violation.subject)}</code></h3>"
        f"<dl><dt>expected</dt><dd>{escape(violation.expected)}</dd>"
        f"<dt>found</dt><dd><pre>{escape(violation.found)}</pre></dd></dl>"
    )


def _told(one: Done) -> str:
    """What was asked and answered, in one line."""
    if one.kind == "get":
        if one.output is None:
            return "read: no answer"
        if one.output.value is None:
            return "read: nothing there"
        value = _counter(one.output.value)
        return f"read: {value}, written at revision {one.output.mod_revision}"
    words = f"write {_counter(one.input.value or '')}"
    if one.kind == "cas":
        words += f" if at revision {one.input.if_revision}"
    if one.outcome == "ok" and one.output is not None:
        return f"{words}: done at revision {one.output.revision}"
    return f"{words}: {'refused' if one.outcome == 'refused' else 'nobody knows'}"


def _counter(value: str) -> str:
    return "#" + value.rpartition(":")[2]
