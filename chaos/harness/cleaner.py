"""The janitor's process: it cleans up after a harness that was killed.

    python -m quorate.chaos.harness.cleaner NODES [TEMPORARY]

Law: it waits for its standard input to end. If the harness said that all is clean, it
does nothing. Otherwise it kills every node below NODES (a frozen one does not see its
lifeline), and removes TEMPORARY, if given.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ...node.launcher import ENDPOINTS_FILE, LauncherError, LocalNode, load_cluster
from .folders import remove_tree
from .janitor import DONE

ENDING_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.05


def clean_up(nodes: Path, temporary: Path | None) -> None:
    """End the nodes of a harness that is gone, and remove what it would have removed.

    A node that was being started may not be known yet; that one sees its lifeline.
    """
    deadline_s = time.monotonic() + ENDING_SECONDS_MAX
    found = _nodes(nodes)
    while any(list(map(_end, found))) and time.monotonic() < deadline_s:
        time.sleep(_POLL_SECONDS)
    if temporary is not None:
        remove_tree(temporary, deadline_s)


def _nodes(directory: Path) -> Sequence[LocalNode]:
    if not (directory / ENDPOINTS_FILE).is_file():
        return ()
    try:
        return load_cluster(directory).nodes
    except LauncherError:
        return ()


def _end(node: LocalNode) -> bool:
    """Kill its process; whether there was one."""
    pid = node.running_pid()
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def main(arguments: Sequence[str]) -> None:
    """The whole child."""
    nodes, *temporary = [Path(argument) for argument in arguments]
    if sys.stdin.buffer.read() != DONE:
        clean_up(nodes, temporary[0] if temporary else None)


if __name__ == "__main__":
    main(sys.argv[1:])
