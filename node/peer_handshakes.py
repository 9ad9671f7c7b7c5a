"""With whom the peer port shakes hands, and for whom there is room.

Law: a shell that decides by counting. Who has shown nothing yet is known by nothing but
the address it comes from, so where members have been met is remembered: strangers, from
however many addresses, leave some to those.
"""

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .peer_session import Session

HANDSHAKES_MAX: Final = 64
# From one address; and from all at which no member was met.
OF_ONE_MAX: Final = 48
OF_STRANGERS_MAX: Final = 48
# The addresses that are remembered: as many as there may be members, and some old ones.
HOSTS_MAX: Final = 256


class Handshakes:
    """Those of one node that go on, and where it has met members."""

    def __init__(self) -> None:
        self.open: dict[asyncio.Future[None], str] = {}
        # In the order in which they were met last.
        self.hosts: dict[str, None] = {}

    def has_room(self, host: str) -> bool:
        """May whoever comes from there begin one?"""
        others = list(self.open.values())
        strangers = sum(other not in self.hosts for other in others)
        return (
            len(others) < HANDSHAKES_MAX
            and others.count(host) < OF_ONE_MAX
            and (host in self.hosts or strangers < OF_STRANGERS_MAX)
        )

    def begin(self, task: "asyncio.Future[None]", host: str) -> None:
        """It goes on for as long as `task` does."""
        self.open[task] = host
        task.add_done_callback(self.open.pop)

    def met(self, session: "Session") -> None:
        """A member is at the other end, whoever dialled."""
        transport = session.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        if not peer:
            return
        self.hosts.pop(peer[0], None)
        self.hosts[peer[0]] = None
        if len(self.hosts) > HOSTS_MAX:
            del self.hosts[next(iter(self.hosts))]
