"""Members and tokens as callers have them, against nodes that write down the wishes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from hashlib import sha256
from typing import cast

import msgspec
import pytest
from quorate.client import (
    AsyncClient,
    InvalidRequest,
    LastVoter,
    MemberNotFound,
    QuorumAtRisk,
    Unavailable,
    Unknown,
)
from quorate.wire import (
    DropToken,
    ErrorCode,
    JoinRole,
    MakeToken,
    Member,
    MemberRole,
    Members,
    Outcome,
    Reassign,
    RequestFrame,
    RequestKind,
    Step,
    decode_join_token,
    token_digest,
)

from .fake_node import FakeNode, Session, hanging_up, mute, plain, refusing, running
from .jumping import JumpingLoop, run

A1, B2 = "00000000000000a1", "00000000000000b2"


def member(number: str, name: str, leads: bool, client: str) -> Member:
    return Member(
        id=number,
        name=name,
        wanted="voter",
        votes=True,
        leads=leads,
        connected=True,
        match_index=5 if leads else 0,
        peer=f"{name}:7500",
        client=client,
    )


def view(told_by: str, leader: str | None, url: str) -> Members:
    return Members(
        cluster_id="00000000000000c1",
        authority="ab" * 32,
        told_by=told_by,
        leader=leader,
        commit_index=5,
        waits_for="",
        members=(
            member(A1, "n1", leader == A1, url),
            member(B2, "n2", leader == B2, url),
        ),
        tokens=(),
    )


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    """A node that leads."""
    fake = FakeNode()
    async with running(fake):
        fake.members = view(A1, A1, f"http://{fake.endpoint}")
        yield fake


async def test_the_leader_is_asked_for_the_members(node: FakeNode) -> None:
    follower = FakeNode()
    follower.members = view(B2, A1, f"http://{node.endpoint}")
    async with running(follower), plain(follower.endpoint) as kv:
        assert (await kv.members()).told_by == A1
    assert (len(follower.requests), len(node.requests)) == (1, 1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "", "nonsense"])
async def test_what_another_node_sees_is_told_when_the_leader_is_not_reached(
    url: str,
) -> None:
    follower = FakeNode()
    follower.members = view(B2, A1, url)
    async with running(follower), plain(follower.endpoint) as kv:
        assert await kv.members() == follower.members
        follower.members = view(B2, None, url)
        assert (await kv.members()).leader is None


async def test_a_token_has_a_secret_of_which_the_cluster_learns_the_digest(
    node: FakeNode,
) -> None:
    async with plain(node.endpoint) as kv:
        text = await kv.create_token("replica", ttl=90, uses=3)
        other = await kv.create_token()
        made = decode_join_token(text)
        assert made.authority == b"\xab" * 32
        digest = token_digest(made.secret)
        again = decode_join_token(other)
        assert again.secret != made.secret
        await kv.drop_token(f"{made.token:016x}")
    assert node.wished == [
        MakeToken(made.token, digest, 90_000, 3, MemberRole.REPLICA),
        MakeToken(
            again.token, token_digest(again.secret), 3_600_000, 1, MemberRole.VOTER
        ),
        DropToken(made.token),
    ]
    for frame in node.requests:
        assert made.secret not in frame.body


@pytest.mark.parametrize("one", ["n1", A1])
@pytest.mark.parametrize("two", ["n2", B2])
async def test_a_member_is_named_by_name_or_id(
    node: FakeNode, one: str, two: str
) -> None:
    async with plain(node.endpoint) as kv:
        await kv.promote_member(one)
        await kv.demote_member(two)
        await kv.remove_member(one)
        await kv.replace_member(one, two)
        await kv.move_leader(two)
        await kv.move_leader()
    assert node.wished == [
        Reassign(0xA1, MemberRole.VOTER, 0),
        Reassign(0xB2, MemberRole.REPLICA, 0),
        Reassign(0xA1, MemberRole.LEAVING, 0),
        Reassign(0xA1, MemberRole.LEAVING, 0xB2),
        0xB2,
        0,
    ]


async def test_a_name_that_nobody_has_is_not_sent(node: FakeNode) -> None:
    async with plain(node.endpoint) as kv:
        for call in (kv.promote_member, kv.demote_member, kv.remove_member):
            with pytest.raises(MemberNotFound, match="'n9'"):
                await call("n9")
        with pytest.raises(MemberNotFound):
            await kv.replace_member("n1", "n9")
        with pytest.raises(MemberNotFound):
            await kv.move_leader("n9")
        assert node.members is not None
        nameless = msgspec.structs.replace(node.members.members[0], name="")
        node.members = msgspec.structs.replace(node.members, members=(nameless,))
        with pytest.raises(MemberNotFound):
            await kv.remove_member("")
    assert node.wished == []


IMPOSSIBLE: list[Callable[[AsyncClient], Coroutine[object, object, object]]] = [
    lambda kv: kv.create_token(cast(JoinRole, "boss")),
    lambda kv: kv.create_token(ttl=0),
    lambda kv: kv.create_token(ttl=float("nan")),
    lambda kv: kv.create_token(ttl=31 * 86_400),
    lambda kv: kv.create_token(uses=0),
    lambda kv: kv.create_token(uses=1001),
    lambda kv: kv.drop_token("a1"),
    lambda kv: kv.drop_token("0" * 16),
    lambda kv: kv.replace_member("n1", A1),
]


@pytest.mark.parametrize("call", IMPOSSIBLE)
async def test_what_can_not_be_meant_is_not_sent(
    node: FakeNode, call: Callable[[AsyncClient], Coroutine[object, object, object]]
) -> None:
    async with plain(node.endpoint) as kv:
        with pytest.raises(InvalidRequest):
            await call(kv)
    assert node.wished == []


@pytest.mark.parametrize(
    ("code", "error"),
    [(ErrorCode.QUORUM_AT_RISK, QuorumAtRisk), (ErrorCode.LAST_VOTER, LastVoter)],
)
async def test_what_the_voters_can_not_do_without_is_told_at_once(
    code: ErrorCode, error: type[QuorumAtRisk | LastVoter]
) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = refusing(code)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        with pytest.raises(error):
            await kv.remove_member(A1)
        with pytest.raises(error):
            await kv.move_leader(A1)
    assert (len(node.requests), other.requests) == (2, [])


async def test_a_node_that_does_not_lead_sends_the_call_on_to_the_next_one() -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = refusing(ErrorCode.NO_LEADER)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        await kv.move_leader(B2)
    assert other.wished == [0xB2]


async def test_moving_the_leadership_is_never_asked_twice() -> None:
    for answer in (hanging_up, refusing(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)):
        node, other = FakeNode(), FakeNode()
        node.answer = answer
        async with running(node, other) as endpoints, plain(endpoints) as kv:
            with pytest.raises(Unknown):
                await kv.move_leader(A1)
        assert (len(node.requests), other.requests) == (1, [])


async def test_a_malformed_list_of_members_is_not_believed(node: FakeNode) -> None:
    def garbage(session: Session, frame: RequestFrame) -> None:
        session.reply(frame, b"{}")

    node.answer = garbage
    async with plain(node.endpoint, timeout=0.2) as kv:
        with pytest.raises(Unavailable, match="malformed list of members"):
            await kv.members()


async def test_a_mute_leader_leaves_time_for_what_the_others_see(
    node: FakeNode,
) -> None:
    node.answer = mute
    follower = FakeNode()
    follower.members = view(B2, A1, f"http://{node.endpoint}")
    async with running(follower), plain(follower.endpoint, timeout=0.2) as kv:
        assert (await kv.members()).told_by == B2
    assert [frame.kind for frame in node.requests] == [RequestKind.MEMBERS]


async def test_without_learning_a_leader_is_asked_if_it_was_given(
    node: FakeNode,
) -> None:
    follower = FakeNode()
    follower.members = view(B2, A1, f"http://{node.endpoint}")
    async with running(follower):
        async with plain(follower.endpoint, learn=False, token="secret") as kv:
            assert (await kv.members()).told_by == B2
        assert node.sessions == []
        both = f"{follower.endpoint},{node.endpoint}"
        async with plain(both, learn=False) as kv:
            assert (await kv.members()).told_by == A1


EACH: list[Callable[[AsyncClient], Coroutine[object, object, object]]] = [
    lambda kv: kv.members(timeout=2),
    lambda kv: kv.caretaker(timeout=2),
    lambda kv: kv.create_token(timeout=2),
    lambda kv: kv.promote_member("n1", timeout=2),
    lambda kv: kv.replace_member("n1", "n2", timeout=2),
    lambda kv: kv.move_leader("n2", timeout=2),
    lambda kv: kv.revoke_certificate(member="n2", timeout=2),
    lambda kv: kv.rotate_authority(Step.TRUST, b"old", b"new", timeout=2),
]


@pytest.mark.parametrize("takes", [0.1, 0.9, 1.8])
@pytest.mark.parametrize("call", EACH)
def test_a_call_has_one_deadline_whatever_it_asks_of_whom(
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[AsyncClient], Coroutine[object, object, object]],
    takes: float,
) -> None:
    """Some node sees the members, the leader says nothing, no change is answered."""

    async def ask(
        kind: RequestKind, body: bytes, timeout: float, *rest: object, **options: bool
    ) -> Members:
        if kind != RequestKind.MEMBERS or takes > timeout:
            await silent(timeout)
        await asyncio.sleep(takes)
        known = view(B2, A1, "n1:7400")
        return msgspec.structs.replace(known, authority=sha256(b"old").hexdigest())

    async def ask_leader(
        at: object, kind: object, body: bytes, timeout: float, *_: object
    ):
        await silent(timeout)

    async def silent(timeout: float) -> None:
        await asyncio.sleep(timeout)
        raise Unavailable("nobody answers")

    async def main(loop: JumpingLoop) -> None:
        kv = plain("n2:7400")
        monkeypatch.setattr(kv._calls, "call", ask)
        monkeypatch.setattr(kv._calls, "call_at", ask_leader)
        begun = loop.time()
        with suppress(Unavailable):
            await call(kv)
        assert takes < loop.time() - begun <= 2 + 1e-6

    run(monkeypatch, main)
