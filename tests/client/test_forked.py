"""A forked child has its parent's client and none of its threads."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from quorate.client import Client, QuorateError

from .fake_node import FakeNode, plain_sync
from .test_synchronous import NodeThread

# What Python says of every fork beside threads is what this is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture
def kv() -> Iterator[Client]:
    """A client that is connected."""
    thread = NodeThread(FakeNode())
    thread.start()
    with plain_sync(thread.node.endpoint) as client:
        client.put("k", "v")
        yield client
        entry = client.get("k")
        assert entry is not None, "the parent goes on as before"
        assert entry.text == "v"
    thread.stop()


def in_a_child(work: Callable[[], object]) -> str:
    """What `work` comes to in a forked child; a hang ends it, and is nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "an error of another kind"
        try:
            signal.alarm(10)
            said = str(work())
        except QuorateError as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


CALLS: list[Callable[[Client], object]] = [
    lambda kv: kv.get("k"),
    lambda kv: kv.put("k", "w"),
    lambda kv: list(kv.range()),
    lambda kv: kv.watch("k").begin(),
    lambda kv: kv.lock("job").acquire(),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_in_a_forked_child_is_refused_at_once(
    kv: Client, call: Callable[[Client], object]
) -> None:
    said = in_a_child(lambda: call(kv))
    assert said == (
        "InvalidRequest: the client was made before a fork:"
        " make another one in the child"
    )


def test_a_forked_child_makes_another_one(kv: Client) -> None:
    def another() -> object:
        with plain_sync(kv.endpoints[0]) as own:
            entry = own.get("k")
            return None if entry is None else entry.text

    assert in_a_child(another) == "v"


def test_closing_in_a_forked_child_does_nothing(kv: Client) -> None:
    watch = kv.watch("k")

    def close() -> str:
        watch.close()
        kv.close()
        kv.close()
        return "closed"

    assert in_a_child(close) == "closed"


def test_forgetting_it_in_a_forked_child_does_nothing(kv: Client) -> None:
    def forget() -> str:
        kv.__del__()
        return "forgotten"

    assert in_a_child(forget) == "forgotten"
