"""How a watch finds a node that takes it, and when it gives up.

The clock is the tests' (jumping.py): each time that is named here is exact.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from quorate.client import Closed, TlsFailed, Unauthenticated, Unavailable, watching
from quorate.client.links import ConnectFailed
from quorate.wire import ErrorCode

from .fake_node import FakeNode, hello_bytes, plain, running
from .jumping import JumpingLoop
from .jumping import run as run_jumping
from .scripted_links import Mute, ScriptedCalls, Silent, Takes
from .watching_node import WatchingNode, put_bodies

T = TypeVar("T")
PAUSE = watching._PAUSE_SECONDS_MIN


def run(patch: pytest.MonkeyPatch, main: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    """How long it took, and what came of it; no task is left behind."""

    async def timed(loop: JumpingLoop) -> tuple[float, T]:
        begun = loop.time()
        result = await main()
        took = loop.time() - begun
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left)
        return took, result

    return run_jumping(patch, timed)


# -- a mute node -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Mute, Silent])
def test_a_mute_node_leaves_time_for_all_the_others(
    monkeypatch: pytest.MonkeyPatch, kind: type[Mute | Silent]
) -> None:
    calls = ScriptedCalls(kind(), kind(), Takes())

    async def main() -> None:
        await (await calls.watch(timeout=6).begin()).close()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(4)
    assert calls.asked == [0, 1, 2]
    assert not calls.open


@pytest.mark.parametrize("count", [2, 16])
def test_every_node_is_asked_before_there_is_none(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    calls = ScriptedCalls(*[Mute() for _ in range(count)])

    async def main() -> None:
        with pytest.raises(Unavailable, match=rf"node:1: .*; node:{count}: "):
            await calls.watch(timeout=6).begin()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(6)
    assert calls.asked == list(range(count))


def test_the_last_of_many_nodes_is_still_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(*[Mute() for _ in range(15)], Takes())

    async def main() -> None:
        await (await calls.watch(timeout=6).begin()).close()

    took, _ = run(monkeypatch, main)
    assert took < 6


def test_watches_that_begin_together_leave_no_node_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Mute(), Takes())

    async def main() -> None:
        watches = [calls.watch(timeout=6) for _ in range(3)]
        await asyncio.gather(*[watch.begin() for watch in watches])
        for watch in watches:
            await watch.close()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(3)


def test_after_a_break_a_mute_node_is_left_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes(), Mute(), Takes())

    async def main() -> None:
        watch = await calls.watch(timeout=6, patience=60).begin()
        calls.nodes[0] = Mute()
        calls.connections[0].close("a test")
        await calls.wait_for_connections(2)
        await watch.close()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(PAUSE + 6 / 3)
    assert calls.asked == [0, 1, 2]


def test_after_a_break_a_silent_node_is_left_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes(), Silent())

    async def main() -> None:
        watch = await calls.watch(timeout=1, patience=60).begin()
        calls.connections[0].close("a test")
        await calls.wait_for_connections(3)
        await watch.close()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(2 * PAUSE + 1 / 2)
    assert calls.asked == [0, 1, 0]


async def test_a_watch_begins_at_the_node_that_answers_calls() -> None:
    """They went round: each second one began at a node that was known not to answer."""
    closed, node = FakeNode(), WatchingNode()
    closed.hello = hello_bytes(refused="no")
    async with running(closed, node) as endpoints, plain(endpoints, learn=False) as kv:
        await kv.get("k")
        tried = len(closed.sessions)
        for number in range(3):
            async with kv.watch("k"):
                await node.watch(number)
        assert len(closed.sessions) == tried
        # When it breaks it is the other one's turn all the same.
        async with kv.watch("k"):
            (await node.watch(3)).cut()
            await node.watch(4)
        assert len(closed.sessions) == tried + 1


# -- the deadline ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Mute, Silent])
@pytest.mark.parametrize("timeout", [0.5, 7.0, 30.0])
def test_beginning_ends_at_its_deadline_whatever_a_node_does(
    monkeypatch: pytest.MonkeyPatch, kind: type[Mute | Silent], timeout: float
) -> None:
    calls = ScriptedCalls(kind())

    async def main() -> None:
        with pytest.raises(Unavailable, match="node:1"):
            await calls.watch(timeout=timeout).begin()

    took, _ = run(monkeypatch, main)
    assert timeout - 1 <= took <= timeout + 0.001


def test_a_goodbye_that_is_waited_for_takes_no_time_from_the_next_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Silent(), Takes())
    calls.goodbye_seconds = 1

    async def main() -> None:
        watch = await calls.watch(timeout=1).begin()
        await watch.close()
        assert not calls.open

    took, _ = run(monkeypatch, main)
    # A half until the next one is asked, and its own goodbye.
    assert took == pytest.approx(1.5)


def test_nodes_that_refuse_it_are_asked_again_until_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(ErrorCode.NO_LEADER, ConnectFailed("refused"))

    async def main() -> None:
        with pytest.raises(Unavailable, match=r"node:1: .*; node:2: refused"):
            await calls.watch(timeout=6).begin()

    took, _ = run(monkeypatch, main)
    assert 5 < took <= 6
    assert calls.asked[:4] == [0, 1, 0, 1]
    assert 8 < len(calls.asked) < 40, "between two rounds there is a pause"


def test_a_node_that_takes_it_and_breaks_it_is_not_asked_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes(), Takes())

    async def main() -> None:
        watch = await calls.watch().begin()
        for number in range(20):
            calls.connections[number].close("a test")
            await calls.wait_for_connections(number + 2)
        await watch.close()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(20 * PAUSE)


def test_while_nothing_is_read_no_node_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader that has enough pauses the connection: it can't hear the node."""
    calls = ScriptedCalls(Takes())

    async def main() -> None:
        watch = await calls.watch(timeout=1, patience=3).begin()
        watch._buffered = watching.BUFFERED_BYTES_MAX
        for _ in range(2):
            calls.connections[-1].close("a test")
            await calls.wait_for_connections(len(calls.connections) + 1)
            # Longer than any patience.
            await asyncio.sleep(100)
            assert watch._paused
        assert watch._error is None
        await watch.close()

    run(monkeypatch, main)
    assert len(calls.connections) == 3


