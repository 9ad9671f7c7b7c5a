"""Pieces of pictures: scales, ticks and elements of SVG as text.

Law: pure, and knows nothing of runs. Text that came from elsewhere is escaped here.
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Final

# All pictures share their scale of time, so that they can be read from top to bottom.
WIDTH: Final = 1100
LEFT: Final = 130
RIGHT: Final = 16
_STEPS: Final = (1, 2, 5)


class Scale:
    """Seconds to places between the margins."""

    def __init__(self, from_s: float, until_s: float) -> None:
        self.from_s = from_s
        self.until_s = max(until_s, from_s + 1e-6)

    def x(self, seconds: float) -> float:
        """Where that moment is, within the picture."""
        share = (seconds - self.from_s) / (self.until_s - self.from_s)
        share = min(max(share, 0.0), 1.0)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self, count: int) -> Iterator[float]:
        """Round moments, about so many."""
        step = round_step((self.until_s - self.from_s) / count)
        tick = math.ceil(self.from_s / step) * step
        while tick <= self.until_s:
            yield round(tick, 9)
            tick += step


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … (also below 1) that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((s * power for s in _STEPS if s * power >= least * 0.999), 10.0 * power)


def svg(height: float, body: str, label: str) -> str:
    """A whole picture; `label` says what it is to who can't see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img"'
        f' aria-label="{escape(label)}">{body}</svg>'
    )


def rect(
    x: float, y: float, width: float, height: float, style: str, title: str = ""
) -> str:
    """A bar, at least one pixel wide; `title` is shown under the pointer."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{max(width, 1):.1f}"'
        f' height="{height:g}">{inner}</rect>'
    )


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line class="{style}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def text(
    x: float, y: float, content: str, style: str = "", anchor: str = "start"
) -> str:
    """One line of text."""
    return (
        f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
        f"{escape(content)}</text>"
    )


def time_axis(scale: Scale, top: float, bottom: float) -> str:
    """Thin lines at round moments, with their numbers below."""
    parts: list[str] = []
    for tick in scale.ticks(11):
        x = scale.x(tick)
        parts.append(line(x, top, x, bottom, "grid"))
        parts.append(text(x, bottom + 14, f"{tick:g} s", "tick", "middle"))
    return "".join(parts)


def show_ms(seconds: float) -> str:
    """A length of time for people."""
    if seconds >= 10:
        return f"{seconds:.1f} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"
