"""Members in etcd's API: what is asked, and in whose words it is refused."""

import json
from collections.abc import AsyncIterator

import pytest
from quorate.node.api.etcd import errors
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.members import MemberRole, Reassign
from quorate.wire.requests import error_reply

from .support import Port, Reply, http, open_port

VOTER, LEARNER = 0xA1, 0xB2
REMOVE, PROMOTE = "cluster/member/remove", "cluster/member/promote"
TRANSFER = "maintenance/transfer-leadership"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


async def post(port: Port, path: str, body: object) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await http(port, "POST", f"/v3/{path}", data)


def ids(reply: Reply) -> list[str]:
    members = json.loads(reply.body)["members"]
    return [each["ID"] for each in members]


def refused(reply: Reply, code: int, message: str) -> None:
    assert (reply.json()["code"], reply.json()["message"]) == (code, message)
    assert reply.status == errors.HTTP_STATUS[code]


@pytest.mark.parametrize("number", ["178", 178])
async def test_a_member_is_removed_and_no_longer_listed(
    port: Port, number: str | int
) -> None:
    reply = await post(port, REMOVE, {"ID": number})
    assert (reply.status, ids(reply)) == (200, ["161"])
    assert "revision" not in json.loads(reply.body)["header"]
    assert port.service.wished == [Reassign(LEARNER, MemberRole.LEAVING, 0)]


async def test_a_learner_is_promoted(port: Port) -> None:
    reply = await post(port, PROMOTE, {"ID": str(LEARNER)})
    assert (reply.status, ids(reply)) == (200, ["161", "178"])
    assert port.service.wished == [Reassign(LEARNER, MemberRole.VOTER, 0)]


async def test_a_voter_is_not_promoted(port: Port) -> None:
    refused(await post(port, PROMOTE, {"ID": str(VOTER)}), 9, errors.NOT_A_LEARNER)
    assert not port.service.asked


@pytest.mark.parametrize("path", [REMOVE, PROMOTE])
async def test_a_member_that_nobody_is_is_not_found(port: Port, path: str) -> None:
    for body in (b"", {}, {"ID": 0}):
        refused(await post(port, path, body), 5, errors.MEMBER_NOT_FOUND)
    code = ErrorCode.MEMBER_NOT_FOUND
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "not so")
    largest = {"ID": str(2**64 - 1)}
    refused(await post(port, path, largest), 5, errors.MEMBER_NOT_FOUND)


@pytest.mark.parametrize("code", [ErrorCode.LAST_VOTER, ErrorCode.QUORUM_AT_RISK])
async def test_a_vote_that_is_needed_stays(port: Port, code: ErrorCode) -> None:
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "not so")
    reply = await post(port, REMOVE, {"ID": str(VOTER)})
    refused(reply, 9, errors.TOO_FEW_MEMBERS)


async def test_the_leadership_is_transferred(port: Port) -> None:
    reply = await post(port, TRANSFER, {"targetID": str(LEARNER)})
    assert (reply.status, list(reply.json())) == (200, ["header"])
    assert port.service.wished == [LEARNER]
    refused(await post(port, TRANSFER, {}), 9, errors.BAD_TRANSFEREE)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (ErrorCode.NO_LEADER, errors.NOT_LEADER),
        (ErrorCode.MEMBER_NOT_FOUND, errors.BAD_TRANSFEREE),
        (ErrorCode.INVALID_REQUEST, errors.BAD_TRANSFEREE),
        (ErrorCode.QUORUM_AT_RISK, errors.BAD_TRANSFEREE),
    ],
)
async def test_the_leadership_stays_in_etcds_words(
    port: Port, code: ErrorCode, message: str
) -> None:
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "not so")
    refused(await post(port, TRANSFER, {"targetID": "1"}), 9, message)


@pytest.mark.parametrize("value", ["-1", -1, 2**64, "x", 1.5, [], True])
@pytest.mark.parametrize(
    ("path", "field"), [(REMOVE, "ID"), (PROMOTE, "ID"), (TRANSFER, "targetID")]
)
async def test_an_id_that_is_none_is_refused(
    port: Port, path: str, field: str, value: object
) -> None:
    reply = await post(port, path, {field: value})
    assert (reply.status, reply.json()["code"]) == (400, 3)
    assert not port.service.asked


@pytest.mark.parametrize("what", ["add", "update"])
async def test_a_member_joins_by_a_token_alone(port: Port, what: str) -> None:
    reply = await post(port, f"cluster/member/{what}", {"peerURLs": ["http://a:1"]})
    assert (reply.status, reply.json()["code"]) == (501, 12)
    assert not port.service.asked
