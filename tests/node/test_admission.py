"""Who is let in by a token: what is looked at before anything is written."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node import admission
from quorate.node.admission import Admission
from quorate.node.database.member_records import Token
from quorate.node.identity import Voter
from quorate.node.join_wire import JoinRequest
from quorate.node.peer_hello import HelloError
from quorate.wire import MemberRole, token_digest

TOKEN, SECRET, KEY = 9, b"s" * 16, b"k" * 32
CONFIGURED = (1, 2, 3)


class Table:
    """n1 has said where it is; n2 and n3 are as silent as n4, who has left."""

    def __init__(self) -> None:
        self.members: dict[int, object] = {
            1: SimpleNamespace(key=b""),
            5: SimpleNamespace(key=KEY),
            6: SimpleNamespace(key=KEY),
        }
        self.gone = {4: object()}
        token = Token(token_digest(SECRET), 1000, 1, MemberRole.VOTER)
        self.tokens = {TOKEN: token}
        self.trust = SimpleNamespace(members=(5,))

    def everybody(self, known: tuple[int, ...]) -> set[int]:
        return {*known, *self.members} - self.gone.keys()


class Node:
    def __init__(self) -> None:
        database = SimpleNamespace(member_table=Table())
        raft = SimpleNamespace(configuration=CONFIGURED)
        self.replica = SimpleNamespace(database=database, raft=raft)
        self.met: dict[int, object] = {}
        voters = {number: Voter(f"n{number}", "h:1") for number in (1, 2, 3, 4)}
        self.identity = SimpleNamespace(voters=voters)


@pytest.fixture(autouse=True)
def no_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def catch_up(node: Node, timeout_ms: int) -> None:
        del node, timeout_ms

    monkeypatch.setattr(admission, "catch_up", catch_up)


async def check(name: str, secret: bytes = SECRET, member: int = 77) -> None:
    request = JoinRequest(TOKEN, secret, member, name, "h:1", "http://h:2", b"")
    await Admission(cast(Any, Node()))._check(request, KEY)


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
async def test_nobody_takes_the_name_of_a_first_voter_that_is_silent(name: str) -> None:
    """Story: names were compared in the log alone. A first voter that was down while
    another machine joined by its name could never say where it was any more, and said
    it twice a second for ever.
    """
    with pytest.raises(HelloError, match="first voter"):
        await check(name)


@pytest.mark.parametrize("name", ["n4", "n7"])
async def test_the_name_of_one_that_has_left_is_free(name: str) -> None:
    await check(name)


async def test_who_asks_again_needs_no_token_unless_it_was_revoked() -> None:
    """Story: whoever had a revoked member's first key, and no token, was signed another
    certificate for it, and moved the member in the log.
    """
    await check("n6", b"x" * 16, 6)
    with pytest.raises(HelloError, match="was revoked"):
        await check("n5", b"x" * 16, 5)


async def test_who_has_no_secret_is_told_nothing_of_names() -> None:
    with pytest.raises(HelloError, match="no such token"):
        await check("n2", b"x" * 16)
