"""The one door between the client port and its node.

Law: nothing in this folder reaches the node but through `Door`, and the door does
nothing in nobody's name. Over HTTP the name is that of the request which is served in
this context; whatever forgets to set it is NOBODY, who may do nothing. A native
connection is let in by its hello, as one principal until it ends.
"""

import hmac
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from typing import Final, TypeAlias

from ...wire.errors import ErrorCode, Outcome, ProtocolError
from ...wire.frames import REFUSED, RequestKind
from ...wire.requests import encode_error, error_reply
from ..statistics import Statistics
from ..timings import NodeTimings
from . import rights
from .errors import Problem
from .operations import operations_of
from .options import ApiOptions
from .rights import (
    ANYBODY,
    HOLDER,
    NO_CERTIFICATE,
    NOBODY,
    Action,
    Operation,
    Principal,
    Refusal,
)
from .service import Member, Position, Service, Sink, WatchSink

Submit: TypeAlias = Callable[[Sink, int, int, bytes, int], None]

# In whose name this task asks.
ASKING: Final[ContextVar[Principal]] = ContextVar("asking", default=NOBODY)

_WRITES: Final = (RequestKind.WRITE, RequestKind.MOVE_LEADER)


def check(action: Action) -> None:
    """Raise Problem when whoever asks here may not do this."""
    try:
        rights.authorize(ASKING.get(), Operation(action))
    except Refusal as refusal:
        raise Problem(refusal.code, refusal.reason, close=True) from None


class Door:
    """The service, for whoever may use it."""

    def __init__(self, service: Service, options: ApiOptions) -> None:
        self._service: Service = service
        self._options: ApiOptions = options

    def principal(self, token: bytes | None, certified: Principal | None) -> Principal:
        """Who shows this token, or none, and is `certified` to be somebody, or not.

        Where both are wanted, both have to be good; the name is the certificate's.
        """
        tls = self._options.tls
        if tls is not None and tls.wants_certificates and certified is None:
            return NO_CERTIFICATE
        if certified is not None and not certified.unlimited:
            return certified
        if not self._options.token_digests:
            return certified or ANYBODY
        digest = sha256(token or b"").digest()
        # All are compared, each in constant time: how long it takes tells nothing.
        found = [hmac.compare_digest(digest, d) for d in self._options.token_digests]
        return (certified or HOLDER) if any(found) else NOBODY

    def entrance(self, principal: Principal) -> Submit:
        """`submit` in the name of `principal`."""
        if principal.unlimited:
            # Nothing of it has to be looked at.
            return self._service.submit
        return partial(self._submit, principal)

    def submit(
        self, sink: Sink, request_id: int, kind: int, body: bytes, timeout_ms: int
    ) -> None:
        """As Service.submit, in the name of whoever asks here."""
        self.entrance(ASKING.get())(sink, request_id, kind, body, timeout_ms)

    def _submit(
        self,
        principal: Principal,
        sink: Sink,
        request_id: int,
        kind: int,
        body: bytes,
        timeout_ms: int,
    ) -> None:
        try:
            for operation in operations_of(kind, body, self._options.limits):
                rights.authorize(principal, operation)
        except (Refusal, ProtocolError) as refused:
            self._refuse(sink, request_id, kind, refused.code, refused.reason)
            return
        self._service.submit(sink, request_id, kind, body, timeout_ms)

    def _refuse(
        self, sink: Sink, request_id: int, kind: int, code: ErrorCode, reason: str
    ) -> None:
        outcome = Outcome.NOT_APPLIED if kind in _WRITES else Outcome.NONE
        error = error_reply(code, outcome, reason)
        body = encode_error(error, self._options.limits)
        sink.reply(request_id, kind, REFUSED, body)

    # -- what is told without a request --------------------------------------------

    def statistics(self) -> Statistics:
        """As Service.statistics; raises Problem."""
        check(Action.SEE_STATUS)
        return self._service.statistics()

    def timings(self) -> NodeTimings:
        """As Service.timings; raises Problem."""
        check(Action.SEE_STATUS)
        return self._service.timings()

    def members(self) -> tuple[Member, ...]:
        """As Service.members; raises Problem."""
        check(Action.SEE_MEMBERS)
        return self._service.members()

    def backup(self, timeout_ms: int) -> AsyncGenerator[bytes]:
        """As Service.backup; raises Problem."""
        check(Action.BACK_UP)
        return self._service.backup(timeout_ms)

    # What is no secret, or part of an answer that was allowed.

    def endpoints(self) -> tuple[str, ...]:
        """As Service.endpoints."""
        return self._service.endpoints()

    def position(self) -> Position:
        """As Service.position."""
        return self._service.position()

    def troubles(self) -> tuple[str, ...]:
        """As Service.troubles."""
        return self._service.troubles()

    def gone(self, sink: WatchSink) -> None:
        """As Service.gone."""
        self._service.gone(sink)
