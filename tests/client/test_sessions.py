"""Writes in sessions: asked again when that may help, and done once all the same."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from quorate.client import (
    AsyncClient,
    Forbidden,
    LeaseNotFound,
    PreconditionFailed,
    Unavailable,
    Unknown,
    sessions,
)
from quorate.client.calls import Calls
from quorate.client.sessions import Writes
from quorate.wire import (
    DEFAULT_LIMITS,
    SESSION_WINDOW,
    ErrorCode,
    InSession,
    OpenSession,
    Outcome,
    Place,
    RequestFrame,
    decode_command,
)

from .fake_node import FakeNode, Session, hanging_up, mute, plain, refusing, running

Answer = Callable[[Session, RequestFrame], None]


def is_write(frame: RequestFrame) -> bool:
    return isinstance(decode_command(frame.body, DEFAULT_LIMITS), InSession)


def places(node: FakeNode) -> list[Place]:
    """Of all writes that came, in order."""
    found = [decode_command(frame.body, DEFAULT_LIMITS) for frame in node.requests]
    return [command.place for command in found if isinstance(command, InSession)]


def first_time(node: FakeNode, instead: Answer, *, done: bool) -> None:
    """Answer the first write otherwise, before or after it was carried out."""
    left = [instead]

    def answer(session: Session, frame: RequestFrame) -> None:
        if not (left and is_write(frame)):
            node.serve(session, frame)
            return
        if done:
            command = decode_command(frame.body, DEFAULT_LIMITS)
            assert isinstance(command, InSession)
            node.once(frame, command)
        left.pop()(session, frame)

    node.answer = answer


def refused(code: ErrorCode, outcome: Outcome) -> Answer:
    return lambda session, frame: session.refuse(frame, code, outcome)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "instead", [hanging_up, refused(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)]
)
async def test_a_write_whose_fate_was_lost_is_asked_again_and_done_once(
    instead: Answer, done: bool
) -> None:
    node = FakeNode()
    first_time(node, instead, done=done)
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        assert await kv.put("k", "v") == 2
        assert node.revision == 2
    assert [place.sequence for place in places(node)] == [1, 1]
    assert len(node.opened) == 0


async def test_another_node_is_asked_while_there_is_time() -> None:
    silent, other = FakeNode(), FakeNode()
    other.opened, other.told = silent.opened, silent.told
    first_time(silent, mute, done=True)
    async with running(silent, other) as endpoints, AsyncClient(endpoints) as kv:
        assert await kv.put("k", "v", timeout=1.0) == 2
        assert places(other)
        assert other.revision == 1


async def test_the_logs_answer_is_the_answer_whichever_try_it_came_to() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        await kv.put("k", "v")
        first_time(node, hanging_up, done=True)
        with pytest.raises(PreconditionFailed) as failed:
            await kv.put("k", "w", if_revision=9)
        assert failed.value.revision == 2
        first_time(node, hanging_up, done=True)
        with pytest.raises(LeaseNotFound):
            await kv.put("k", "w", lease=7)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.NO_LEADER,
        ErrorCode.TOO_BUSY,
        ErrorCode.STOPPING,
        ErrorCode.NO_SPACE,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.REQUEST_TOO_LARGE,
        ErrorCode.SESSION_NOT_FOUND,
        ErrorCode.QUORUM_AT_RISK,
    ],
)
async def test_a_refusal_after_a_lost_try_says_nothing_of_that_one(
    code: ErrorCode,
) -> None:
    node = FakeNode()
    first_time(node, hanging_up, done=True)
    serve = node.answer

    def answer(session: Session, frame: RequestFrame) -> None:
        if node.told and is_write(frame):
            session.refuse(frame, code)
        else:
            serve(session, frame)

    node.answer = answer
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        with pytest.raises(Unknown):
            await kv.put("k", "v", timeout=0.3)
    assert node.revision == 2


async def test_a_write_that_nobody_took_did_not_happen() -> None:
    node = FakeNode()
    serve = node.serve

    def answer(session: Session, frame: RequestFrame) -> None:
        if is_write(frame):
            session.refuse(frame, ErrorCode.NO_LEADER)
        else:
            serve(session, frame)

    node.answer = answer
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        with pytest.raises(Unavailable):
            await kv.put("k", "v", timeout=0.2)


async def test_a_session_that_cannot_be_opened_means_that_nothing_happened() -> None:
    node = FakeNode()
    node.answer = mute
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        results = await asyncio.gather(
            *[kv.put("k", "v", timeout=0.1 + 0.05 * n) for n in range(4)],
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [Unavailable] * 4
        assert node.revision == 1
        # Whoever comes later is not told of their deadlines.
        node.answer = node.serve
        assert await kv.put("k", "v") == 2


async def test_a_write_that_comes_as_an_opening_fails_asks_for_another_one() -> None:
    """Story: it waited for what had failed already, again and again.

    To wait for something that is over does not wait: so the loop never went on, and
    with it the whole process stood still.
    """
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

    class Asked:
        def belong_to(self, loop: object) -> None:
            """It has but one."""

        async def call(self, *_: object, **__: object) -> Any:
            answer: asyncio.Future[Any] = loop.create_future()
            asked.put_nowait(answer)
            return await answer

    writes = Writes(cast("Calls", Asked()), sessions=True)
    first = loop.create_task(writes.write(b"", 60.0, bytes))
    (await asked.get()).set_exception(Unavailable("nobody was there"))
    # It begins when the opening has just failed, and before anybody is told of that.
    second = loop.create_task(writes.write(b"", 60.0, bytes))
    again = await asked.get()
    with pytest.raises(Unavailable):
        await first
    again.set_exception(Unavailable("nor then"))
    with pytest.raises(Unavailable):
        await second


async def test_a_session_that_is_over_is_replaced_unseen() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        await kv.put("k", "v")
        node.opened.clear()
        assert await asyncio.gather(kv.put("k", "w"), kv.put("k", "x")) == [3, 4]
        assert len(node.opened) == 1


async def test_all_writes_of_a_client_are_numbered_and_finished_in_turn() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        await asyncio.gather(*[kv.put("k", str(n)) for n in range(50)])
        await kv.delete("k")
        async with kv.lease(5):
            pass
        await kv.compact(node.revision)
    numbers = {place.sequence: place.lowest for place in places(node)}
    assert list(numbers) == [*range(1, 55)]
    assert numbers[50] == 1
    assert numbers[51] == 51
    assert len({place.session for place in places(node)}) == 1


async def test_a_call_that_was_given_up_is_finished_too() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        await kv.put("k", "v")
        node.answer = mute
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await kv.put("k", "w")
        with pytest.raises(Unknown):
            await kv.put("k", "w", timeout=0.05)
        node.answer = node.serve
        await kv.put("k", "x")
    last = places(node)[-1]
    assert (last.sequence, last.lowest) == (4, 4)


@pytest.mark.slow
async def test_more_writes_than_a_session_has_numbers_open_another_one() -> None:
    node = FakeNode()
    held: list[tuple[Session, RequestFrame]] = []

    def hold(session: Session, frame: RequestFrame) -> None:
        if is_write(frame):
            held.append((session, frame))
        else:
            node.serve(session, frame)

    node.answer = hold
    async with running(node) as endpoints, AsyncClient(endpoints, timeout=60) as kv:
        wanted = SESSION_WINDOW + 7
        tasks = [asyncio.create_task(kv.put("k", str(n))) for n in range(wanted)]
        await node.wait_for(lambda: len(held) == wanted)
        for session, frame in held:
            node.serve(session, frame)
        assert sorted(await asyncio.gather(*tasks)) == [*range(2, wanted + 2)]
        assert len(node.opened) == 2


async def test_thousands_that_wait_for_sessions_do_not_look_again_at_each_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They held the loop for seconds, and ended long after their deadlines."""
    monkeypatch.setattr(sessions, "SESSION_WINDOW", 10)
    looks = 0
    look = Writes._with_room

    def counted(writes: Writes) -> object:
        nonlocal looks
        looks += 1
        return look(writes)

    monkeypatch.setattr(Writes, "_with_room", counted)
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints, timeout=60) as kv:
        puts = [kv.put("k", str(n)) for n in range(1000)]
        assert sorted(await asyncio.gather(*puts)) == [*range(2, 1002)]
        assert looks < 4000
        # What has room again takes more of them.
        assert len(node.opened) < 50
        assert not kv._writes._waiting
        assert not kv._writes._told


