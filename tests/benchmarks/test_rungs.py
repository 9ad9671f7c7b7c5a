"""The ladder's rungs: what they answer, and when."""

from pathlib import Path

import pytest
from quorate.benchmarks.frames import drive, puts
from quorate.benchmarks.ladder import RungProcess, share
from quorate.benchmarks.pairs import Leg
from quorate.benchmarks.rungs import answers, committed, cut
from quorate.node.certificates import create_authority, issue_member
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    ReplyParser,
    RequestKind,
    decode_write_reply,
    encode_request,
)


def test_requests_are_cut_where_the_last_whole_one_ends() -> None:
    frames = [encode_request(RequestKind.WRITE, n, 0, b"x" * n) for n in (7, 8)]
    stream = b"".join(frames)
    assert cut(stream) == ([7, 8], len(stream))
    assert cut(stream[:-1]) == ([7], len(frames[0]))
    assert cut(stream[:3]) == ([], 0)


def test_an_answer_is_what_quorate_answers_to_a_put() -> None:
    replies = ReplyParser(DEFAULT_LIMITS).feed(answers([7, 8]))
    assert [reply.request_id for reply in replies] == [7, 8]
    assert {(reply.kind, reply.status) for reply in replies} == {
        (RequestKind.WRITE, OK)
    }
    assert decode_write_reply(replies[0].body).count == 1


@pytest.mark.parametrize(
    ("own", "others", "expected"), [(5, [3, 4], 4), (2, [7, 9], 7), (4, [4, 0], 4)]
)
def test_a_batch_is_committed_when_two_of_three_have_it(
    own: int, others: list[int], expected: int
) -> None:
    assert committed(own, others) == expected


def test_shares_are_of_one_round_each() -> None:
    legs = {"R3": [Leg(10.0), Leg(20.0)], "R4": [Leg(5.0), Leg(5.0)]}
    found = share(legs, "R4", "R3")
    assert (found.low, found.high, found.pairs) == (0.25, 0.5, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["socket", "loop"])
def test_an_echo_answers_until_it_is_ended(name: str) -> None:
    with RungProcess(name) as rung:
        assert drive(rung.port, puts(8, 16), 2, 0.05, hello=False).operations >= 8


@pytest.mark.slow
def test_a_replicated_journal_answers_what_two_files_hold(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    issue_member(create_authority(tmp_path / "ca"), certs, name="n1")
    files = [tmp_path / name for name in ("leader", "first", "second")]
    with (
        RungProcess("follower", str(files[1]), str(certs)) as first,
        RungProcess("follower", str(files[2]), str(certs)) as second,
        RungProcess(
            *("replicated", str(files[0]), str(certs)),
            *(str(first.port), str(second.port)),
        ) as leader,
    ):
        requests = puts(3, 16)
        drive(leader.port, requests, 1, 0.05, hello=False)
    holding = [file for file in files if requests[2].body in file.read_bytes()]
    assert len(holding) >= 2
