"""members, member, token, move-leader: what is shown, what is asked, exit codes."""

import json
from collections.abc import Callable

import msgspec
import pytest
from click.testing import Result
from quorate.client import (
    LastVoter,
    Member,
    MemberNotFound,
    Members,
    QuorumAtRisk,
    Token,
    TokenRefused,
    Unavailable,
)

from .fake_client import FakeClient

Run = Callable[..., Result]

A1, A2, B3 = "a100000000000001", "a200000000000002", "b300000000000003"
E5, E6 = "e500000000000000", "e600000000000000"


def known(told_by: str = A1, leader: str | None = A1, waits_for: str = "") -> Members:
    return Members(
        cluster_id="00000000000000c1",
        authority="ab" * 32,
        told_by=told_by,
        leader=leader,
        commit_index=17,
        waits_for=waits_for,
        members=(
            Member(
                *(A1, "n1", "voter", True, leader == A1, True, 19, "h1:1", "http://c1"),
                *(None, "suspect", "0.1", 15, 12),
            ),
            Member(A2, "n2", "voter", False, leader == A2, True, 12, "h2:1", "", 40),
            Member(B3, "", "leaving", True, False, False, 0, "", "", 73_900),
        ),
        tokens=(Token(E5, "replica", 2, 90_000), Token(E6, "voter", 1, 500)),
    )


@pytest.fixture
def members(cluster: FakeClient) -> FakeClient:
    cluster.known = known()
    return cluster


@pytest.mark.parametrize("words", [["members"], ["member", "list"]])
def test_members_are_shown_with_what_they_are_and_shall_be(
    run: Run, members: FakeClient, words: list[str]
) -> None:
    members.known = known(waits_for="n2 has yet to catch up")
    lines = run(*words).output.splitlines()
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in lines if "|" in line
    ]
    ours, theirs = ["yes", "voter", "yes", "yes"], ["no", "voter", "no", "yes"]
    gone = ["yes", "leaving", "no", "no"]
    heard, nothing = ["suspect", "15", "12 ms", "0.1"], ["unknown", "-", "-", "-"]
    assert cells == [
        [
            *("ID", "NAME", "VOTES", "WANTED", "LEADER", "CONNECTED", "BEHIND"),
            *("SILENT", "HEALTH", "APPLIED", "LAG", "VERSION", "PEER", "CLIENT"),
        ],
        [A1, "n1", *ours, "0", "-", *heard, "h1:1", "http://c1"],
        [A2, "n2", *theirs, "5", "0s", *nothing, "h2:1", "-"],
        [B3, "-", *gone, "17", "73s", *nothing, "-", "-"],
    ]
    assert lines[-1] == "waiting: n2 has yet to catch up"
    shown = json.loads(run(*words, "-o", "json").output)
    assert shown["members"][1]["id"] == A2
    assert shown["waits_for"] == "n2 has yet to catch up"


@pytest.mark.parametrize("leader", [None, A2])
def test_without_the_leader_nobody_is_said_to_be_behind(
    run: Run, members: FakeClient, leader: str | None
) -> None:
    members.known = known(leader=leader)
    result = run("members")
    assert (result.exit_code, "| 5 " in result.stdout) == (0, False)
    assert "the leader was not asked" in result.stderr


@pytest.mark.parametrize("name", ["n2", A2, "a2", "A2000"])
def test_a_member_is_named_by_name_id_or_how_its_id_begins(
    run: Run, members: FakeClient, name: str
) -> None:
    for what, told in (
        ("promote", "shall vote"),
        ("demote", "shall be a replica"),
        ("spare", "shall be a spare"),
        ("remove", "shall leave"),
    ):
        assert run("member", what, name).output == f"member {A2} {told}\n"
        assert members.calls[-1] == (f"{what}_member", A2)


def test_a_member_is_replaced(run: Run, members: FakeClient) -> None:
    told = run("member", "replace", "b3", "n2").output
    assert told == f"member {B3} shall leave once {A2} votes\n"
    assert members.calls[-1] == ("replace_member", (B3, A2))
    shown = run("member", "replace", "b3", "n2", "-o", "json").output
    assert json.loads(shown) == {"id": B3, "wanted": "leaving"}