async def test_what_one_is_told_for_good_all_are_who_wait_for_a_session() -> None:
    node = FakeNode()
    node.answer = refusing(ErrorCode.FORBIDDEN)
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        puts = [kv.put("k", str(n)) for n in range(50)]
        found = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(each) for each in found} == {Forbidden}
        assert len(node.requests) == 1


async def test_who_gives_up_waiting_for_a_session_keeps_nobody_else_waiting() -> None:
    node = FakeNode()
    node.answer = mute
    async with running(node) as endpoints, AsyncClient(endpoints, timeout=60) as kv:
        first, second, third, fourth = (
            asyncio.create_task(kv.put("k", str(n))) for n in range(4)
        )
        await node.wait_for(lambda: len(node.requests) == 1)
        # Of whom the first had asked.
        first.cancel()
        second.cancel()
        node.answer = node.serve
        node.serve(node.sessions[0], node.requests[0])
        third.cancel()
        assert await fourth == 2
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert not kv._writes._waiting
        assert not kv._writes._told


async def test_without_sessions_none_is_opened() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await kv.put("k", "v")
    assert not node.opened
    assert not any(is_write(frame) for frame in node.requests)


async def test_a_client_that_only_reads_opens_none() -> None:
    node = FakeNode()
    async with running(node) as endpoints, AsyncClient(endpoints) as kv:
        await kv.get("k")
    commands = [f for f in node.requests if f.kind == 2]
    assert not commands


async def test_the_end_of_a_client_waits_for_no_node_that_is_silent() -> None:
    node = FakeNode()
    async with running(node) as endpoints:
        kv = AsyncClient(endpoints, timeout=600)
        await kv.put("k", "v")
        node.answer = mute
        async with asyncio.timeout(10):
            await kv.close()
    assert node.opened


async def test_a_write_that_waits_for_a_session_ends_with_its_client() -> None:
    node = FakeNode()
    node.answer = mute
    async with running(node) as endpoints:
        kv = AsyncClient(endpoints, timeout=600)
        put = asyncio.create_task(kv.put("k", "v"))
        await node.wait_for(lambda: bool(node.requests))
        opening = decode_command(node.requests[0].body, DEFAULT_LIMITS)
        assert isinstance(opening, OpenSession)
        async with asyncio.timeout(10):
            await kv.close()
        with pytest.raises(Unavailable):
            await put
