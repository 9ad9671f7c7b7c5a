"""A service that keeps a dictionary, and clients that speak in raw bytes."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

import msgspec
from quorate.node.api.errors import Problem
from quorate.node.api.listener import Listener, start_listener
from quorate.node.api.options import ApiOptions
from quorate.node.api.service import Member, Position, Sink, WatchSink
from quorate.node.api.status import status_json
from quorate.node.statistics import PeerStatistics, Statistics
from quorate.node.timings import Histogram, NodeTimings
from quorate.wire.commands import Compact, Delete, Put, decode_command
from quorate.wire.errors import ErrorCode, Outcome, ProtocolError
from quorate.wire.frames import (
    OK,
    REFUSED,
    ReplyFrame,
    ReplyParser,
    RequestKind,
    encode_request,
)
from quorate.wire.hello import (
    ServerHello,
    encode_client_hello,
    parse_server_hello,
)
from quorate.wire.leases import (
    Grant,
    KeepAlive,
    LeaseAnswer,
    LeaseCommand,
    ListLeases,
    Revoke,
    TimeToLive,
    encode_lease_answer,
    encode_lease_list,
)
from quorate.wire.limits import Limits
from quorate.wire.members import MemberCommand
from quorate.wire.membership import (
    Members,
    Token,
    decode_move_leader,
    encode_members,
)
from quorate.wire.records import (
    ReadHeader,
    Record,
    encode_get_reply,
    encode_range_reply,
)
from quorate.wire.requests import (
    ErrorReply,
    decode_get,
    decode_range,
    encode_error,
    encode_write_reply,
    error_reply,
)
from quorate.wire.transaction_replies import encode_txn_reply
from quorate.wire.transactions import Transaction
from quorate.wire.watches import decode_cancel, decode_watch, encode_created

from ...wire.transaction_model import Model, ModelRefused

OPTIONS = ApiOptions(
    cluster_id=0xC1,
    member_id=0xA1,
    name="n1",
    version="0.1.0",
)

MEMBERS = Members(
    cluster_id="00000000000000c1",
    authority="ab" * 32,
    told_by="00000000000000a1",
    leader="00000000000000a1",
    commit_index=17,
    waits_for="n2 has yet to catch up",
    members=(),
    tokens=(Token("00000000000000e5", "replica", 2, 60_000),),
)

SMALL_LIMITS = Limits(
    key_bytes_max=64,
    value_bytes_max=1000,
    range_bytes_max=1000,
    request_bytes_max=4096,
)


class Asked(NamedTuple):
    """One request as the service got it."""

    sink: Sink
    request_id: int
    kind: int
    body: bytes
    timeout_ms: int


class FakeService:
    """Answers at once from a dictionary, or holds requests until it is told."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.records: dict[bytes, Record] = {}
        self.revision = 1
        # What was there at each revision, and the oldest one that can be read.
        self.past: dict[int, dict[bytes, Record]] = {1: {}}
        self.compacted = 0
        # The ttl of each in ms; none ends by itself.
        self.leases: dict[int, int] = {}
        self.asked: list[Asked] = []
        self.holding = False
        self.held: list[Asked] = []
        self.error: ErrorReply | None = None
        self.troubled: tuple[str, ...] = ()
        # The pieces of a backup; None: it is refused there.
        self.backups: list[bytes | None] = []
        # What was asked of members and of who leads, in order.
        self.wished: list[MemberCommand | int] = []
        # Watches that are open, and sinks that nobody reads any more.
        self.watches: list[Asked] = []
        self.left: list[WatchSink] = []
        self.measured = NodeTimings(Histogram(), Histogram())

    def submit(
        self, sink: Sink, request_id: int, kind: int, body: bytes, timeout_ms: int
    ) -> None:
        asked = Asked(sink, request_id, kind, body, timeout_ms)
        self.asked.append(asked)
        if self.holding:
            self.held.append(asked)
        else:
            self.answer(asked)

    def release(self) -> None:
        """Answer everything that is held."""
        self.holding = False
        held, self.held = self.held, []
        for asked in held:
            self.answer(asked)

    def answer(self, asked: Asked) -> None:
        status, body = self._outcome(asked)
        if asked.kind == RequestKind.WATCH and status == OK:
            self.watches.append(asked)
            cast(WatchSink, asked.sink).push(asked.request_id, asked.kind, body)
            return
        asked.sink.reply(asked.request_id, asked.kind, status, body)

    def do(self, asked: Asked) -> None:
        """Do what is asked, and tell nobody."""
        self._outcome(asked)

    def position(self) -> Position:
        return Position(3, self.revision)

    def members(self) -> tuple[Member, ...]:
        url = "http://127.0.0.1:7400"
        return (
            Member(0xA1, "n1", url, "127.0.0.1:7500", False),
            Member(0xB2, "n2", "", "", True),
        )

    def gone(self, sink: WatchSink) -> None:
        self.left.append(sink)
        self.watches = [asked for asked in self.watches if asked.sink is not sink]

    def tell(self, body: bytes, watch: int = 0) -> None:
        """Push to one of those who watch."""
        asked = self.watches[watch]
        cast(WatchSink, asked.sink).push(asked.request_id, asked.kind, body)

    def end(self, code: ErrorCode, revision: int = 0) -> None:
        """End the oldest watch with an error."""
        asked = self.watches.pop(0)
        error = error_reply(code, Outcome.NONE, "it ends", revision)
        body = encode_error(error, self.limits)
        asked.sink.reply(asked.request_id, asked.kind, REFUSED, body)

    def endpoints(self) -> tuple[str, ...]:
        return ("http://127.0.0.1:7400",)

    def timings(self) -> NodeTimings:
        return self.measured

    def statistics(self) -> Statistics:
        return Statistics(
            name="n1",
            member_id="00000000000000a1",
            cluster_id="00000000000000c1",
            version="0.1.0",
            role="leader",
            leader="00000000000000a1",
            leader_url="http://127.0.0.1:7400",
            term=3,
            commit_index=17,
            applied_index=16,
            revision=self.revision,
            compacted=self.compacted,
            journal_syncs=5,
            puts=4,
            state_hash="ab12",
            peers=[PeerStatistics(member_id="00000000000000b2", name="n2")],
        )

    def troubles(self) -> tuple[str, ...]:
        return self.troubled

    async def backup(self, timeout_ms: int) -> AsyncGenerator[bytes]:
        """As much as `backups` says; the rest never comes when it ends with None."""
        del timeout_ms
        for piece in self.backups:
            if piece is None:
                raise Problem(ErrorCode.TOO_BUSY, "one is being taken already")
            yield piece

    def _outcome(self, asked: Asked) -> tuple[int, bytes]:
        if self.error is not None:
            return REFUSED, encode_error(self.error, self.limits)
        try:
            return self._serve(asked)
        except ProtocolError as refusal:
            error = error_reply(refusal.code, Outcome.NOT_APPLIED, refusal.reason)
            return REFUSED, encode_error(error, self.limits)

    def _serve(self, asked: Asked) -> tuple[int, bytes]:
        match asked.kind:
            case RequestKind.PING:
                return OK, b""
            case RequestKind.WRITE:
                answer = self._write(asked.body)
                self.past[self.revision] = dict(self.records)
                return answer
            case RequestKind.GET:
                get = decode_get(asked.body, self.limits)
                header = ReadHeader(self.revision, get.max_staleness_ms, get.level)
                if (refusal := self._unreadable(get.revision)) is not None:
                    return refusal
                return OK, encode_get_reply(header, self._at(get.revision).get(get.key))
            case RequestKind.RANGE:
                return self._range(asked.body)
            case RequestKind.WATCH:
                decode_watch(asked.body, self.limits)
                return OK, encode_created(self.revision)
            case RequestKind.CANCEL:
                self._cancel(asked.sink, decode_cancel(asked.body))
                return OK, b""
            case RequestKind.MEMBERS:
                return OK, encode_members(MEMBERS)
            case RequestKind.MOVE_LEADER:
                self.wished.append(decode_move_leader(asked.body))
                return OK, b""
            case _:
                return OK, status_json(self.statistics())

    def _write(self, body: bytes) -> tuple[int, bytes]:
        command = decode_command(body, self.limits)
        if isinstance(command, Transaction):
            model = Model(self.revision, self.records, set(self.leases))
            try:
                done = model.do(command)
            except ModelRefused as refused:
                return self._refuse(refused.code)
            self.revision, self.records = model.revision, model.table
            return OK, encode_txn_reply(done.succeeded, done.revision, done.results)
        if isinstance(command, MemberCommand):
            self.wished.append(command)
            return OK, encode_write_reply(self.revision, 0)
        if isinstance(command, Compact):
            return self._compact(command)
        if isinstance(command, LeaseCommand):
            return self._lease(command)
        assert isinstance(command, Put | Delete)
        lease = command.lease if isinstance(command, Put) else 0
        if lease and lease not in self.leases:
            return self._refuse(ErrorCode.LEASE_NOT_FOUND)
        old = self.records.get(command.key)
        current = 0 if old is None else old.mod_revision
        if command.expected is not None and command.expected != current:
            return self._refuse(ErrorCode.PRECONDITION_FAILED, current)
        if isinstance(command, Put):
            self.revision += 1
            self.records[command.key] = Record(
                key=command.key,
                value=command.value,
                create_revision=self.revision if old is None else old.create_revision,
                mod_revision=self.revision,
                version=1 if old is None else old.version + 1,
                lease=lease,
            )
            return OK, encode_write_reply(self.revision, 1)
        if old is None:
            return OK, encode_write_reply(self.revision, 0)
        self.revision += 1
        del self.records[command.key]
        return OK, encode_write_reply(self.revision, 1)

    def _lease(self, command: LeaseCommand) -> tuple[int, bytes]:
        match command:
            case ListLeases(after, limit):
                page = [lease for lease in sorted(self.leases) if lease > after]
                return OK, encode_lease_list(self.revision, page[: limit or None])
            case Grant(lease, ttl_ms):
                if lease in self.leases:
                    return self._refuse(ErrorCode.LEASE_EXISTS)
                self.leases[lease] = ttl_ms
                return OK, encode_write_reply(self.revision, 0)
            case Revoke(lease) | KeepAlive(lease) | TimeToLive(lease) if (
                lease not in self.leases
            ):
                return self._refuse(ErrorCode.LEASE_NOT_FOUND)
            case Revoke(lease):
                keys = self.keys_of(lease)
                del self.leases[lease]
                self.revision += bool(keys)
                for key in keys:
                    del self.records[key]
                return OK, encode_write_reply(self.revision, len(keys))
            case KeepAlive(lease):
                ttl_ms, keys = self.leases[lease], ()
                left_ms = ttl_ms
            case TimeToLive(lease, with_keys):
                ttl_ms = self.leases[lease]
                # A second has gone by since it was kept alive.
                left_ms = ttl_ms - 1000
                keys = tuple(self.keys_of(lease)) if with_keys else ()
        answer = LeaseAnswer(self.revision, lease, ttl_ms, left_ms, keys)
        return OK, encode_lease_answer(answer)

    def keys_of(self, lease: int) -> list[bytes]:
        return sorted(key for key, one in self.records.items() if one.lease == lease)

    def _cancel(self, sink: Sink, number: int) -> None:
        for asked in list(self.watches):
            if (asked.sink, asked.request_id) == (sink, number):
                self.watches.remove(asked)
                sink.reply(number, RequestKind.WATCH, OK, b"")

    def _compact(self, command: Compact) -> tuple[int, bytes]:
        if command.revision > self.revision:
            return self._refuse(ErrorCode.FUTURE_REVISION, self.revision)
        if command.revision <= self.compacted:
            return self._refuse(ErrorCode.COMPACTED, self.compacted)
        self.compacted = command.revision
        return OK, encode_write_reply(self.revision, 0)

    def _unreadable(self, revision: int) -> tuple[int, bytes] | None:
        if revision > self.revision:
            return self._refuse(ErrorCode.FUTURE_REVISION, self.revision, Outcome.NONE)
        if 0 < revision < self.compacted:
            return self._refuse(ErrorCode.COMPACTED, self.compacted, Outcome.NONE)
        return None

    def _at(self, revision: int) -> dict[bytes, Record]:
        return self.past.get(revision, self.records)

    def _refuse(
        self, code: ErrorCode, revision: int = 0, outcome: Outcome = Outcome.NOT_APPLIED
    ) -> tuple[int, bytes]:
        error = error_reply(code, outcome, "not so", revision)
        return REFUSED, encode_error(error, self.limits)

    def _range(self, body: bytes) -> tuple[int, bytes]:
        asked = decode_range(body, self.limits)
        if (refusal := self._unreadable(asked.revision)) is not None:
            return refusal
        limit = asked.limit or self.limits.range_records_max
        found = [
            record
            for key, record in sorted(self._at(asked.revision).items())
            if key >= asked.start and (not asked.end or key < asked.end)
        ]
        page = found[:limit]
        if asked.keys_only:
            page = [msgspec.structs.replace(record, value=b"") for record in page]
        header = ReadHeader(self.revision, 0, asked.level)
        return OK, encode_range_reply(header, page, len(found) > len(page))


