"""Leases: keys that go when nobody keeps them alive any more.

Law: the time is counted on this machine from the moment at which a request that kept
the lease alive was begun, so it is over here no later than in the cluster: whoever does
something in the name of a lease stops in time when the cluster can't be reached. A
lease that is lost stays lost.
"""

import asyncio
import secrets
from types import TracebackType
from typing import Final, Self

import msgspec

from ..wire import (
    CommandRefused,
    Grant,
    KeepAlive,
    LeaseAnswer,
    ListLeases,
    ProtocolError,
    RequestKind,
    Revoke,
    TimeToLive,
    decode_lease_answer,
    decode_lease_list,
    decode_write_reply,
    encode_lease_command,
)
from .calls import Calls
from .errors import InvalidRequest, LeaseNotFound, QuorateError, Unknown

# A lease is kept alive so often within its time, and asked again after a failure.
_TIMES: Final = 3
_AGAIN_SECONDS: Final = 0.2


class LeaseInfo(msgspec.Struct, frozen=True):
    """A lease as the leader knows it: seconds granted and left, and its keys.

    `keys` is empty unless they were asked for.
    """

    id: int
    ttl: float
    left: float
    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, answer: LeaseAnswer) -> Self:
        """The caller's view of what came over the wire."""
        return cls(
            answer.lease, answer.ttl_ms / 1000, answer.left_ms / 1000, answer.keys
        )


class LeaseCalls:
    """What can be asked about leases, through the calls of a client."""

    def __init__(self, calls: Calls) -> None:
        self._calls: Calls = calls

    async def grant(self, lease: int, ttl: float, timeout: float) -> None:
        command = _encode(Grant(lease, round(ttl * 1000)))
        await self._calls.call(RequestKind.WRITE, command, timeout, decode_write_reply)

    async def revoke(self, lease: int, timeout: float) -> None:
        command = _encode(Revoke(lease))
        await self._calls.call(RequestKind.WRITE, command, timeout, decode_write_reply)

    async def keep_alive(self, lease: int, timeout: float) -> LeaseInfo:
        return await self._ask(KeepAlive(lease), lease, timeout)

    async def info(self, lease: int, keys: bool, timeout: float) -> LeaseInfo:
        return await self._ask(TimeToLive(lease, keys), lease, timeout)

    async def all(self, timeout: float) -> list[int]:
        command = _encode(ListLeases())
        reply = await self._calls.call(
            RequestKind.WRITE, command, timeout, decode_lease_list
        )
        return list(reply.leases)

    async def _ask(
        self, question: KeepAlive | TimeToLive, lease: int, timeout: float
    ) -> LeaseInfo:
        def decode(body: bytes) -> LeaseInfo:
            answer = decode_lease_answer(body)
            if answer.lease != lease:
                raise ProtocolError("an answer about another lease")
            return LeaseInfo.of(answer)

        command = _encode(question)
        return await self._calls.call(RequestKind.WRITE, command, timeout, decode)


class Lease:
    """One lease, which is kept alive while its context is open, and then revoked.

        async with kv.lease(10) as lease:
            await kv.put("service/a", "here", lease=lease.id)

    `lost` is set when its time is over: its keys are gone, or will be in a moment.
    """

    def __init__(
        self, calls: LeaseCalls, ttl: float, timeout: float, lease: int = 0
    ) -> None:
        self._calls: LeaseCalls = calls
        self._timeout: float = timeout
        self._until: float = 0.0
        self._keeper: asyncio.Task[None] | None = None
        # A number that nobody else draws: what its grant did is told from it alone.
        self.id: int = lease or secrets.randbits(63) or 1
        self.ttl: float = ttl
        self.lost: asyncio.Event = asyncio.Event()

    @property
    def left(self) -> float:
        """Seconds for which it is certainly there, 0.0 when it may be gone."""
        now = asyncio.get_running_loop().time()
        return 0.0 if self.lost.is_set() else max(0.0, self._until - now)

    async def grant(self) -> Self:
        """Make the lease, and begin to keep it alive."""
        begun = asyncio.get_running_loop().time()
        await self._calls.grant(self.id, self.ttl, self._timeout)
        self._until = begun + self.ttl
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def revoke(self) -> None:
        """End it now, with all its keys; one that is gone already is no error."""
        await self.abandon()
        self.lost.set()
        try:
            await self._calls.revoke(self.id, self._timeout)
        except LeaseNotFound:
            return

    async def abandon(self) -> None:
        """Keep it alive no longer; it ends by itself when its time is over."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})

    async def info(self, *, keys: bool = False) -> LeaseInfo:
        """What the leader knows of it, with its keys when they are asked for."""
        return await self._calls.info(self.id, keys, self._timeout)

    async def __aenter__(self) -> Self:
        return await self.grant()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.revoke()
        except QuorateError:
            # Nobody to tell: it ends by itself, and what came before counts more.
            if error is None:
                raise

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self.ttl / _TIMES
        while True:
            await asyncio.sleep(min(pause, max(0.0, self._until - loop.time())))
            begun = loop.time()
            if begun >= self._until:
                break
            pause = self.ttl / _TIMES
            try:
                patience = min(self._timeout, max(0.001, self._until - begun))
                await self._calls.keep_alive(self.id, patience)
            except LeaseNotFound:
                break
            except QuorateError as error:
                # It may do better in a moment; Unknown has done no harm here.
                if not (error.retryable or isinstance(error, Unknown)):
                    break
                pause = _AGAIN_SECONDS
                continue
            self._until = begun + self.ttl
        self.lost.set()


def _encode(command: Grant | Revoke | KeepAlive | TimeToLive | ListLeases) -> bytes:
    try:
        return encode_lease_command(command)
    except CommandRefused as error:
        raise InvalidRequest(error.reason) from None
