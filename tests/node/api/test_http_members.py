"""`/v1/members`, `/v1/tokens` and `/v1/leader`, over real sockets."""

import json
from collections.abc import AsyncIterator

import pytest
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import RequestKind
from quorate.wire.join_tokens import decode_join_token, token_digest
from quorate.wire.members import DropToken, MakeToken, MemberRole, Reassign
from quorate.wire.membership import decode_members
from quorate.wire.requests import error_reply

from .support import MEMBERS, Port, Reply, http, open_port

ID, OTHER = "00000000000000b2", "00000000000000a1"
ONE = f"/v1/members/{ID}"
WITH = json.dumps({"with": OTHER}).encode()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def refused(reply: Reply, status: int, code: str) -> dict[str, object]:
    problem = reply.json()
    assert (reply.status, problem["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    return problem


# -- members ---------------------------------------------------------------------------


async def test_the_members_are_told_as_natively(port: Port) -> None:
    reply = await http(port, "GET", "/v1/members?timeout=2s")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert decode_members(reply.body) == MEMBERS
    (asked,) = port.service.asked
    kind = RequestKind.MEMBERS
    assert (asked.kind, asked.body, asked.timeout_ms) == (kind, b"", 2000)
    assert (await http(port, "HEAD", "/v1/members")).body == b""


async def test_a_wish_is_written_and_told_back(port: Port) -> None:
    replies = [
        await http(port, "POST", f"{ONE}/promote"),
        await http(port, "POST", f"{ONE}/demote?timeout=1s"),
        await http(port, "DELETE", ONE),
        await http(port, "POST", f"{ONE}/replace", WITH),
    ]
    assert [reply.status for reply in replies] == [200] * 4
    assert [reply.json() for reply in replies] == [
        {"id": ID, "wanted": "voter"},
        {"id": ID, "wanted": "replica"},
        {"id": ID, "wanted": "leaving"},
        {"id": ID, "wanted": "leaving", "successor": OTHER},
    ]
    assert {reply.headers["quorate-revision"] for reply in replies} == {"1"}
    assert port.service.wished == [
        Reassign(0xB2, MemberRole.VOTER, 0),
        Reassign(0xB2, MemberRole.REPLICA, 0),
        Reassign(0xB2, MemberRole.LEAVING, 0),
        Reassign(0xB2, MemberRole.LEAVING, 0xA1),
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.MEMBER_NOT_FOUND, 404),
        (ErrorCode.LAST_VOTER, 409),
        (ErrorCode.QUORUM_AT_RISK, 409),
        (ErrorCode.NO_LEADER, 503),
    ],
)
async def test_a_refusal_says_that_nothing_was_done(
    port: Port, code: ErrorCode, status: int
) -> None:
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "not so")
    for path, body in ((f"{ONE}/demote", None), (f"{ONE}/replace", WITH)):
        problem = refused(
            await http(port, "POST", path, body), status, code.name.lower()
        )
        assert problem["outcome"] == "not_applied"


@pytest.mark.parametrize(
    "name", ["b2", "0" * 16, "B" * 16, "n2", "1" * 17, "%31" * 16, "1" * 15 + "%0A"]
)
async def test_a_member_has_16_hex_digits(port: Port, name: str) -> None:
    path = f"/v1/members/{name}"
    for reply in (
        await http(port, "DELETE", path),
        await http(port, "POST", f"{path}/promote"),
        await http(port, "POST", f"{path}/replace", WITH),
        await http(port, "DELETE", f"/v1/tokens/{name}"),
    ):
        assert "16 hex digits" in str(refused(reply, 400, "invalid_request")["detail"])
    assert not port.service.asked


GARBAGE = [
    *(b"", b"{}", b"[]", b"null", b"{", b"\xff", b'{"with":1}', b'{"with":"n1"}'),
    *(b'{"with":null}', b'{"with":"' + ID.encode() + b'"}'),
    *(WITH[:-1] + b',"more":1}', b"[" * 1000, b" " * 1025),
]