class Port(NamedTuple):
    """An open client port and what stands behind it."""

    listener: Listener
    service: FakeService
    options: ApiOptions


@asynccontextmanager
async def open_port(**changes: object) -> AsyncGenerator[Port]:
    """A client port on loopback; `changes` replace fields of OPTIONS."""
    options = msgspec.structs.replace(OPTIONS, **changes)
    service = FakeService(options.limits)
    listener = await start_listener(service, "127.0.0.1", 0, options)
    try:
        yield Port(listener, service, options)
    finally:
        service.release()
        await listener.close()
    assert listener.connections == 0


async def wait_for(condition: Callable[[], bool]) -> None:
    """Give the loop turns until the condition holds; fails after five seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


class Reply(NamedTuple):
    """An HTTP reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.body)
        return document


class Raw:
    """A TCP connection with nothing in between."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drain(self) -> None:
        await self.writer.drain()

    def stop_reading(self) -> None:
        """Leave everything in the socket."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def go_on_reading(self) -> None:
        """Undo `stop_reading`."""
        cast(asyncio.Transport, self.writer.transport).resume_reading()

    def reset(self) -> None:
        """Leave without a goodbye."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        now = struct.pack("ii", 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self.writer.transport.abort()

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes, also by reset."""
        parts: list[bytes] = []
        async with asyncio.timeout(5):
            try:
                while part := await self.reader.read(1 << 20):
                    parts.append(part)
            except ConnectionResetError:
                parts.append(b"")
        return b"".join(parts)

    async def http_reply(self, method: str = "GET") -> Reply:
        """The next HTTP reply; `method` says whether it has a body."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = (
                head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            )
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            size = int(headers.get("content-length", "0"))
            status = int(first.split(" ")[1])
            if method == "HEAD" or status in (204, 304, 100):
                size = 0
            return Reply(status, headers, await self.reader.readexactly(size))

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def connect(port: Port) -> AsyncGenerator[Raw]:
    """A raw connection to the port."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port.listener.port, limit=1 << 24
    )
    raw = Raw(reader, writer)
    try:
        yield raw
    finally:
        await raw.close()


