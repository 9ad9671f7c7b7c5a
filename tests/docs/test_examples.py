"""The worked examples run as they stand, and print what they should."""

import subprocess
import sys
from pathlib import Path

import pytest

from .markdown import ROOT, read

EXAMPLES = ROOT / "docs" / "examples"
PRINTS = {
    "service_discovery": ("two: 10.0.0.1:80 10.0.0.2:80\none: 10.0.0.1:80\nnone:\n"),
    "work_queue": "WASH DRY FOLD IRON\n",
    "distributed_lock": "first: True\nsecond: False\nthe old token is refused\n",
    "live_config": "{'color': 'green'}\n{'color': 'blue', 'size': '12'}\n",
    "near_cache": "1\n2\nnot there\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_as_it_stands(name: str, quorate_endpoints: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        env={"QUORATE_ENDPOINTS": quorate_endpoints, "PATH": ""},
        cwd=Path("/"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (PRINTS[name], "")


def test_every_example_is_run_and_named_where_a_reader_finds_it() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == PRINTS.keys()
    readme = read("README.md")
    for name in names:
        assert f"docs/examples/{name}.py" in readme
