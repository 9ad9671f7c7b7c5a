"""What holds for every test run: it tests this checkout and no other.

A virtual environment of another worktree, or a wheel that was installed beside it,
would pass with the wrong code. And no property fails for being slow: they are about
answers.

Ctrl-C works for what tests start, however the run itself was started.
"""

import signal
from pathlib import Path

import pytest
import quorate
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Let Ctrl-C end what tests start; refuse to run with another tree's code."""
    # A shell starts what it puts in the background with SIGINT ignored, and all that is
    # started from there inherits it: a command that a test interrupts would never end.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    found = Path(quorate.__file__).resolve()
    if found != ROOT / "__init__.py":
        raise pytest.UsageError(
            f"`import quorate` finds {found}, but the tests lie in {ROOT}: install this"
            " checkout into the environment (make .venv/ok)"
        )
