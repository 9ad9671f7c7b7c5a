"""The log's reader may stand still: nobody waits for it, also not at the end."""

import subprocess
import sys

import pytest

# A process whose node has written so many lines, and ended with 3.
ENDED = """
import logging, sys
from types import SimpleNamespace
from quorate.node import process

def run(config, env, door):
    for number in range({lines}):
        logging.error("line %d %s", number, "x" * 100)
    return 3

process._run = run
log = SimpleNamespace(format="text", level="info")
sys.exit(process.run_node(SimpleNamespace(log=log)))
"""


def ended(lines: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", ENDED.format(lines=lines)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("lines", "where"), [(2000, "a pipe"), (15_000, "a queue")])
def test_a_process_ends_although_nobody_reads_its_log(lines: int, where: str) -> None:
    """Story: it never ended, also after a fatal error: the pipe, or all, was full."""
    with ended(lines) as process:
        try:
            assert process.wait(30) == 3, where
        finally:
            process.kill()


def test_what_was_logged_is_written_before_the_process_ends() -> None:
    with ended(2000) as process:
        _, text = process.communicate(timeout=30)
        assert process.returncode == 3
    assert text.splitlines()[-1].split()[-2] == b"1999"
    assert text.count(b"\n") == 2000
