"""The pictures of a run, one below the other on the same scale of time.

Law: each function takes what was measured and gives back one picture; nothing is
counted here that is not in the samples or the summary.
"""

import math
from collections.abc import Sequence
from typing import Final

from ..faults import BUSY_KINDS, MEMBER_KINDS, PROCESS_KINDS
from ..verdict import FaultResult
from .drawing import (
    LEFT,
    RIGHT,
    WIDTH,
    Scale,
    line,
    rect,
    round_step,
    show_ms,
    svg,
    text,
    time_axis,
)
from .samples import OUTCOMES, Samples, merged

ROW: Final = 16
AXIS: Final = 22
PLOT: Final = 190
LATENCIES_S: Final = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)


def spans_of(strikes: Sequence[FaultResult]) -> list[tuple[float, float]]:
    """When anything was hurt."""
    return merged((strike.at_s, strike.until_s) for strike in strikes)


def class_of(kind: str) -> str:
    """The colour of a kind: processes, members, machines, links, clients' links."""
    if kind in PROCESS_KINDS:
        return "process"
    if kind in MEMBER_KINDS:
        return "member"
    if kind in BUSY_KINDS:
        return "machine"
    return "client" if kind.startswith("client-") else "link"


def timeline(
    strikes: Sequence[FaultResult], nodes: Sequence[str], samples: Samples
) -> str:
    """A row for each kind of fault, and one for each node."""
    scale = Scale(0.0, samples.seconds)
    kinds = list(dict.fromkeys(strike.kind for strike in strikes))
    rows = [*kinds, *nodes]
    bottom = len(rows) * ROW + 8.0
    parts = [time_axis(scale, 0, bottom)]
    for place, name in enumerate(rows):
        y = place * ROW + 4
        parts.append(text(LEFT - 8, y + 11, name, "name", "end"))
        if name in nodes:
            parts.append(line(LEFT, y + 8, WIDTH - RIGHT, y + 8, "life"))
    for strike in strikes:
        width = scale.x(strike.until_s) - scale.x(strike.at_s)
        for name in (strike.kind, *strike.targets):
            y = rows.index(name) * ROW + 4
            style = class_of(strike.kind) + (" faint" if name in nodes else "")
            bar = rect(scale.x(strike.at_s), y + 2, width, 11, style, _tell(strike))
            parts.append(bar)
    for down in samples.downs:
        y = rows.index(down.node) * ROW + 4
        width = scale.x(down.until_s) - scale.x(down.from_s)
        title = f"{down.node} was away from {down.from_s:.2f} to {down.until_s:.2f} s"
        parts.append(rect(scale.x(down.from_s), y + 5, width, 5, "down", title))
    return svg(bottom + AXIS, "".join(parts), "when which fault held, and at whom")


def _tell(strike: FaultResult) -> str:
    leader = " (the leader)" if strike.leader_hit and len(strike.targets) == 1 else ""
    met = "" if strike.touched else ", which met nothing"
    who = ", ".join(strike.targets)
    return (
        f"round {strike.number}: {strike.kind} at {who}{leader}{met}\n"
        f"from {strike.at_s:.2f} to {strike.until_s:.2f} s,"
        f" {strike.overlapped} operations during it\n"
        f"longest time without an acknowledged write: {strike.longest_gap_ms:.0f} ms"
    )


def _shades(spans: Sequence[tuple[float, float]], scale: Scale, bottom: float) -> str:
    return "".join(
        rect(scale.x(a), 4, scale.x(b) - scale.x(a), bottom - 4, "shade")
        for a, b in spans
    )


def throughput(samples: Samples, spans: Sequence[tuple[float, float]]) -> str:
    """Operations that ended, for each second, by how they ended."""
    scale = Scale(0.0, samples.seconds)
    width_s = samples.width_s
    bottom = PLOT + 4.0
    most = max((sum(one.counts.values()) for one in samples.bins), default=0) / width_s
    step = round_step(max(most, 1.0) / 4)
    top = step * math.ceil(max(most, 1.0) / step)
    parts = [_shades(spans, scale, bottom), time_axis(scale, 4, bottom)]
    for number in range(int(top / step) + 1):
        y = round(bottom - number * step / top * PLOT, 1)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(text(LEFT - 8, y + 4, f"{number * step:,.0f}/s", "tick", "end"))
    for place, one in enumerate(samples.bins):
        at_s, y = place * width_s, bottom
        x = scale.x(at_s)
        width = scale.x(at_s + width_s) - x
        told = ", ".join(f"{one.counts[o] / width_s:,.0f}/s {o}" for o in OUTCOMES)
        for outcome in OUTCOMES:
            height = round(one.counts[outcome] / width_s / top * PLOT, 1)
            y -= height
            if height:
                title = f"{at_s:.1f} s: {told}"
                parts.append(rect(x, y, width, height, outcome, title))
    return svg(bottom + AXIS, "".join(parts), "operations for each second")


def latencies(samples: Samples, spans: Sequence[tuple[float, float]]) -> str:
    """A point for an operation; lines for half and for 99 % of those that are ok."""
    scale = Scale(0.0, samples.seconds)
    bottom = PLOT + 4.0
    parts = [_shades(spans, scale, bottom), time_axis(scale, 4, bottom)]
    for seconds in LATENCIES_S:
        y = _height(seconds, bottom)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        parts.append(text(LEFT - 8, y + 4, _short(seconds), "tick", "end"))
    for outcome in OUTCOMES:
        dots = "".join(
            f"M{scale.x(point.end_s):g} {_height(point.latency_s, bottom):g}h0"
            for point in samples.points()
            if point.outcome == outcome
        )
        parts.append(f'<path class="dots {outcome}" d="{dots}"/>' if dots else "")
    for share, style in ((0.5, "half"), (0.99, "most")):
        parts.append(f'<path class="{style}" d="{_curve(samples, scale, share)}"/>')
    return svg(bottom + AXIS, "".join(parts), "how long operations took")


def _curve(samples: Samples, scale: Scale, share: float) -> str:
    """A line through the bins; broken where nothing was ok."""
    path, move = "", "M"
    for place, one in enumerate(samples.bins):
        if not one.latencies.count:
            move = "M"
            continue
        x = scale.x((place + 0.5) * samples.width_s)
        y = _height(one.latencies.quantile(share), PLOT + 4.0)
        path += f"{move}{x:g} {y:g}"
        move = "L"
    return path


def _height(seconds: float, bottom: float) -> float:
    low, high = math.log10(LATENCIES_S[0]), math.log10(LATENCIES_S[-1])
    share = (math.log10(max(seconds, LATENCIES_S[0])) - low) / (high - low)
    return round(bottom - min(share, 1.0) * PLOT, 1)


def _short(seconds: float) -> str:
    return show_ms(seconds).replace(".0 ", " ").replace(".00 ", " ")
