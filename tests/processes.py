"""Which processes work for a folder: none may, when a test is over."""

import os
from pathlib import Path


def processes_below(directory: Path) -> list[str]:
    """The command lines of processes, but for this one, that name `directory`."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.parent.name == str(os.getpid()):
            continue
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        line = b" ".join(words).decode(errors="replace")
        if str(directory) in line:
            found.append(line)
    return found
