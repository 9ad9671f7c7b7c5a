"""What holds for every test run: it tests this checkout and no other.

A virtual environment of another worktree, or a wheel that was installed beside it,
would pass with the wrong code.
"""

from pathlib import Path

import pytest
import quorate

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Refuse to run when `import quorate` finds another tree."""
    found = Path(quorate.__file__).resolve()
    if found != ROOT / "__init__.py":
        raise pytest.UsageError(
            f"`import quorate` finds {found}, but the tests lie in {ROOT}: install this"
            " checkout into the environment (make .venv/ok)"
        )
