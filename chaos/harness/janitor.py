"""Who cleans up when the harness itself is killed: a child that outlives it briefly.

Law: the harness's side of it. The child (`cleaner`) waits for its standard input to
end, and learns by it whether the harness has cleaned up itself.
"""

import contextlib
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

# -P: a file in the current folder must not pass for a module of ours.
COMMAND: Final = (sys.executable, "-P", "-m", "quorate.chaos.harness.cleaner")
# What the harness says when all is clean.
DONE: Final = b"done"


class Janitor:
    """While the block runs, somebody else is ready to clean up."""

    def __init__(self, nodes: Path, temporary: Path | None) -> None:
        places = [str(nodes), *([] if temporary is None else [str(temporary)])]
        self.command = (*COMMAND, *places)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            # A Ctrl-C at the terminal, or a signal to our group, is not for it.
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.dismiss()

    def dismiss(self) -> None:
        """There is nothing to clean up any more; safe to repeat."""
        process, self._process = self._process, None
        if process is None:
            return
        # Who killed the janitor has nobody to tell.
        with contextlib.suppress(BrokenPipeError):
            process.communicate(DONE)
