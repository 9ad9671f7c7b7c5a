"""Reading our own documents: links, headings, tables, code. As much as they need."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_NOT_YET = "Not yet"


class Block(NamedTuple):
    """A piece of code: its language ("" when none is named) and its text."""

    language: str
    text: str


def documents() -> list[Path]:
    """All of them, as they are written for people."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text()


def without_blocks(text: str) -> str:
    """The prose, tables and headings: what is not fenced or indented code."""
    kept = _FENCE.sub("", text).splitlines()
    return "\n".join(line for line in kept if not line.startswith("    "))


def without_plans(text: str) -> str:
    """The text without its sections "Not yet"."""
    lines: list[str] = []
    level = 0
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading is not None:
            depth = len(heading[1])
            if heading[2] == _NOT_YET:
                level = depth
            elif depth <= level:
                level = 0
        if not level:
            lines.append(line)
    return "\n".join(lines)


def blocks(text: str) -> list[Block]:
    """Fenced code, and each run of indented lines as code without a language."""
    found = [Block(match[1], match[2]) for match in _FENCE.finditer(text)]
    run: list[str] = []
    for line in [*_FENCE.sub("", text).splitlines(), ""]:
        if line.startswith("    "):
            run.append(line[4:])
        elif run:
            found.append(Block("", "\n".join(run) + "\n"))
            run = []
    return found


def spans(text: str) -> list[str]:
    """What stands between single backticks, in order."""
    return _SPAN.findall(without_blocks(text))


def links(text: str) -> list[str]:
    return _LINK.findall(without_blocks(text))


def anchors(text: str) -> set[str]:
    """What a link can name behind `#`: headings in lower case, spaces as hyphens."""
    headings = [match[2] for match in _HEADING.finditer(_FENCE.sub("", text))]
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in kept}


def rows(text: str) -> Iterator[list[str]]:
    """The rows of all tables, without heads and rules; `\\|` is a plain bar."""
    lines = without_blocks(text).splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        following = not before.startswith("|")
        if line.startswith("|") and not following and not set(line) <= set("|- "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            yield [cell.strip().replace("\\|", "|") for cell in cells]


def section(text: str, heading: str) -> str:
    """What stands below a heading, to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found is not None, f"no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", _blank_fences(rest), re.MULTILINE)
    return rest[: end.start()] if end else rest


def _blank_fences(text: str) -> str:
    """The same with as many characters, so that a `#` in a shell is no heading."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
