"""The pid file: which process is the node of a folder, and stopping it.

Law: a pid file is a hint that outlives killed nodes, and its number may by now be
anybody's. It counts only when that process says on its command line that it is the node
of this folder: `… node --dir FOLDER` or `… node --config FOLDER/quorate.toml`.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .config import CONFIG_FILE

PID_FILE = "pid"
# Names the read end of the pipe that a launched node watches; see launcher.
LIFELINE = "QUORATE_LIFELINE"

_PROC = Path("/proc")
_POLL_SECONDS = 0.02
# How long a program that was just started may show no command line.
_EXEC_SECONDS_MAX = 0.1


def write_pid(directory: Path, pid: int) -> None:
    """Say which process is the node of `directory`."""
    replace_file(directory / PID_FILE, f"{pid}\n")


def remove_pid(directory: Path, pid: int) -> None:
    """Take back what `write_pid` said, unless another process has said it since."""
    if _read_pid(directory) == pid:
        (directory / PID_FILE).unlink(missing_ok=True)


def running_pid(directory: Path) -> int | None:
    """The process of the node of `directory`, if one runs."""
    pid = _read_pid(directory)
    return pid if pid is not None and _is_node_of(pid, directory) else None


def has_lifeline(directory: Path) -> bool:
    """Whether the node that runs in `directory` ends with whoever launched it.

    If that one is gone, the node is about to end. False where there is no /proc.
    """
    pid = running_pid(directory)
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return any(
        variable.startswith(LIFELINE.encode() + b"=")
        for variable in environment.split(b"\0")
    )


def stop_process(directory: Path, timeout_seconds: float) -> bool:
    """Stop the node of `directory`, whoever started it; true when there was one.

    It is asked first and killed when it has not ended after `timeout_seconds`. Raises
    `PermissionError` when the process is another user's.
    """
    pid = running_pid(directory)
    if pid is None:
        return False
    # A paused process takes the first signal only when it is resumed.
    for number in (signal.SIGTERM, signal.SIGCONT):
        _send(pid, number)
    deadline = time.monotonic() + timeout_seconds
    while _is_node_of(pid, directory):
        if time.monotonic() > deadline:
            _send(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    remove_pid(directory, pid)
    return True


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _read_pid(directory: Path) -> int | None:
    try:
        with (directory / PID_FILE).open("rb") as file:
            text = file.read(32).strip()
    except OSError:
        return None
    # Zero and less would be whole groups of processes.
    return int(text) or None if text.isdigit() and len(text) <= 10 else None


def _is_node_of(pid: int, directory: Path) -> bool:
    arguments, working = _command_line(pid)
    if "node" not in arguments:
        return False
    home = directory.resolve()
    named = [(working / path).resolve() for path in _named_paths(arguments)]
    return home in named or home / CONFIG_FILE in named


def _named_paths(arguments: list[str]) -> Iterator[str]:
    """What a command line gives as `--dir` or `--config`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("--dir", "--config"):
            yield following
        elif argument.startswith(("--dir=", "--config=")):
            yield argument.partition("=")[2]


def _command_line(pid: int) -> tuple[list[str], Path]:
    """A process's arguments and working directory; no arguments when it is gone."""
    if not _PROC.is_dir():
        # macOS: the arguments in one line, and no telling where it runs.
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        shown = subprocess.run(command, capture_output=True, check=False).stdout
        return os.fsdecode(shown).split(), Path("/")
    raw = _raw_command_line(pid)
    try:
        working = (_PROC / str(pid) / "cwd").readlink()
    except OSError:
        # Another user's process: absolute paths can still be told.
        working = Path("/")
    return [os.fsdecode(part) for part in raw.split(b"\0")], working


def _raw_command_line(pid: int) -> bytes:
    deadline = time.monotonic() + _EXEC_SECONDS_MAX
    try:
        while True:
            raw = (_PROC / str(pid) / "cmdline").read_bytes()
            if raw or time.monotonic() > deadline:
                return raw
            # Empty: a zombie, or a program so new that its arguments are not in place.
            state = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2]
            if state.split()[0] in (b"Z", b"X"):
                return b""
            time.sleep(_EXEC_SECONDS_MAX / 50)
    except OSError:
        return b""


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # It ended by itself between the look and the signal.
        return
