"""What the machine is and does: whom a figure belongs to, and what processes use.

Law: reads /proc and nothing else; starts and changes nothing.
"""

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_S = os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """A line of /proc/PID/stat, as far as it matters here."""

    parent: int
    cpu_s: float


def parse_stat(line: str) -> Stat:
    """The command in it may hold anything, closing brackets too."""
    fields = line.rpartition(")")[2].split()
    # Its own time, and that of children that have ended.
    ticks = sum(map(int, fields[11:15]))
    return Stat(int(fields[1]), ticks / _TICKS_S)


def family(pids: Iterable[int]) -> list[int]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if (stat := _stat(int(path.name))) is not None:
            children.setdefault(stat.parent, []).append(int(path.name))
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes and their descendants have used of processors."""
    return sum(stat.cpu_s for pid in family(pids) if (stat := _stat(pid)) is not None)


def written_bytes(pids: Iterable[int]) -> int:
    """What these processes, without their descendants, have made the disk write.

    By pages: where the kernel keeps a file in large pages, a small write into one
    counts as all of it.
    """
    return sum(_field(pid, "io", "write_bytes:") for pid in pids)


def anonymous_bytes(pid: int) -> int:
    """Memory of a process and its descendants that is no file's."""
    return sum(map(own_anonymous_bytes, family([pid])))


def own_anonymous_bytes(pid: int) -> int:
    """The same of the process alone."""
    return _field(pid, "status", "RssAnon:") * 1024


def describe() -> dict[str, str]:
    """The machine, and how busy it is with other things."""
    return {
        "machine": f"{os.cpu_count()} × {_cpu_model()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _commit(),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _stat(pid: int) -> Stat | None:
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return None


def _field(pid: int, file: str, name: str) -> int:
    """A number in one of its files; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    values = (line.split()[1] for line in lines if line.startswith(name))
    return int(next(values, "0"))


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Of the code that is measured; a plus sign says that it was changed since."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()

    changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