def test_a_name_that_says_nobody_or_two_is_refused(
    run: Run, members: FakeClient
) -> None:
    for name, code in (("n9", 3), ("a", 2), ("", 2)):
        for words in (["member", "remove"], ["move-leader"]):
            result = run(*words, name)
            assert (result.exit_code, result.stdout) == (code, "")
    assert {name for name, _ in members.calls} == {"members"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LastVoter("last_voter: told so"), 1),
        (QuorumAtRisk("quorum_at_risk: told so"), 1),
        (MemberNotFound("member_not_found: told so"), 3),
        (Unavailable("no_leader: told so"), 5),
    ],
)
def test_a_refusal_has_its_exit_code(
    run: Run, members: FakeClient, error: Exception, code: int
) -> None:
    members.errors = [error]
    result = run("member", "remove", "n1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert "told so" in result.stderr


# -- tokens ----------------------------------------------------------------------------


def test_a_token_is_the_line_that_starts_a_member(
    run: Run, members: FakeClient
) -> None:
    line = "quorate node --dir DIR --join h1:1 --token q1-secret"
    made = run("token", "create")
    assert made.stdout == line + "\n"
    assert "DIR is the new member's folder. Add --peer HOST:PORT" in made.stderr
    assert "secret" not in made.stderr
    assert members.calls[-1] == ("create_token", ("voter", 3600.0, 1))
    words = ["--role", "replica", "--ttl", "30m", "--uses", "3", "-w", "json"]
    shown = json.loads(run("token", "create", *words).output)
    assert shown == {"token": "q1-secret", "join": "h1:1", "command": line}
    assert members.calls[-1] == ("create_token", ("replica", 1800.0, 3))


def test_a_new_member_asks_the_leader_if_it_is_known(
    run: Run, members: FakeClient
) -> None:
    members.known = known(leader=A2)
    assert "--join h2:1 " in run("token", "create").output
    members.known = known(leader=None)
    assert "--join h1:1 " in run("token", "create").output


@pytest.mark.parametrize(
    "words", [["--role", "leaving"], ["--ttl", "0"], ["--ttl", "x"], ["--uses", "0"]]
)
def test_a_token_that_makes_no_sense_is_wrong_usage(
    run: Run, members: FakeClient, words: list[str]
) -> None:
    assert run("token", "create", *words).exit_code == 2
    assert not members.calls


def test_tokens_are_listed_and_dropped(run: Run, members: FakeClient) -> None:
    table = run("token", "list").output
    assert f"| {E5} | replica | 2    | 90s     |" in table
    assert json.loads(run("token", "list", "-o", "json").output)[1]["id"] == E6
    assert run("token", "drop", "E5").output == f"token {E5} dropped\n"
    assert members.calls[-1] == ("drop_token", E5)
    shown = run("token", "drop", E6, "-o", "json").output
    assert json.loads(shown) == {"id": E6, "result": "dropped"}


def test_no_token_is_dropped_by_an_empty_name(run: Run, members: FakeClient) -> None:
    """Story: a shell variable that was not set dropped the only one that was good."""
    assert run("token", "drop", "").exit_code == 2
    assert not members.calls


def test_a_token_that_is_not_there_is_not_dropped(
    run: Run, members: FakeClient
) -> None:
    for name in ("f", "e"):
        assert run("token", "drop", name).exit_code == 3
    assert {name for name, _ in members.calls} == {"members"}
    members.errors = [TokenRefused("token_refused: told so")]
    assert run("token", "create").exit_code == 1


# -- who leads -------------------------------------------------------------------------


def test_the_leadership_goes_to_a_member_or_to_whoever_is_furthest(
    run: Run, members: FakeClient
) -> None:
    assert run("move-leader", "n2").output == f"the leadership goes to {A2}\n"
    assert members.calls[-1] == ("move_leader", A2)
    told = run("move-leader").output
    assert told == "the leadership goes to the voter that is furthest\n"
    assert members.calls[-1] == ("move_leader", None)
    assert json.loads(run("move-leader", "-o", "json").output) == {"to": None}


@pytest.mark.parametrize(
    "words", [("member", "remove"), ("certs", "revoke"), ("member", "demote")]
)
def test_what_is_somebodys_id_is_nobody_elses_name(
    run: Run, members: FakeClient, words: tuple[str, ...]
) -> None:
    """Who had joined by the name of another's id was removed, or revoked, for ever."""
    shown = known()
    namesake = msgspec.structs.replace(shown.members[0], name=A2)
    everybody = (namesake, *shown.members[1:])
    members.known = msgspec.structs.replace(shown, members=everybody)
    assert A2 in run(*words, A2).stdout
    _, said = members.calls[-1]
    assert A2 in str(said)
    assert A1 not in str(said)
