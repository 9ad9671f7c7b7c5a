"""caretaker: what it is told, and how it says what it does and waits for."""

import json

import msgspec
import pytest
from quorate.client import CaretakerStatus, Decided, InvalidRequest, Unavailable

from .fake_client import FakeClient
from .test_members import A1, A2, B3, Run, known

DONE = (
    Decided("replace", B3, A2, 90_000, "n3 not heard for 73 s, replaced by n2"),
    Decided("promote", A2, "", 2 * 86_400_000, "n2 votes: there were 2 of 3 voters"),
)


def told(
    members: FakeClient, caretaker: CaretakerStatus, leader: str | None = A1
) -> None:
    view = known(leader=leader)
    members.known = msgspec.structs.replace(view, caretaker=caretaker)


@pytest.fixture
def members(cluster: FakeClient) -> FakeClient:
    cluster.known = known()
    return cluster


def test_members_show_what_it_did_last_and_waits_for(
    run: Run, members: FakeClient
) -> None:
    told(members, CaretakerStatus(waits_for="no healthy spare", decisions=DONE))
    assert run("members").stdout.splitlines()[-2:] == [
        "caretaker: waiting: no healthy spare",
        "caretaker: n3 not heard for 73 s, replaced by n2 (1m ago)",
    ]
    told(members, CaretakerStatus(paused=True))
    assert run("members").stdout.splitlines()[-1] == "caretaker: paused"


def test_its_status_shows_all_that_it_goes_by(run: Run, members: FakeClient) -> None:
    told(members, CaretakerStatus(voters=5, lag_ms=0, decisions=DONE))
    lines = run("caretaker", "status").stdout.splitlines()
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in lines if "|" in line
    ]
    assert cells == [
        ["PAUSED", "VOTERS", "SILENCE", "STABLE", "LAG"],
        ["no", "5", "60s", "10s", "never"],
    ]
    assert lines[-2:] == [
        "caretaker: n3 not heard for 73 s, replaced by n2 (1m ago)",
        "caretaker: n2 votes: there were 2 of 3 voters (2d ago)",
    ]
    shown = json.loads(run("caretaker", "status", "-o", "json").output)
    assert (shown["voters"], shown["decisions"][0]["successor"]) == (5, A2)
    told(members, CaretakerStatus(), leader=None)
    assert "the leader was not asked" in run("caretaker", "status").stderr


def test_it_is_paused_and_goes_on(run: Run, members: FakeClient) -> None:
    assert run("caretaker", "pause").output == "the caretaker is paused\n"
    assert members.calls[-1] == ("set_caretaker", {"paused": True})
    assert run("caretaker", "resume").output == "the caretaker goes on\n"
    assert members.calls[-1] == ("set_caretaker", {"paused": False})
    shown = run("caretaker", "pause", "-o", "json").output
    assert json.loads(shown) == {"paused": True}


def test_it_is_told_what_to_go_by(run: Run, members: FakeClient) -> None:
    words = ["--voters", "5", "--silence", "2m", "--stable", "5s", "--lag", "300ms"]
    said = {"voters": 5, "silence": 120.0, "stable": 5.0, "lag": 0.3}
    assert run("caretaker", "set", *words).output == "the caretaker was told\n"
    assert members.calls[-1] == ("set_caretaker", said)
    shown = run("caretaker", "set", "--lag", "0", "-o", "json").output
    assert json.loads(shown) == {"lag": 0.0}
    assert members.calls[-1] == ("set_caretaker", {"lag": 0.0})


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidRequest("told so"), 2), (Unavailable("told so"), 5)]
)
def test_a_refusal_has_its_exit_code(
    run: Run, members: FakeClient, error: Exception, code: int
) -> None:
    members.errors = [error]
    result = run("caretaker", "set")
    assert (result.exit_code, result.stdout) == (code, "")
    assert "told so" in result.stderr


@pytest.mark.parametrize(
    "words", [["--voters", "x"], ["--silence", "0"], ["--stable", "x"], ["--lag", "x"]]
)
def test_what_makes_no_sense_is_wrong_usage(
    run: Run, members: FakeClient, words: list[str]
) -> None:
    assert run("caretaker", "set", *words).exit_code == 2
    assert not members.calls
