"""The page itself: the verdict on top, then what supports it.

Law: words for somebody who has never seen the project, figures from the summary. What
came from the run (keys, values, messages) is escaped wherever it is put.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from ..history import HISTORY_FILE, read_history
from ..verdict import Summary
from .charts import class_of, latencies, spans_of, throughput, timeline
from .drawing import show_ms
from .example import draw_operations, explain, operations_of
from .samples import Latencies, Samples
from .style import SCRIPT, STYLE

REPORT_FILE: Final = "index.html"
_MEANS: Final = {
    "valid": "Nothing was found that a correct store could not have done, and each kind"
    " of fault that was planned struck at least once while clients were at work.",
    "violated": "A promise of the store was broken. The smallest example follows.",
    "void": "Nothing was found, but too little was tried for that to mean anything.",
}
_WHERE: Final = {
    False: "Real node processes on one machine",
    True: "A cluster that was running",
}
_BESIDE: Final = {
    False: "<code>logs/</code> what the nodes said",
    True: "<code>commands/</code> what the commands of the faults said",
}


def write_page(folder: Path, summary: Summary, nodes: Sequence[str]) -> None:
    """Write the page of a run into its report, beside the history."""
    history = folder / HISTORY_FILE
    spans = spans_of(summary.strikes)
    samples = Samples(summary.seconds, spans)
    parts = [_head(summary)]
    if history.exists():
        samples.read(read_history(history))
        parts.append(_example(summary, history))
        parts.append(_pictures(summary, samples, spans, nodes))
    parts += [
        _fault_table(summary),
        _workload_table(summary),
        _latency_table(samples),
        _checks(summary),
    ]
    html = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{summary.verdict} – quorate chaos run</title>"
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
    (folder / REPORT_FILE).write_text(html, encoding="utf-8")


def _head(summary: Summary) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in summary.reasons)
    counts = summary.counts
    fired = sum(count.fired for count in summary.faults.values())
    gaps = [strike.longest_gap_ms for strike in summary.strikes]
    facts = [
        (f"{counts.operations:,}", "operations"),
        (f"{counts.acknowledged:,}", "writes acknowledged"),
        (f"{counts.unknown:,}", "writes of unknown outcome"),
        (f"{counts.reads:,}", "reads"),
        (f"{fired:,}", "faults"),
        (show_ms(max(gaps) / 1000) if gaps else "–", "longest time without a write"),
        (f"{summary.seconds:,.0f} s", "in all"),
    ]
    shown = "".join(
        f"<div><b>{value}</b><span>{name}</span></div>" for value, name in facts
    )
    return (
        "<h1>quorate chaos: a replicated key-value store, hurt on purpose</h1>"
        f'<section class="verdict {summary.verdict}"><strong>{summary.verdict}</strong>'
        f"{_MEANS[summary.verdict]}{f'<ul>{reasons}</ul>' if reasons else ''}</section>"
        f'<section class="facts">{shown}</section>'
        f"<h2>The run</h2><p>{_WHERE[summary.attached]}, clients that write and"
        " read through all of them, and faults on a schedule that its seed decides."
        " Every answer was compared with what the clients knew. The same schedule"
        f" again: <code>{escape(summary.command)}</code></p>"
    )


def _example(summary: Summary, history: Path) -> str:
    parts: list[str] = []
    for violation in summary.violations:
        parts.append(explain(violation))
        operations = operations_of(violation, read_history(history))
        if operations:
            parts.append(
                f"<figure>{draw_operations(operations)}<figcaption>What clients did to"
                f" <code>{escape(violation.subject)}</code>, from the moment each"
                " operation was sent until its answer: green done, yellow refused, red"
                " unknown. A write of unknown outcome may still happen later (pale"
                " red). #7 is the seventh value that was sent.</figcaption></figure>"
            )
    return f"<h2>What was broken</h2>{''.join(parts)}" if parts else ""


def _pictures(
    summary: Summary,
    samples: Samples,
    spans: Sequence[tuple[float, float]],
    nodes: Sequence[str],
) -> str:
    return (
        "<h2>What happened when</h2><p class=note>"
        '<span class="key process"></span>to processes<span class="key machine"></span>'
        'to disks, clocks and loops<span class="key member"></span>who the members are'
        '<span class="key link"></span>to'
        ' links between nodes<span class="key client"></span>to links of clients'
        '<span class="key down"></span>a process is away, from its kill until it'
        " answers. Point at a bar to read about it; grey in the pictures below is when"
        " any fault held.</p>"
        '<div class="shared"><div class="cursor"></div>'
        f"<figure>{timeline(summary.strikes, nodes, samples)}</figure>"
        "<h2>Operations for each second</h2><p class=note>"
        '<span class="key ok"></span>done<span class="key refused"></span>refused: did'
        ' not and will not happen<span class="key unknown"></span>unknown: no answer in'
        " time</p>"
        f"<figure>{throughput(samples, spans)}</figure>"
        "<h2>How long they took</h2><p class=note>A point for an operation, the slowest"
        " ones among them; the scale grows tenfold from line to line."
        '<span class="key line half"></span>half of those that were done took less'
        '<span class="key line most"></span>99 % did</p>'
        f"<figure>{latencies(samples, spans)}</figure></div>"
    )


def _fault_table(summary: Summary) -> str:
    rows = "".join(
        f'<tr><td><span class="key {class_of(kind)}" style="margin-left:0"></span>'
        f"{escape(kind)}</td>{_often(count.fired)}{_often(count.overlapped)}"
        f"<td>{show_ms(count.longest_gap_ms / 1000)}</td></tr>"
        for kind, count in summary.faults.items()
    )
    strikes = "".join(
        f"<tr><td>{escape(strike.kind)}</td><td>{strike.number}</td>"
        f"<td>{escape(', '.join(strike.targets))}{' (leader)' * strike.leader_hit}</td>"
        f"<td>{strike.at_s:.2f} s</td><td>{strike.until_s - strike.at_s:.2f} s</td>"
        f"<td>{strike.overlapped:,}</td><td>{show_ms(strike.gap_ms / 1000)}</td>"
        f"<td>{show_ms(strike.longest_gap_ms / 1000)}</td></tr>"
        for strike in summary.strikes
    )
    return (
        "<h2>Faults</h2><p class=note>A run is void if a planned kind never struck, or"
        " never while operations were in flight.</p><table><tr><th>kind</th>"
        "<th>struck</th><th>during operations</th><th>longest time without<br>an"
        f" acknowledged write</th></tr>{rows}</table><details><summary>Every single one"
        "</summary><table><tr><th>kind</th><th>round</th><th>at</th><th>from</th>"
        "<th>for</th><th>operations<br>during it</th><th>first write<br>again after"
        f"</th><th>longest gap</th></tr>{strikes}</table></details>"
    )


def _workload_table(summary: Summary) -> str:
    rows = "".join(
        f"<tr><td>{name}</td><td>{one.ok:,}</td><td>{one.refused:,}</td>"
        f"<td>{one.unknown:,}</td><td>{one.needed:,}</td></tr>"
        for name, one in summary.workloads.items()
    )
    if not rows:
        return ""
    return (
        "<h2>Workloads</h2><p class=note>Beside the writers, who only read and write. A"
        " run is void if one of these did less than it needs to; what each checker"
        " looked at stands at the end of this page.</p><table><tr><th>workload</th>"
        "<th>done</th><th>refused</th><th>unknown</th><th>needed</th></tr>"
        f"{rows}</table>"
    )


def _often(count: int) -> str:
    return f"<td>{count}</td>" if count else '<td class="never">never</td>'


def _latency_table(samples: Samples) -> str:
    rows = "".join(
        f"<tr><td>{kind}</td><td>{('calm', 'under faults')[hurt]}</td>{_row(one)}</tr>"
        for (kind, hurt), one in sorted(samples.by_kind.items())
    )
    if not rows:
        return ""
    return (
        "<h2>Latency of operations that were done</h2><table><tr><th>kind</th><th></th>"
        "<th>count</th><th>50 %</th><th>90 %</th><th>99 %</th><th>99.9 %</th>"
        f"<th>slowest</th></tr>{rows}</table>"
    )


def _row(one: Latencies) -> str:
    shares = [one.quantile(share) for share in (0.5, 0.9, 0.99, 0.999)]
    cells = "".join(f"<td>{show_ms(s)}</td>" for s in [*shares, one.max_s])
    return f"<td>{one.count:,}</td>{cells}"


def _checks(summary: Summary) -> str:
    lines = "".join(f"<li>{escape(check)}</li>" for check in summary.checks)
    found = lines or "<li>none: the run ended before</li>"
    return (
        f"<h2>Checks in the end</h2><ul>{found}</ul><p class=note>Beside this page:"
        " <code>history.jsonl</code> has every operation and fault, a line of JSON for"
        " each, <code>schedule.json</code> what was planned, <code>summary.json</code>"
        f" these figures, {_BESIDE[summary.attached]}. quorate"
        f" {escape(summary.version)}, Python {escape(summary.python)}.</p>"
    )
