"""A node that had been told to end dialled one of its peers for ever.

`asyncio.wait_for` may swallow that its task was cancelled when what it waits for comes
in the same moment (until Python 3.12). A link waited so for its next try; a peer that
was lost while the node ended made it hurry just then, and closing waited for a task
that went on. Found by a test of revocation on a busy machine: the revoked node said
that it stops, and ran on.
"""

import asyncio
import socket
import ssl
from typing import Any, cast

import pytest
from quorate.node.address import Address
from quorate.node.peer_hello import Stream
from quorate.node.transport import Link

ENDED_S = 10.0


class Host:
    """Nobody is where its links lead."""

    parting = False

    def __init__(self) -> None:
        self.refused = asyncio.Event()

    def link_refused(self, member: int) -> None:
        del member
        self.refused.set()


@pytest.mark.parametrize("steps", range(6))
async def test_a_link_ends_also_when_it_is_told_to_hurry_at_once(steps: int) -> None:
    host = Host()
    # Bound and not listened at: whoever dials is refused.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        link = Link(
            cast(Any, host),
            2,
            Address("127.0.0.1", nobody.getsockname()[1]),
            Stream.RAFT,
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            lambda: 1000.0,
        )
        async with asyncio.timeout(30):
            await host.refused.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        link.hurry()
        for _ in range(steps):
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(link.close())
        await asyncio.wait({closing}, timeout=ENDED_S)
        ended = link.task.done()
        # Whoever failed leaves no task behind.
        link.task.cancel()
        await closing
        assert ended
