"""Tests that are somebody else's: a project of their own, with what the package has."""

import subprocess
import sys
from pathlib import Path


def run_theirs(
    folder: Path, text: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Pytest over a file of theirs in `folder`, with nothing of this project's."""
    (folder / "test_theirs.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "-p", "no:xdist"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
