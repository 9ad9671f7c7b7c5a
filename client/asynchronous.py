"""The asynchronous client: the key space as methods.

Law: a method says what it means in its arguments and what happened in its result or
error (errors.py); it hides connections, nodes and retries, never an outcome. Everything
here is used from one event loop.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Self, SupportsIndex, Unpack

from ..wire import (
    CommandRefused,
    Delete,
    ErrorReply,
    GetRequest,
    Level,
    ProtocolError,
    Put,
    RangeRequest,
    RequestKind,
    WatchRequest,
    WireError,
    WriteReply,
    decode_get_reply,
    decode_txn_reply,
    decode_write_reply,
    encode_compact,
    encode_delete,
    encode_get,
    encode_put,
    encode_transaction,
    fenced,
    fenced_write,
)
from .calls import Calls
from .elections import Election
from .endpoints import make_tls_context, parse_endpoints, speaks_tls
from .errors import InvalidRequest, QuorateError, TooLarge
from .leases import Lease, LeaseCalls, Leasing
from .locks import Lock
from .membership import MemberCalls, Membership
from .near_cache import NearCaching
from .options import (
    ClientOptions,
    default_endpoints,
    options_from_env,
    options_from_url,
)
from .paging import Pager, check_served
from .pipelines import Pipeline, Result
from .places import Places
from .refusals import error_of
from .sessions import Writes
from .transactions import Committed, Txn, asked
from .values import (
    KeyValue,
    ReadLevel,
    to_bounds,
    to_bytes,
    to_client_token,
    to_expected,
    to_fence,
    to_key,
    to_lease,
    to_level,
    to_limit,
    to_revision,
    to_timeout,
)
from .watching import Watch

IN_FLIGHT_MAX_DEFAULT = 65_536


class AsyncClient(Membership, Leasing, NearCaching):
    """A quorate cluster, reached through any of its nodes.

    `endpoints` is a list or a comma-separated string of `host:port`; by default
    QUORATE_ENDPOINTS, else 127.0.0.1:7400. `timeout` is each call's deadline in
    seconds. With any of `cafile`, `certfile` and `keyfile`, or with `https://` or
    `quorates://` before an endpoint, TLS is spoken, and the node's certificate has to
    name the host that is dialled. `token` is for nodes whose client port wants one.

    Calls go to the endpoint that worked last, at first to the one given first, or to
    one at random with `balance`. With `learn`, the addresses that nodes tell of each
    other are tried after the ones given, writes and linearizable reads go to the node
    that leads, as soon as a connection to it is open, and with `balance` all reads are
    spread over the nodes; without, nothing is dialled that was not given. At most
    `in_flight_max` calls may be waiting, besides those that keep or revoke leases. With
    `sessions`, a write whose answer was lost is asked again until its deadline, and
    happens once all the same; the first write opens a session, `close` ends it.
    `jitter` draws from [0, 1) and spreads retries.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        timeout: float = 5.0,
        cafile: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        token: str | None = None,
        balance: bool = False,
        learn: bool = True,
        in_flight_max: int = IN_FLIGHT_MAX_DEFAULT,
        sessions: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if endpoints is None:
            endpoints = default_endpoints()
        if in_flight_max < 1:
            raise InvalidRequest(f"in_flight_max is {in_flight_max}")
        self._timeout: float = to_timeout(timeout)
        given = any(file is not None for file in (cafile, certfile, keyfile))
        tls = speaks_tls(endpoints, certificates=given)
        self._watches: set[Watch] = set()
        self._leases: set[Lease] = set()
        self._calls: Calls = Calls(
            parse_endpoints(endpoints),
            make_tls_context(cafile, certfile, keyfile) if tls else None,
            balance=balance,
            learn=learn,
            in_flight_max=in_flight_max,
            jitter=jitter,
            token=to_client_token(token),
        )
        self._writes: Writes = Writes(self._calls, sessions=sessions)
        self._lease_calls: LeaseCalls = LeaseCalls(self._writes, self._timeout)
        self._places: Places = Places(
            self._writes, self._lease_calls, self._leases, self._watches
        )
        self._member_calls = MemberCalls(self._writes, self._timeout)

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """From QUORATE_ENDPOINTS, QUORATE_CACERT, _CERT, _KEY and QUORATE_TOKEN."""
        return cls(**options_from_env(options))

    @classmethod
    def from_url(cls, url: str, **options: Unpack[ClientOptions]) -> Self:
        """A client from `quorate://host:port,host:port?timeout=2&cafile=ca.pem`."""
        endpoints, merged = options_from_url(url, options)
        return cls(endpoints, **merged)

    @property
    def endpoints(self) -> list[str]:
        """The endpoints in use: those given first, then those learnt from nodes."""
        return [str(endpoint) for endpoint in self._calls.endpoints]

    async def put(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        lease: SupportsIndex = 0,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Store `value` under `key`; the store's new revision.

        With `lease`, the id of one, the key goes when that one ends; LeaseNotFound when
        there is no such lease. With `if_revision` only if the key's mod_revision is
        that, with `if_absent` only if there is no such key; else PreconditionFailed.
        With `fence`, the token of a lock, only while that is held; else Fenced.
        """
        expected = to_expected(if_revision, if_absent)
        number = to_lease(lease)
        if fence is not None:
            put = Put(to_key(key), to_bytes(value), expected, number)
            return (await self._fenced(put, fence, timeout)).revision
        try:
            command = encode_put(to_key(key), to_bytes(value), expected, number)
        except WireError as error:
            raise TooLarge(str(error)) from None
        reply = await self._writes.write(
            command, self._patience(timeout), decode_write_reply
        )
        return reply.revision

    async def delete(
        self,
        key: str | bytes,
        *,
        if_revision: int | None = None,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Remove `key`; whether it was there.

        With `if_revision` only if the key's mod_revision is that, else
        PreconditionFailed. With `fence`, the token of a lock, only while that is held,
        else Fenced.
        """
        expected = to_expected(if_revision, False)
        if fence is not None:
            delete = Delete(to_key(key), expected)
            return (await self._fenced(delete, fence, timeout)).count > 0
        command = encode_delete(to_key(key), expected)
        reply = await self._writes.write(
            command, self._patience(timeout), decode_write_reply
        )
        return reply.count > 0

    async def delete_range(
        self,
        prefix: str | bytes | None = None,
        *,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Remove all keys with `prefix`, or `start <= key < end`, at once; how many.

        TooLarge, and nothing is removed, when there are more than 10,000. With `fence`,
        the token of a lock, only while that is held, else Fenced.
        """
        txn = Txn().delete_range(prefix, start=start, end=end)
        if fence is not None:
            txn.fence(fence)
        (count,) = (await self.commit(txn, timeout=timeout)).results
        assert isinstance(count, int), "of a range that is deleted"
        return count

    async def get(
        self,
        key: str | bytes,
        *,
        level: ReadLevel = "linearizable",
        max_staleness: float | None = None,
        min_revision: int = 0,
        revision: int = 0,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """The key's present value, or None when there is none.

        With `revision`, as it was at that one: Compacted or FutureRevision when that
        one is not kept any more, or not there yet.

        `level` "bounded" accepts a state that is at most `max_staleness` seconds old,
        "local" whatever the node has. With `min_revision`, a state at least as new as
        that revision, which a put returned, is read on any node.
        """
        number, staleness_ms = to_level(level, max_staleness)
        request = GetRequest(
            number,
            staleness_ms,
            to_revision("min_revision", min_revision),
            to_key(key),
            to_revision("revision", revision),
        )

        def decode(body: bytes) -> KeyValue | None:
            reply = decode_get_reply(body)
            check_served(reply.header, number, request.min_revision)
            record = reply.record
            if record is None:
                return None
            if record.key != request.key:
                raise ProtocolError("a reply with another key")
            return KeyValue.of(record)

        return await self._calls.call(
            RequestKind.GET,
            encode_get(request),
            self._patience(timeout),
            decode,
            near=number is not Level.LINEARIZABLE,
        )

    async def compact(self, revision: int, *, timeout: float | None = None) -> None:
        """Let go of what only revisions before `revision` show; it stays readable.

        Compacted when that has been done before, FutureRevision when there is no such
        revision yet. The space comes back little by little.
        """
        command = encode_compact(to_revision("revision", revision))
        await self._write(command, timeout)

    async def commit(self, txn: Txn, *, timeout: float | None = None) -> Committed:
        """Do a transaction, all of it at one revision or nothing; what it found.

        Conditions that do not hold are no error: `succeeded` tells. A fence that does
        not hold is one: Fenced. Raises TooLarge, and nothing was done, when its gets
        return keys and values of more than 4 MiB; Unknown, when it was asked again and
        only then told so.
        """
        command, decode = asked(txn)
        return await self._writes.write(command, self._patience(timeout), decode)

    async def run(
        self,
        pipeline: Pipeline,
        *,
        return_errors: bool = False,
        timeout: float | None = None,
    ) -> list[Result | QuorateError]:
        """Make all calls of a pipeline; what each gave, in their order.

        Each has its own deadline, from when it is begun; when the client has no room it
        waits as long for that. The first error is raised when all have ended; with
        `return_errors` each stands where its result would.
        """
        if not isinstance(pipeline, Pipeline):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a Pipeline is run, not {type(pipeline).__name__}")
        results = await pipeline.made_by(self, timeout, self._patience(timeout))
        if not return_errors:
            for result in results:
                if isinstance(result, QuorateError):
                    raise result
        return results

    def range(
        self,
        prefix: str | bytes | None = None,
        *,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        limit: int | None = None,
        keys_only: bool = False,
        level: ReadLevel = "linearizable",
        max_staleness: float | None = None,
        min_revision: int = 0,
        revision: int = 0,
        timeout: float | None = None,
    ) -> Pager:
        """All keys with `prefix`, or `start <= key < end`, in order; at most `limit`.

        All at one revision, by default the newest when the first page is read; what is
        returned says it as `revision`, behind which a watch goes on. Long ranges are
        read in pages, each with its own `timeout`; one that takes until its revision is
        compacted ends in Compacted. With `keys_only` values are empty.
        """
        number, staleness_ms = to_level(level, max_staleness)
        first, last = to_bounds(prefix, start, end)
        request = RangeRequest(
            number,
            staleness_ms,
            to_revision("min_revision", min_revision),
            first,
            last,
            keys_only=keys_only,
            revision=to_revision("revision", revision),
        )
        most = to_limit(limit)
        return Pager(self._calls, request, most, self._patience(timeout))

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        timeout: float | None = None,
    ) -> Lock:
        """The lock of this name, held while its context is open.

        Others wait for it: `wait` seconds, by default until they have it; then, or at
        once with 0, they are told Held. It is lost when it can't be kept alive for
        `ttl` seconds; so let writes carry its token, which is no good from then on:

            async with kv.lock("reports", ttl=10) as lock:
                await kv.put("report", "done", fence=lock.token)

        A name has a place of its own among the keys: those below `name/` are its line,
        and what somebody else puts there stands in it, too.
        """
        patience = self._patience(timeout)
        return Lock(self._places, to_key(name), ttl, wait, patience)

    def election(
        self, name: str | bytes, *, ttl: float = 10.0, timeout: float | None = None
    ) -> Election:
        """The election of this name: to campaign in it, or to see who leads.

        A leader that can't be kept alive for `ttl` seconds leads no more. Leaving its
        context resigns. As with a lock, the keys below `name/` are its line, and nobody
        else's.
        """
        patience = self._patience(timeout)
        return Election(self._places, to_key(name), ttl, patience)

    def watch(
        self,
        prefix: str | bytes | None = None,
        *,
        key: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        revision: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        timeout: float | None = None,
        patience: float = 60.0,
    ) -> Watch:
        """All changes of `key`, of all keys with `prefix`, or of `start <= key < end`.

        From `revision` on, by default from now on; each once and in order, whatever
        happens to nodes and connections. With `previous` an event has what was there
        before. `timeout` is how long it may take to begin, `patience` how long no node
        at all may be there later; then it ends in Unavailable. When what it still
        needs was compacted it ends in Compacted. Without a context it goes on, with its
        connection, after a `break` until it or the client is closed.

            async with kv.watch("service/") as changes:
                async for event in changes: ...
        """
        if key is not None:
            if prefix is not None or start is not None or end is not None:
                raise InvalidRequest("give key, prefix, or start and end")
            first = to_key(key)
            last = first + b"\0"
        else:
            first, last = to_bounds(prefix, start, end)
        number = to_revision("revision", revision)
        request = WatchRequest(first, last, number, previous, puts, deletes)
        return Watch(
            self._calls,
            request,
            self._patience(timeout),
            to_timeout(patience, "patience"),
            self._watches,
        )

    async def close(self) -> None:
        """End all calls, watches and connections; writes in flight end as Unknown.

        Leases are kept alive no longer, and end by themselves.
        """
        # First, so that none begins behind the back of what follows.
        self._calls.end()
        await asyncio.gather(*[watch.close() for watch in list(self._watches)])
        await self._abandon()
        await self._writes.close()
        await self._calls.close()
        # A grant that was on its way then has ended only now.
        await self._abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _abandon(self) -> None:
        for lease in list(self._leases):
            await lease.abandon()

    def _write(
        self, command: bytes, timeout: float | None
    ) -> Coroutine[object, object, WriteReply]:
        return self._writes.write(command, self._patience(timeout), decode_write_reply)

    async def _fenced(
        self, command: Put | Delete, token: str, timeout: float | None
    ) -> WriteReply:
        """What came of a write that carries a token."""
        fence = to_fence(token)
        try:
            data = encode_transaction(fenced((fence,), command))
        except CommandRefused as error:
            raise TooLarge(str(error)) from None

        def decode(body: bytes) -> WriteReply:
            found = fenced_write(decode_txn_reply(body), put=isinstance(command, Put))
            if isinstance(found, ErrorReply):
                raise error_of(found)
            return found

        return await self._writes.write(data, self._patience(timeout), decode)

    def _patience(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else to_timeout(timeout)
