"""What the live rows, `status` and `leader` show, as text.

Law: pure. A row says what is, with numbers that a person can take in at a glance.
"""

import signal
from collections.abc import Mapping, Sequence

import msgspec

from ..harness.served import NodeStatus
from .commands import shown


class NodeView(msgspec.Struct, frozen=True):
    """A node, how it is (`runs`, `paused`, or how it ended), and what it last told."""

    name: str
    state: str
    status: NodeStatus | None


class LinksView(msgspec.Struct, frozen=True):
    """What is done to links: the parts of a partition, and slow nodes."""

    parts: tuple[tuple[int, ...], ...] = ()
    slowed_s: Mapping[int, float] = {}


class LoadView(msgspec.Struct, frozen=True):
    """The background load until now; gaps are times without an acknowledged write."""

    operations: int
    failed: int
    per_second: float
    longest_gap_s: float
    cause: str
    gap_s: float


def how_it_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "down"
    if code < 0:
        return f"down ({signal.Signals(-code).name})"
    return f"down (exit code {code})"


def rows(
    nodes: Sequence[NodeView], links: LinksView, load: LoadView
) -> tuple[str, str]:
    """The two live rows: the cluster, and the load."""
    cluster = "  ".join(f"{node.name} {_role(node)}" for node in nodes)
    hurt = links_text(links)
    return f"{cluster}   {hurt}".rstrip(), load_text(load)


def links_text(links: LinksView) -> str:
    """What is done to links; empty when nothing is."""
    words = [f"partition {shown(links.parts)}"] if links.parts else []
    words += [f"n{n} slow +{s * 1000:g} ms" for n, s in sorted(links.slowed_s.items())]
    return "[" + ", ".join(words) + "]" if words else ""


def load_text(load: LoadView) -> str:
    """The load in a line."""
    text = (
        f"{load.operations} operations, {load.per_second:.0f} /s,"
        f" {load.failed} failed, longest gap {_seconds(load.longest_gap_s)}"
    )
    return f"{text}, {_seconds(load.gap_s)} since {load.cause}" if load.cause else text


def table(nodes: Sequence[NodeView]) -> str:
    """What each node says of itself."""
    head = ("NODE", "STATE", "ROLE", "TERM", "COMMITTED", "APPLIED", "REVISION")
    lines: list[tuple[str, ...]] = [head]
    for node in nodes:
        told = node.status
        row: tuple[str, ...] = ("-",) * 5
        if told is not None:
            numbers = (told.term, told.commit_index, told.applied_index, told.revision)
            row = (told.role, *map(str, numbers))
        lines.append((node.name, node.state, *row))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def leader_of(nodes: Sequence[NodeView]) -> tuple[str, int] | None:
    """The name and the term of who leads, as far as one can be asked."""
    leading = [
        (node.name, node.status.term)
        for node in nodes
        if node.status is not None and node.status.role == "leader"
    ]
    return max(leading, key=lambda one: one[1], default=None)


def _role(node: NodeView) -> str:
    if node.state != "runs":
        return node.state
    return node.status.role if node.status is not None else "no answer"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