# -- no use in asking again ------------------------------------------------------------


def tls_failed() -> ConnectFailed:
    return ConnectFailed("the other side speaks TLS", hopeless=True, tls=True)


def test_when_no_node_speaks_our_tls_it_ends_at_once_as_calls_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(tls_failed(), tls_failed())

    async def main() -> None:
        with pytest.raises(TlsFailed, match="node:2: the other side") as failed:
            await calls.watch().begin()
        assert not failed.value.retryable

    took, _ = run(monkeypatch, main)
    assert took == 0
    assert calls.asked == [0, 1]


@pytest.mark.parametrize("refused", [True, False])
def test_one_node_that_will_never_have_it_is_passed_by(
    monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    failed = ConnectFailed("no", hopeless=True, refused=refused, tls=not refused)
    calls = ScriptedCalls(failed, Takes())

    async def main() -> None:
        await (await calls.watch().begin()).close()

    took, _ = run(monkeypatch, main)
    assert took == 0


def test_what_explains_something_is_told_rather_than_that_the_time_was_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = ConnectFailed("it wants a token", hopeless=True, refused=True)
    calls = ScriptedCalls(refused, Mute())

    async def main() -> None:
        with pytest.raises(Unauthenticated, match="wants a token"):
            await calls.watch(timeout=6).begin()

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(6)


def test_a_watch_that_has_begun_waits_for_a_node_that_will_have_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes())

    async def main() -> None:
        watch = await calls.watch(patience=60).begin()
        calls.nodes[0] = tls_failed()
        calls.connections[0].close("a test")
        await asyncio.sleep(30)
        calls.nodes[0] = Takes()
        await calls.wait_for_connections(2)
        await watch.close()

    took, _ = run(monkeypatch, main)
    assert took < 33


async def test_a_port_that_speaks_tls_alone_ends_a_watch_at_once() -> None:
    node = FakeNode()
    node.hello = b"\x15\x03\x01\x00\x02\x02\x46"
    async with running(node) as endpoints, plain(endpoints, timeout=60) as kv:
        async with asyncio.timeout(10):
            with pytest.raises(TlsFailed):
                await kv.watch("a").begin()
            with pytest.raises(TlsFailed):
                await kv.get("a")


# -- the end ---------------------------------------------------------------------------


def test_what_comes_while_it_is_closed_does_not_count_as_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes())

    async def main() -> int:
        watch = await calls.watch().begin()
        calls.connections[0].tell_now(put_bodies(2, [b"a"], b"v")[0])
        assert watch.revision == 1
        closing = asyncio.create_task(watch.close())
        await asyncio.sleep(0)
        calls.connections[0].tell_now(put_bodies(3, [b"a"], b"v")[0])
        await closing
        return watch.revision

    _, revision = run(monkeypatch, main)
    assert revision == 1


# -- a bug -----------------------------------------------------------------------------


def test_whatever_ends_its_task_is_raised_to_all_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They waited for ever, and who began it was told that it had begun."""
    calls = ScriptedCalls(ZeroDivisionError("a bug"))

    async def main() -> None:
        watch = calls.watch()
        reader = asyncio.create_task(anext(watch))
        with pytest.raises(ZeroDivisionError):
            await watch.begin()
        with pytest.raises(ZeroDivisionError):
            await reader
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await anext(watch)

    run(monkeypatch, main)
    assert not calls.open


def test_what_ends_its_task_later_is_raised_to_who_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes())

    async def main() -> None:
        async with calls.watch() as watch:
            calls.nodes[0] = ZeroDivisionError("a bug")
            calls.connections[0].close("a test")
            with pytest.raises(ZeroDivisionError):
                await anext(watch)

    run(monkeypatch, main)


def test_a_task_that_somebody_cancels_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Takes())

    async def main() -> None:
        watch = await calls.watch().begin()
        reader = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        assert watch._task is not None
        watch._task.cancel()
        with pytest.raises(Unavailable, match="cancelled"):
            await reader
        assert watch._task.cancelled()

    run(monkeypatch, main)
    assert not calls.open


def test_whoever_begins_a_watch_that_is_closed_meanwhile_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ScriptedCalls(Mute())

    async def main() -> None:
        watch = calls.watch()
        begins = asyncio.create_task(watch.begin())
        await asyncio.sleep(1)
        await watch.close()
        with pytest.raises(Closed, match="closed"):
            await begins

    took, _ = run(monkeypatch, main)
    assert took == pytest.approx(1)
