"""What lines mean, and that no line breaks anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.chaos.prompt.commands import (
    HELP,
    LINE_CHARACTERS_MAX,
    SLOW_SECONDS_MAX,
    VERBS,
    WAIT_SECONDS_MAX,
    Command,
    Misunderstood,
    parse,
    shown,
)

NODES = 5

GOOD = {
    "kill 2": Command("kill", (2,)),
    "  KILL  n2 ": Command("kill", (2,)),
    "kill 1,3": Command("kill", (1, 3)),
    "kill 3 1, 3": Command("kill", (3, 1)),
    "kill leader": Command("kill", at_leader=True),
    "stop all": Command("stop", (1, 2, 3, 4, 5)),
    "pause 3": Command("pause", (3,)),
    "resume 3": Command("resume", (3,)),
    "start 2": Command("start", (2,)),
    "partition 1,2|3": Command("partition", parts=((1, 2), (3,), (4, 5))),
    "partition 1 2 | 3,4,5": Command("partition", parts=((1, 2), (3, 4, 5))),
    "partition 2": Command("partition", parts=((2,), (1, 3, 4, 5))),
    "slow 2 200ms": Command("slow", (2,), seconds=0.2),
    "slow 1,2 1.5s": Command("slow", (1, 2), seconds=1.5),
    "slow leader 0ms": Command("slow", at_leader=True),
    "wait 2m": Command("wait", seconds=120.0),
    "heal": Command("heal"),
    "leader": Command("leader"),
    "status": Command("status"),
    "help": Command("help"),
    "quit": Command("quit"),
}


@pytest.mark.parametrize("line", GOOD)
def test_a_line_is_the_command_that_it_looks_like(line: str) -> None:
    assert parse(line, NODES) == GOOD[line]


@pytest.mark.parametrize("line", ["", "   ", "\t", "# kill all", "  #"])
def test_empty_lines_and_comments_are_nothing(line: str) -> None:
    assert parse(line, NODES) is None


BAD = {
    "kil 2": "no such command: 'kil'",
    "kill": "which node",
    "kill ,": "which node",
    "kill 6": "no such node: '6' (1 to 5)",
    "kill 0": "no such node",
    "kill -1": "no such node",
    "kill 1 leader": "no such node: 'leader'",
    "kill ²": "no such node",
    "partition": "which node",
    "partition 1,2,3,4,5": "one part",
    "partition 1|": "which node",
    "partition 1,2|2": "in two parts",
    "slow 2": "how long",
    "slow 200ms": "which node",
    "slow 2 11s": "at most 10s",
    "slow 2 -1ms": "how long",
    "slow 2 1e3ms": "how long",
    "wait": "how long",
    "wait 11m": "at most 600s",
    "heal 2": "takes nothing",
    "quit now": "takes nothing",
    "x" * (LINE_CHARACTERS_MAX + 1): "a line of more than",
}


@pytest.mark.parametrize("line", BAD)
def test_what_is_no_command_is_answered_with_what_is_wrong(line: str) -> None:
    with pytest.raises(Misunderstood) as caught:
        parse(line, NODES)
    assert BAD[line] in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_help_names_every_command() -> None:
    assert {line.split()[0] for line in HELP.splitlines()[:-1]} == {*VERBS}


WORDS = st.one_of(
    st.sampled_from([*VERBS, "leader", "all", "1", "n3", ",", "|", "200ms", "9s"]),
    st.text(max_size=12),
)


@given(st.lists(WORDS, max_size=8).map(" ".join), st.integers(1, 9))
def test_garbage_is_a_command_of_these_nodes_or_misunderstood(
    line: str, nodes: int
) -> None:
    try:
        command = parse(line, nodes)
    except Misunderstood:
        return
    if command is None:
        return
    everybody = set(range(1, nodes + 1))
    assert {*command.who} <= everybody
    assert len(set(command.who)) == len(command.who)
    assert 0 <= command.seconds <= max(SLOW_SECONDS_MAX, WAIT_SECONDS_MAX)
    if command.verb == "partition":
        parts = command.parts
        assert len(parts) >= 2
        # Everybody is in one part, and what is shown is the same command.
        assert sorted(n for part in parts for n in part) == sorted(everybody)
        assert parse(f"partition {shown(parts)}", nodes) == command
