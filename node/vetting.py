"""What becomes of connections when certificates change.

Law: a shell, and it decides nothing: what is good is for node/credentials to say. A
connection that is good stays; where it can be, another one is there before it ends.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

from .peer_hello import Stream
from .tls import PeerCertificate
from .transport import GRACE_S, Transport

# So long one whose certificate was revoked may take to show another one.
REDIAL_S: Final = 1.0

Objection: TypeAlias = Callable[[PeerCertificate], str | None]
Revokes: TypeAlias = Callable[[PeerCertificate], bool]


def use(transport: Transport, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Make connections with these from now on; those that are there stay."""
    transport.server_context = server
    transport.client_context = client
    for link in transport.links.values():
        link.context = client


def renew(transport: Transport, ended_s: float | None = None) -> None:
    """Dial anew; with a time, only where what is shown has ended by then."""
    for link in transport.links.values():
        shown = link.session.shown if link.session else None
        if ended_s is None or (shown is not None and shown.ends_s <= ended_s):
            link.renew()


def review(transport: Transport, objection: Objection, revokes: Revokes) -> None:
    """Part with whoever shows what is not good any more.

    What was revoked is cut off, where we dialled it a moment later: it may be a member
    that shows another certificate on the next connection. Else whoever dialled has
    shown a new one by now, and what is under way may arrive; who was dialled may show
    a new one.
    """
    loop = asyncio.get_running_loop()
    for session in [*transport.accepted, *transport.passing]:
        if session.shown is not None and revokes(session.shown):
            session.abort()
        elif session.shown is not None and objection(session.shown) is not None:
            loop.call_later(GRACE_S, session.close)
    for link in transport.links.values():
        shown = link.session.shown if link.session else None
        if shown is not None and objection(shown) is not None:
            link.renew(must=True)
        # The polite end of a connection waits for the other side, who may never answer.
        for session in filter(None, [link.session, *link.former]):
            if session.shown is not None and revokes(session.shown):
                loop.call_later(REDIAL_S, session.abort)


def speaks_by(transport: Transport, shown: PeerCertificate) -> bool:
    """Has the member of this certificate dialled this node with it, and is here now?

    Its hello has proved then that it has the member's data, as who has stolen the
    certificate alone can't.
    """
    member = shown.identity.member_id
    return any(
        each.member == member and each.shown == shown and not each.closed.done()
        for each in transport.accepted
    )


def shown(transport: Transport) -> dict[int, PeerCertificate]:
    """What those show that are connected now."""
    return {
        member: link.session.shown
        for (member, stream), link in transport.links.items()
        if stream is Stream.RAFT and link.session and link.session.shown
    }