@pytest.mark.parametrize("body", GARBAGE)
async def test_a_successor_that_makes_no_sense_is_refused(
    port: Port, body: bytes
) -> None:
    reply = await http(port, "POST", f"{ONE}/replace", body)
    large = len(body) > 1024
    code = "request_too_large" if large else "invalid_request"
    refused(reply, 413 if large else 400, code)
    assert not port.service.asked


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", ONE), ("POST", f"{ONE}/promote"), ("POST", "/v1/tokens")],
)
async def test_bodies_and_conditions_that_mean_nothing_are_refused(
    port: Port, method: str, path: str
) -> None:
    refused(await http(port, method, path, b"x"), 400, "invalid_request")
    reply = await http(port, method, path, If_Match='"1"')
    refused(reply, 400, "invalid_request")
    refused(await http(port, method, f"{path}?a=b"), 400, "invalid_request")
    assert not port.service.asked


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/members", "GET, HEAD"),
        ("GET", ONE, "DELETE"),
        ("GET", f"{ONE}/promote", "POST"),
        ("GET", "/v1/leader", "POST"),
        ("DELETE", "/v1/tokens", "GET, HEAD, POST"),
        ("GET", f"/v1/tokens/{ID}", "DELETE"),
    ],
)
async def test_other_methods_are_refused(
    port: Port, method: str, path: str, allow: str
) -> None:
    reply = await http(port, method, path)
    refused(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["", "/", f"/{ID}/", f"/{ID}/keepalive", f"/{ID}/promote/x", f"s/{ID}"]
)
async def test_other_paths_below_are_not_there(port: Port, path: str) -> None:
    if path:
        refused(await http(port, "POST", "/v1/members" + path), 404, "not_found")
    assert not port.service.asked


# -- tokens ----------------------------------------------------------------------------


async def test_a_token_is_made_and_its_secret_is_in_the_answer_alone(
    port: Port,
) -> None:
    reply = await http(port, "POST", "/v1/tokens?role=replica&ttl=2h&uses=3")
    assert (reply.status, reply.headers["cache-control"]) == (201, "no-store")
    shown = reply.json()
    made = decode_join_token(str(shown.pop("token")))
    assert shown == {
        "id": f"{made.token:016x}",
        "role": "replica",
        "uses": 3,
        "ttl_ms": 7_200_000,
    }
    assert made.authority == b"\xab" * 32
    digest = token_digest(made.secret)
    assert port.service.wished == [
        MakeToken(made.token, digest, 7_200_000, 3, MemberRole.REPLICA)
    ]
    assert all(made.secret not in asked.body for asked in port.service.asked)


async def test_a_token_lets_one_voter_in_within_an_hour_by_default(port: Port) -> None:
    first = (await http(port, "POST", "/v1/tokens")).json()
    assert (first["role"], first["uses"], first["ttl_ms"]) == ("voter", 1, 3_600_000)
    second = (await http(port, "POST", "/v1/tokens")).json()
    assert first["token"] != second["token"]


@pytest.mark.parametrize(
    "query",
    [
        *("role=boss", "role=", "role=leaving", "ttl=", "ttl=10", "ttl=999ms"),
        *("ttl=721h", "uses=0", "uses=1001", "uses=-1", "uses=1.0", "role=%FF"),
    ],
)
async def test_a_token_that_can_not_be_meant_is_refused(port: Port, query: str) -> None:
    refused(await http(port, "POST", f"/v1/tokens?{query}"), 400, "invalid_request")
    assert not port.service.asked


async def test_tokens_are_listed_without_their_secrets_and_dropped(port: Port) -> None:
    listed = await http(port, "GET", "/v1/tokens")
    token = {"id": "00000000000000e5", "role": "replica", "uses": 2}
    assert listed.json() == {"tokens": [{**token, "ends_in_ms": 60_000}]}
    dropped = await http(port, "DELETE", "/v1/tokens/00000000000000e5")
    assert (dropped.status, dropped.json()) == (200, {"id": "00000000000000e5"})
    assert port.service.wished == [DropToken(0xE5)]


async def test_a_token_that_is_not_there_is_refused(port: Port) -> None:
    code = ErrorCode.TOKEN_REFUSED
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "not so")
    reply = await http(port, "DELETE", "/v1/tokens/00000000000000e5")
    refused(reply, 403, "token_refused")


# -- who leads -------------------------------------------------------------------------


async def test_the_leadership_goes_to_a_member_or_to_whoever_is_furthest(
    port: Port,
) -> None:
    for body in (json.dumps({"to": ID}).encode(), b"", b"{}", b'{"to":null}', None):
        reply = await http(port, "POST", "/v1/leader", body)
        assert (reply.status, reply.body) == (202, b"{}")
    assert port.service.wished == [0xB2, 0, 0, 0, 0]


async def test_a_node_that_does_not_lead_says_who_does(port: Port) -> None:
    reason = "this node does not lead; member 00000000000000b2 does at http://n2:7400"
    port.service.error = error_reply(ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, reason)
    problem = refused(await http(port, "POST", "/v1/leader"), 503, "no_leader")
    assert (problem["detail"], problem["outcome"]) == (reason, "not_applied")


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"to":1}', b'{"to":"n1"}', b'{"at":"x"}', b"\xff"]
)
async def test_a_leader_that_makes_no_sense_is_refused(port: Port, body: bytes) -> None:
    refused(await http(port, "POST", "/v1/leader", body), 400, "invalid_request")
    assert not port.service.asked
