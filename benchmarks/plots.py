"""Pictures of sweeps, one a file: how fast, and how much processor time for each.

    python plots.py FOLDER < report.json

Law: runs in an environment of its own, which has matplotlib, so nothing of quorate is
imported. A point is the median of its legs; its bar goes from the lowest to the
highest.
"""

import json
import statistics
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

PANELS = (("figure", None), ("cpu_us", "µs of processors for each, all nodes"))
COLOURS = {"quorate": "#0b6e4f", "etcd": "#c8553d"}
# Figures further apart than this are drawn by their logarithms.
WIDE = 10


def draw(sweep: dict[str, Any], caption: str, path: Path) -> None:
    """A panel for each figure, all systems in it; places of the axis stand in a row."""
    pyplot = import_module("matplotlib.pyplot")
    places = [point["at"] for point in sweep["points"]]
    picture, panels = pyplot.subplots(1, len(PANELS), figsize=(11, 4.2))
    for panel, (name, label) in zip(panels, PANELS, strict=True):
        values: list[float] = []
        for system, colour in COLOURS.items():
            at, medians, spread = bars(sweep["points"], system, name)
            if at:
                values += medians
                panel.errorbar(
                    *(list(map(places.index, at)), medians, spread),
                    label=system,
                    color=colour,
                    marker="o",
                    capsize=3,
                )
        panel.set_xticks(range(len(places)), [f"{place:,}" for place in places])
        if max(values) > WIDE * min(values):
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter("{x:,g}")
        panel.set_xlabel(sweep["along"])
        panel.set_ylabel(label or sweep["figure"])
        panel.grid(visible=True, alpha=0.3)
        panel.legend()
    picture.suptitle(caption, fontsize=9)
    picture.tight_layout()
    picture.savefig(path)
    pyplot.close(picture)


def bars(
    points: list[dict[str, Any]], system: str, name: str
) -> tuple[list[int], list[float], tuple[list[float], list[float]]]:
    """Where a system has points, their medians, and how far bars go below and above."""
    each = [[leg[name] for leg in point[system]] for point in points if point[system]]
    medians = [statistics.median(values) for values in each]
    pairs = list(zip(medians, each, strict=True))
    below = [median - min(values) for median, values in pairs]
    above = [max(values) - median for median, values in pairs]
    return [point["at"] for point in points if point[system]], medians, (below, above)


def main() -> None:
    folder = Path(sys.argv[1])
    report = json.load(sys.stdin)
    import_module("matplotlib").use("svg")
    about = report["machine"]
    caption = f"commit {about['commit']}, {about['machine']}, load {about['load']}"
    for sweep in report["sweeps"]:
        if sweep["points"]:
            path = folder / f"{sweep['name']}.svg"
            draw(sweep, caption, path)
            print(path)


if __name__ == "__main__":
    main()
