"""Histograms of a node's metrics: what was counted in them in a while.

    counts: of all that took at most so long, by the bound in seconds; the last is inf

Law: pure; text in, numbers out.
"""

import re


def parse_counts(metrics: str, name: str, labels: str = "") -> dict[float, float]:
    """Those of one histogram with just these labels; empty where there is none."""
    behind = f",{labels}" if labels else ""
    pattern = rf'^{name}_bucket\{{le="([^"]+)"{behind}\}} (\S+)$'
    found = re.findall(pattern, metrics, re.MULTILINE)
    return {float(le): float(count) for le, count in found}


def between(
    before: dict[float, float], after: dict[float, float]
) -> dict[float, float]:
    """What came in between, in the order of the bounds."""
    return {le: count - before.get(le, 0.0) for le, count in sorted(after.items())}