def head(method: str, target: str | bytes, **headers: str) -> bytes:
    """A request head; underscores in header names stand for hyphens."""
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    fields = {"Host": "127.0.0.1"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return method.encode() + b" " + raw + b" HTTP/1.1\r\n" + lines.encode() + b"\r\n"


async def http(
    port: Port,
    method: str,
    target: str | bytes,
    body: bytes | None = None,
    **headers: str,
) -> Reply:
    """One request on a connection of its own."""
    if body is not None:
        headers["Content_Length"] = str(len(body))
    async with connect(port) as raw:
        raw.send(head(method, target, **headers) + (body or b""))
        return await raw.http_reply(method)


class NativeClient:
    """Frames over a raw connection."""

    def __init__(self, raw: Raw, limits: Limits) -> None:
        self.raw = raw
        self._parser = ReplyParser(limits)
        self._replies: list[ReplyFrame] = []

    async def hello(self) -> ServerHello:
        self.raw.send(encode_client_hello())
        data = b""
        async with asyncio.timeout(5):
            while True:
                data += await self.raw.reader.read(65536)
                parsed = parse_server_hello(data)
                if parsed is not None:
                    hello, end = parsed
                    assert end == len(data)
                    return hello

    def ask(
        self, kind: int, request_id: int, body: bytes = b"", timeout_ms: int = 0
    ) -> None:
        self.raw.send(encode_request(kind, request_id, timeout_ms, body))

    async def reply(self) -> ReplyFrame:
        """The next reply."""
        async with asyncio.timeout(5):
            while not self._replies:
                data = await self.raw.reader.read(1 << 20)
                assert data, "the server closed"
                self._replies += self._parser.feed(data)
        return self._replies.pop(0)

    async def end(self) -> bytes:
        """What comes until the server closes."""
        assert not self._replies
        return await self.raw.read_to_end()


@asynccontextmanager
async def native(port: Port) -> AsyncGenerator[NativeClient]:
    """A native connection, hellos done."""
    async with connect(port) as raw:
        client = NativeClient(raw, port.options.limits)
        await client.hello()
        yield client
