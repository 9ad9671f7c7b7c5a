"""`/v1/caretaker`, and members that are spares, over real sockets."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest
from quorate.wire.caretaker import SetCaretaker
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import RequestKind
from quorate.wire.members import MakeToken, MemberRole, Reassign
from quorate.wire.requests import error_reply

from .support import MEMBERS, Port, http, open_port

ID = "00000000000000b2"
PATH = "/v1/caretaker"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


async def test_it_is_told_what_it_goes_by_and_what_it_did(port: Port) -> None:
    reply = await http(port, "GET", f"{PATH}?timeout=2s")
    assert reply.status == 200
    assert reply.json() == {
        "told_by": MEMBERS.told_by,
        "leader": MEMBERS.leader,
        "caretaker": json.loads(msgspec.json.encode(MEMBERS.caretaker)),
    }
    (asked,) = port.service.asked
    assert (asked.kind, asked.timeout_ms) == (RequestKind.MEMBERS, 2000)
    assert (await http(port, "HEAD", PATH)).body == b""


async def test_what_it_is_told_is_written_and_told_back(port: Port) -> None:
    replies = [
        await http(port, "POST", PATH, b'{"paused": true}'),
        await http(port, "POST", PATH, b'{"paused": false, "voters": 5}'),
        await http(
            port, "POST", PATH, b'{"silence_ms": 5000, "stable_ms": 2000, "lag_ms": 0}'
        ),
    ]
    assert [reply.status for reply in replies] == [200] * 3
    assert [reply.json() for reply in replies] == [
        {"paused": True},
        {"paused": False, "voters": 5},
        {"silence_ms": 5000, "stable_ms": 2000, "lag_ms": 0},
    ]
    assert port.service.wished == [
        SetCaretaker(paused=True),
        SetCaretaker(paused=False, voters=5),
        SetCaretaker(silence_ms=5000, stable_ms=2000, lag_ms=0),
    ]


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{}", b"[]", b"{", b"\xff", b'{"paused": 1}', b'{"more": 1}'),
        *(b'{"voters": 2}', b'{"voters": 9}', b'{"voters": 3.5}'),
        *(b'{"silence_ms": 1}', b'{"stable_ms": 1}', b'{"lag_ms": 1}'),
        b'{"voters": 18446744073709551616}',
    ],
)
async def test_what_can_not_be_meant_is_refused(port: Port, document: bytes) -> None:
    reply = await http(port, "POST", PATH, document)
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert not port.service.asked


async def test_a_refusal_says_that_nothing_was_done(port: Port) -> None:
    code = ErrorCode.NO_LEADER
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "not so")
    reply = await http(port, "POST", PATH, b'{"paused": true}')
    assert (reply.status, reply.json()["outcome"]) == (503, "not_applied")


async def test_other_methods_parameters_and_bodies_are_refused(port: Port) -> None:
    reply = await http(port, "DELETE", PATH)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, POST")
    assert (await http(port, "GET", PATH, b"x")).status == 400
    assert (await http(port, "GET", f"{PATH}?a=b")).status == 400
    assert (await http(port, "POST", PATH, b"{}", If_Match='"1"')).status == 400
    assert not port.service.asked


async def test_members_may_be_spares(port: Port) -> None:
    reply = await http(port, "POST", f"/v1/members/{ID}/spare")
    assert reply.json() == {"id": ID, "wanted": "spare"}
    made = await http(port, "POST", "/v1/tokens?role=spare")
    assert made.json()["role"] == "spare"
    first, second = port.service.wished
    assert first == Reassign(0xB2, MemberRole.SPARE, 0)
    assert isinstance(second, MakeToken)
    assert second.role is MemberRole.SPARE
