"""Every script in scripts/ gives the output that is written in it.

`QUORATE_REWRITE=1` writes the present output into the files instead; the change is
then read as a diff. The grammar is in script.py.
"""

import os
from pathlib import Path

import pytest

from .script import run_script, scripts

FOLDER = Path(__file__).parent / "scripts"


@pytest.mark.parametrize("path", scripts(FOLDER), ids=lambda path: path.stem)
def test_a_script_gives_the_output_written_in_it(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    given = run_script(written)
    if os.environ.get("QUORATE_REWRITE") == "1":
        path.write_text(given, encoding="utf-8")
    else:
        assert given == written


def test_there_are_scripts() -> None:
    assert len(scripts(FOLDER)) >= 10


def test_a_script_whose_output_has_changed_is_noticed() -> None:
    """The runner itself: wrong output is replaced, comments and commands stay."""
    text = "# why\nnodes 1\nstatus\n----\n1: leader of the world\n"
    right = "1: follower term 0 leader 0 log 0..0 commit 0 voters 1"
    assert run_script(text) == f"# why\nnodes 1\nstatus\n----\n{right}\n"
    assert run_script(run_script(text)) == run_script(text)
