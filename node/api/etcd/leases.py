"""Leases, as etcd asks for them: in seconds, by an id that may be left to the server.

Law: a lease that is not there is an answer here and no error, but for its revocation:
clients look for a TTL, and one that is 0 or less says that the lease is gone.
"""

from typing import Final

import msgspec

from ....wire.errors import ErrorCode
from ....wire.frames import RequestKind
from ....wire.leases import (
    LEASES_PAGE_MAX,
    TTL_MS_MAX,
    Grant,
    KeepAlive,
    LeaseCommand,
    ListLeases,
    Revoke,
    TimeToLive,
    decode_lease_answer,
    decode_lease_list,
    encode_lease_command,
)
from ....wire.requests import decode_write_reply
from ..connections import ClientPort
from ..errors import Problem
from ..http_leases import new_lease
from ..http_requests import ask
from .bodies import signed, unsigned
from .errors import (
    LEASE_NOT_FOUND,
    NOT_FOUND,
    OUT_OF_RANGE,
    TTL_TOO_LARGE,
    EtcdProblem,
)
from .replies import (
    HeaderOnly,
    LeaseReply,
    LeasesReply,
    Speaker,
    number,
    statuses,
)

# etcd's, with its usual settings: what is shorter becomes this.
TTL_S_MIN: Final = 2
# So many are listed at once: about 35 MB.
LEASES_MAX: Final = 1_000_000
# An id that is taken is drawn again; that it is taken so often can't be.
_DRAWS_MAX: Final = 5
_NOT_FOUND: Final = "lease_not_found"


class Leases:
    """The handlers of /v3/lease/… and /v3/kv/lease/…."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker

    async def grant(self, lease: int, ttl_s: int) -> LeaseReply:
        """`lease` 0: one that is free."""
        ttl_s = max(ttl_s, TTL_S_MIN)
        if ttl_s * 1000 > TTL_MS_MAX:
            raise EtcdProblem(OUT_OF_RANGE, TTL_TOO_LARGE)
        draws = 1 if lease else _DRAWS_MAX
        while True:
            chosen = unsigned(lease) or new_lease()
            draws -= 1
            try:
                body = await self._ask(Grant(chosen, ttl_s * 1000))
            except Problem as problem:
                if problem.code == "lease_exists" and draws:
                    continue
                raise
            header = self._speaker.header(decode_write_reply(body).revision)
            return LeaseReply(header, str(signed(chosen)), str(ttl_s))

    async def revoke(self, lease: int) -> HeaderOnly:
        if not lease:
            raise EtcdProblem(NOT_FOUND, LEASE_NOT_FOUND)
        body = await self._ask(Revoke(unsigned(lease)))
        return HeaderOnly(self._speaker.header(decode_write_reply(body).revision))

    async def keep_alive(self, lease: int) -> LeaseReply:
        """Without a TTL when there is no such lease."""
        body = await self._about(lease, KeepAlive(unsigned(lease)))
        if body is None:
            return LeaseReply(self._speaker.header(), number(lease))
        answer = decode_lease_answer(body)
        header = self._speaker.header(answer.revision)
        return LeaseReply(header, number(lease), number(answer.ttl_ms // 1000))

    async def time_to_live(self, lease: int, keys: bool) -> LeaseReply:
        """With the TTL -1 when there is no such lease."""
        body = await self._about(lease, TimeToLive(unsigned(lease), keys))
        if body is None:
            return LeaseReply(self._speaker.header(), number(lease), "-1")
        answer = decode_lease_answer(body)
        return LeaseReply(
            self._speaker.header(answer.revision),
            number(lease),
            number(answer.left_ms // 1000),
            number(answer.ttl_ms // 1000),
            list(answer.keys),
        )

    async def all(self) -> LeasesReply:
        """Made page by page, so that others have their turn."""
        pages: list[bytes] = []
        after, count = 0, 0
        while True:
            body = await self._ask(ListLeases(after, LEASES_PAGE_MAX))
            found = decode_lease_list(body)
            count += len(found.leases)
            if count > LEASES_MAX:
                detail = f"there are more than {LEASES_MAX} leases"
                raise Problem(ErrorCode.REQUEST_TOO_LARGE, detail)
            if found.leases:
                after = found.leases[-1]
                pages.append(statuses(found.leases))
            if len(found.leases) < LEASES_PAGE_MAX:
                reply = LeasesReply(self._speaker.header(found.revision))
                if pages:
                    reply.leases = msgspec.Raw(b"[" + b",".join(pages) + b"]")
                return reply

    async def _about(self, lease: int, command: LeaseCommand) -> bytes | None:
        if not lease:
            return None
        try:
            return await self._ask(command)
        except Problem as problem:
            if problem.code == _NOT_FOUND:
                return None
            raise

    async def _ask(self, command: LeaseCommand) -> bytes:
        body = encode_lease_command(command)
        return await ask(self._port, RequestKind.WRITE, body, 0)
