"""Samples, and to whom they are counted."""

from pathlib import Path

from quorate.benchmarks import profiles
from quorate.benchmarks.profiles import OTHER, lines_of, parse

# The checkout may have any name.
OURS = str(Path(profiles.__file__).resolve().parent.parent)
RAW = f"""\
main ({OURS}/cli/node.py:10);turn ({OURS}/node/loop.py:175);apply \
({OURS}/node/database/core.py:171) 30
main ({OURS}/cli/node.py:10);write ({OURS}/node/peer_session.py:303);read \
(/usr/lib/python3.11/ssl.py:921) 10
_worker (/usr/lib/python3.11/concurrent/futures/thread.py:81) 60
"""


def test_a_sample_is_the_innermost_function_of_ours() -> None:
    profile = parse(RAW)
    assert profile.total == 100
    assert profile.files == {
        "node/database/core.py": 30,
        "node/peer_session.py": 10,
        OTHER: 60,
    }
    assert profile.functions["apply  node/database/core.py"] == 30


def test_shares_are_told_as_processor_time() -> None:
    lines = lines_of(parse(RAW), 50.0)
    assert " 30.0%   15.00 µs  node/database/core.py" in lines
