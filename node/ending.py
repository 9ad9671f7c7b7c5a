"""How a node ends: another takes the lead, who waits is answered, all is closed.

Law: a shell. After a fatal error nothing is written any more, nor said to peers. Who
was removed from the cluster ends in good order, and has no next start to prepare.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..storage.errors import StorageError
from ..wire import ErrorCode

if TYPE_CHECKING:
    from .node import Node

HAND_OVER_TIMEOUT_S: Final = 2.0
# For what the journal's thread is at when the node has failed.
DISK_TIMEOUT_S: Final = 2.0

logger = logging.getLogger("quorate.node")


async def end(node: "Node") -> None:
    """Once; nothing of the node is left when it returns."""
    assert node.failed is not None
    comes_back = not node.failed.done()
    if not _failed(node):
        await _hand_over(node)
        # From here on no forwarded request is taken: the goodbye says so.
        node.deaf = True
        node.loop.turn()
    replies, answers = node.replica.end()
    if not _failed(node):
        node.say_goodbye(answers)
    for reply in replies:
        reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
    await node.listener.close()
    if _failed(node):
        await node.loop.give_up(DISK_TIMEOUT_S)
    else:
        await node.loop.close()
    for task in list(node.tasks):
        task.cancel()
    await asyncio.gather(*node.tasks, return_exceptions=True)
    if comes_back and not _failed(node):
        await _last_flush(node)
    await node.transport.close()
    node.executor.shutdown()
    node.stable.close()
    node.lock.release()
    logger.info("%s has stopped", node.config.name)


def _failed(node: "Node") -> bool:
    """Its disk may also fail while it ends."""
    assert node.failed is not None
    return node.failed.done() and not node.parting


async def _hand_over(node: "Node") -> None:
    """Another voter takes over before this one goes; bounded."""
    member = node.replica.prepare_stop()
    if member:
        node.loop.plan_turn()
        await _wait_while(node, lambda: node.replica.raft.is_leader)
        if not node.replica.raft.is_leader:
            logger.info("leadership was handed over")
    if node.parting:
        # No leader will take them from a member that is none.
        reason = "this member was removed from the cluster"
        node.replica.writes.refuse_waiting(ErrorCode.STOPPING, reason)
        node.loop.plan_turn()
    # Forwarded writes of our own clients get their answers, within the bound.
    await _wait_while(node, lambda: node.replica.writes.count() > 0)


async def _wait_while(node: "Node", condition: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
            while condition() and not node.loop.stopped:
                await node.loop.turned()
    except TimeoutError:
        logger.warning("the node ends with requests that were not answered")


async def _last_flush(node: "Node") -> None:
    """A clean stop leaves nothing to replay."""
    store = node.replica.database.store
    try:
        await asyncio.get_running_loop().run_in_executor(node.executor, store.flush)
    except (StorageError, OSError) as error:
        # The journal has it all; only the next start takes a little longer.
        logger.warning("the last flush was not done: %s", error)
