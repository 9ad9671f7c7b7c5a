"""Samples, and to whom they are counted."""

from quorate.benchmarks.profiles import OTHER, lines_of, parse

RAW = """\
main (quorate/cli/node.py:10);turn (quorate/node/loop.py:175);apply \
(quorate/node/database/core.py:171) 30
main (quorate/cli/node.py:10);write (quorate/node/peer_session.py:303);read \
(ssl.py:921) 10
_worker (concurrent/futures/thread.py:81) 60
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
