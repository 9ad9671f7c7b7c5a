"""Snapshots come in by a connection of their own, from its first byte on."""

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import cast

from quorate.node.node import Node
from quorate.node.peer_session import Session
from quorate.node.snapshots import Snapshots


async def test_what_arrives_before_the_transfers_task_begins_is_not_lost() -> None:
    """A sender may be quick: its head came first, was dropped, and nothing followed.

    The transfer then hung for a minute, or took the manifest for its head.
    """
    begun: list[Coroutine[None, None, None]] = []
    ended: list[Callable[[object], None]] = []
    node = SimpleNamespace(
        replica=SimpleNamespace(database=None),
        executor=None,
        stopping=False,
        background=begun.append,
    )
    session = SimpleNamespace(
        on_data=None,
        transport=None,
        closed=SimpleNamespace(add_done_callback=ended.append),
    )
    Snapshots(cast(Node, node)).take(2, cast(Session, session))
    assert session.on_data is not None
    session.on_data(b"the head")
    (task,) = begun
    task.close()
