"""Errors as values: they travel between processes, and are copied."""

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable, Coroutine

import pytest
from quorate.client import AsyncClient, Closed, QuorateError, Unavailable, errors

from .fake_node import FakeNode, mute, plain, running
from .watching_node import WatchingNode

KINDS = [
    kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, QuorateError) and not name.startswith("_")
]


def made(kind: type[QuorateError]) -> QuorateError:
    parameters = inspect.signature(kind).parameters
    return kind(*["why", 3][: len(parameters)])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_after_a_journey_and_as_a_copy(
    kind: type[QuorateError],
) -> None:
    error = made(kind)
    error.add_note("on its way")
    for other in (
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(other) is kind
        assert str(other) == "why"
        assert vars(other) == vars(error)


async def test_who_tries_again_while_that_may_help_ends_with_his_client() -> None:
    """He was told for ever that the same call may do better later."""
    node = WatchingNode()
    async with running(node):
        kv = AsyncClient(node.endpoint, learn=False)
        await kv.put("k", "v")
        watch = await kv.watch("k").begin()
        await kv.close()
        calls = (
            lambda: kv.get("k"),
            lambda: kv.put("k", "v"),
            lambda: kv.status(node.endpoint),
            lambda: kv.watch("k").begin(),
            watch.begin,
            kv.lease(60).grant,
            kv.lock("job").acquire,
        )
        for call in calls:
            with pytest.raises(Unavailable, match="closed") as failed:
                await call()
            assert isinstance(failed.value, Closed)
            assert not failed.value.retryable


@pytest.mark.parametrize("ask", [AsyncClient.get, AsyncClient.status])
async def test_who_waits_while_his_client_is_closed_need_not_try_again(
    ask: Callable[[AsyncClient, str], Coroutine[object, object, object]],
) -> None:
    node = FakeNode()
    node.answer = mute
    async with running(node):
        kv = plain(node.endpoint, learn=False, timeout=60)
        argument = node.endpoint if ask is AsyncClient.status else "k"
        asking = asyncio.create_task(ask(kv, argument))
        await node.wait_for(lambda: bool(node.requests))
        await kv.close()
        with pytest.raises(Closed):
            await asking


def test_those_that_know_a_revision_are_among_them() -> None:
    assert {kind.__name__ for kind in KINDS if hasattr(made(kind), "revision")} == {
        "PreconditionFailed",
        "Compacted",
        "FutureRevision",
    }
