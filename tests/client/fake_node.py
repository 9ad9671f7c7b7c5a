"""A node in this process that keeps its keys in a dict and misbehaves on demand."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Unpack, cast

import msgspec
from quorate.client import AsyncClient, Client
from quorate.client.options import ClientOptions
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    CloseSession,
    Command,
    Compact,
    Delete,
    ErrorCode,
    Grant,
    InSession,
    KeepAlive,
    LeaseAnswer,
    LeaseCommand,
    Limits,
    ListLeases,
    MemberCommand,
    Members,
    OpenSession,
    Outcome,
    Put,
    ReadHeader,
    Record,
    RequestFrame,
    RequestKind,
    RequestParser,
    Revoke,
    ServerHello,
    TimeToLive,
    decode_command,
    decode_get,
    decode_move_leader,
    decode_range,
    encode_error,
    encode_get_reply,
    encode_lease_answer,
    encode_lease_list,
    encode_members,
    encode_range_reply,
    encode_reply,
    encode_server_hello,
    encode_session_opened,
    encode_write_reply,
    error_reply,
    parse_client_hello,
)

CLUSTER_ID = 0xC1


def hello_bytes(
    cluster_id: int = CLUSTER_ID,
    request_bytes_max: int = DEFAULT_LIMITS.request_bytes_max,
    endpoints: tuple[str, ...] = (),
    refused: str = "",
    member_id: int = 7,
) -> bytes:
    return encode_server_hello(
        ServerHello(
            version=1,
            cluster_id=cluster_id,
            member_id=member_id,
            name="fake",
            server="fake",
            request_bytes_max=request_bytes_max,
            endpoints=endpoints,
            refused=refused,
        )
    )


class Session(asyncio.Protocol):
    """One client's connection, seen from the node."""

    def __init__(self, node: "FakeNode") -> None:
        self.node = node
        self.parser = RequestParser(Limits())
        self.greeting = b""
        self.greeted = False
        self.token = b""
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.node.sessions.append(self)
        self.node.changed()
        if self.node.on_connect is not None:
            self.node.on_connect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.node.changed()

    def data_received(self, data: bytes) -> None:
        self.node.chunks += 1
        if not self.greeted:
            self.greeting += data
            hello = parse_client_hello(self.greeting)
            if hello is None:
                return
            self.token = hello.token
            data = self.greeting[hello.length :]
            self.greeted = True
            self.transport.write(self.node.hello)
            self.node.changed()
        if not data:
            return
        for frame in self.parser.feed(data):
            if frame.kind == RequestKind.MEMBERS and not self.node.knows_members():
                # A client asks for them by itself. This node is too old to know any.
                self.refuse(frame, ErrorCode.UNSUPPORTED, Outcome.NONE)
                continue
            self.node.requests.append(frame)
            self.node.answer(self, frame)
        self.node.changed()

    def reply(self, frame: RequestFrame, body: bytes) -> None:
        self.transport.write(encode_reply(frame.kind, frame.request_id, OK, body))

    def refuse(
        self,
        frame: RequestFrame,
        code: ErrorCode,
        outcome: Outcome = Outcome.NOT_APPLIED,
        revision: int = 0,
        request_id: int | None = None,
    ) -> None:
        error = error_reply(code, outcome, f"told so: {code.name.lower()}", revision)
        body = encode_error(error, DEFAULT_LIMITS)
        at = frame.request_id if request_id is None else request_id
        self.transport.write(encode_reply(frame.kind, at, REFUSED, body))


class Told:
    """An answer, kept to be given more than once."""

    def __init__(self) -> None:
        self.tell: Callable[[Session, RequestFrame], None] = mute

    def reply(self, frame: RequestFrame, body: bytes) -> None:
        self.tell = lambda session, frame: session.reply(frame, body)

    def refuse(
        self,
        frame: RequestFrame,
        code: ErrorCode,
        outcome: Outcome = Outcome.NOT_APPLIED,
        revision: int = 0,
    ) -> None:
        self.tell = lambda session, frame: session.refuse(
            frame, code, outcome, revision
        )


Answer = Callable[[Session, RequestFrame], None]


class FakeNode:
    """Serves a dict. Set `answer`, `hello` or `on_connect` to misbehave."""

    def __init__(self) -> None:
        self.answer: Answer = self.serve
        self.hello = hello_bytes()
        self.on_connect: Callable[[Session], None] | None = None
        self.sessions: list[Session] = []
        self.requests: list[RequestFrame] = []
        self.chunks = 0
        self.revision = 1
        self.keys: dict[bytes, Record] = {}
        # What was there at each revision that a write made; the oldest to be read.
        self.past: dict[int, dict[bytes, Record]] = {}
        self.compacted = 0
        self.page_records = 1000
        # The ttl of each lease in ms; nothing ends here but by `end`.
        self.leases: dict[int, int] = {}
        # What was asked about leases, in order.
        self.asked: list[LeaseCommand] = []
        # What is told about members, and what was asked of them, in order.
        self.members: Members | None = None
        # Are requests for members to be answered, though `members` is not set?
        self.tells_members = False
        self.wished: list[MemberCommand | int] = []
        # Sessions that are open, and what each of their commands was told.
        self.opened: dict[bytes, int] = {}
        self.told: dict[tuple[bytes, int], Told] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._condition = asyncio.Event()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, tls: SSLContext | None = None) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Session(self), "127.0.0.1", self.port, ssl=tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            # A connection that is taken in this turn gets its transport in the next,
            # and would be left open if the server were closed by then (gh-109564).
            loop = asyncio.get_running_loop()
            for listening in self._server.sockets:
                loop.remove_reader(listening.fileno())
            for _ in range(2):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for session in self.sessions:
            session.transport.abort()
        await self.wait_for(lambda: not any(one.open for one in self.sessions))

    def changed(self) -> None:
        self._condition.set()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._condition.clear()
                await self._condition.wait()

    def knows_members(self) -> bool:
        return self.tells_members or self.members is not None

    def serve(self, session: Session, frame: RequestFrame) -> None:
        match frame.kind:
            case RequestKind.WRITE:
                self.write(session, frame)
            case RequestKind.GET:
                request = decode_get(frame.body, DEFAULT_LIMITS)
                if self.unreadable(session, frame, request.revision):
                    return
                header = ReadHeader(self.revision, 0, request.level)
                record = self.at(request.revision).get(request.key)
                session.reply(frame, encode_get_reply(header, record))
            case RequestKind.RANGE:
                self.range(session, frame)
            case RequestKind.STATUS:
                session.reply(frame, json.dumps({"name": "fake"}).encode())
            case RequestKind.MEMBERS:
                assert self.members is not None, "who knows members tells them"
                session.reply(frame, encode_members(self.members))
            case RequestKind.MOVE_LEADER:
                self.wished.append(decode_move_leader(frame.body))
                session.reply(frame, b"")
            case _:
                session.reply(frame, b"")

    def write(self, session: Session, frame: RequestFrame) -> None:
        command = decode_command(frame.body, DEFAULT_LIMITS)
        if isinstance(command, OpenSession | CloseSession | InSession):
            self.in_session(session, frame, command)
        else:
            self.carry_out(session, frame, command)

    def in_session(
        self,
        session: Session,
        frame: RequestFrame,
        command: OpenSession | CloseSession | InSession,
    ) -> None:
        """As a cluster does: what was answered is answered again."""
        match command:
            case OpenSession(number):
                since = self.opened.setdefault(number, 100 + len(self.opened))
                session.reply(frame, encode_session_opened(self.revision, since))
            case CloseSession(number):
                self.opened.pop(number, None)
                session.reply(frame, encode_write_reply(self.revision, 0))
            case InSession(place):
                if self.opened.get(place.session) != place.since:
                    session.refuse(frame, ErrorCode.SESSION_NOT_FOUND)
                    return
                self.once(frame, command).tell(session, frame)

    def once(self, frame: RequestFrame, command: InSession) -> "Told":
        """Carry a command out, if it is new; what it is told."""
        at = (command.place.session, command.place.sequence)
        told = self.told.get(at)
        if told is None:
            self.told[at] = told = Told()
            self.carry_out(cast(Session, told), frame, command.command)
        return told

    def carry_out(
        self, session: Session, frame: RequestFrame, command: Command
    ) -> None:
        if isinstance(command, MemberCommand):
            self.wished.append(command)
            session.reply(frame, encode_write_reply(self.revision, 0))
            return
        if isinstance(command, Compact):
            self.compact(session, frame, command)
            return
        if isinstance(command, LeaseCommand):
            self.asked.append(command)
            self.lease(session, frame, command)
            return
        assert isinstance(command, Put | Delete)
        lease = command.lease if isinstance(command, Put) else 0
        if lease and lease not in self.leases:
            session.refuse(frame, ErrorCode.LEASE_NOT_FOUND)
            return
        old = self.keys.get(command.key)
        present = 0 if old is None else old.mod_revision
        if command.expected is not None and command.expected != present:
            code = ErrorCode.PRECONDITION_FAILED
            session.refuse(frame, code, revision=present)
            return
        if isinstance(command, Put):
            self.revision += 1
            created = self.revision if old is None else old.create_revision
            version = 1 if old is None else old.version + 1
            self.keys[command.key] = Record(
                command.key, command.value, created, self.revision, version, lease
            )
            count = 1
        else:
            count = 0 if old is None else 1
            self.revision += count
            self.keys.pop(command.key, None)
        self.past[self.revision] = dict(self.keys)
        session.reply(frame, encode_write_reply(self.revision, count))

    def compact(self, session: Session, frame: RequestFrame, command: Compact) -> None:
        if command.revision > self.revision:
            code = ErrorCode.FUTURE_REVISION
            session.refuse(frame, code, revision=self.revision)
        elif command.revision <= self.compacted:
            session.refuse(frame, ErrorCode.COMPACTED, revision=self.compacted)
        else:
            self.compacted = command.revision
            session.reply(frame, encode_write_reply(self.revision, 0))

    def lease(
        self, session: Session, frame: RequestFrame, command: LeaseCommand
    ) -> None:
        if isinstance(command, ListLeases):
            page = [each for each in sorted(self.leases) if each > command.after]
            body = encode_lease_list(self.revision, page[: command.limit or None])
            session.reply(frame, body)
            return
        lease = command.lease
        if isinstance(command, Grant):
            if lease in self.leases:
                session.refuse(frame, ErrorCode.LEASE_EXISTS)
                return
            self.leases[lease] = command.ttl_ms
            session.reply(frame, encode_write_reply(self.revision, 0))
        elif lease not in self.leases:
            session.refuse(frame, ErrorCode.LEASE_NOT_FOUND)
        elif isinstance(command, Revoke):
            count = len(self.end(lease))
            session.reply(frame, encode_write_reply(self.revision, count))
        else:
            assert isinstance(command, KeepAlive | TimeToLive)
            ttl_ms, keys = self.leases[lease], ()
            if isinstance(command, TimeToLive) and command.keys:
                keys = tuple(self.keys_of(lease))
            answer = LeaseAnswer(self.revision, lease, ttl_ms, ttl_ms, keys)
            session.reply(frame, encode_lease_answer(answer))

    def keys_of(self, lease: int) -> list[bytes]:
        return sorted(key for key, one in self.keys.items() if one.lease == lease)

    def end(self, lease: int) -> list[bytes]:
        """End a lease with its keys, as its time or a revocation would."""
        del self.leases[lease]
        gone = self.keys_of(lease)
        self.revision += bool(gone)
        for key in gone:
            del self.keys[key]
        self.past[self.revision] = dict(self.keys)
        return gone

    def at(self, revision: int) -> dict[bytes, Record]:
        return self.past.get(revision, self.keys)

    def unreadable(self, session: Session, frame: RequestFrame, revision: int) -> bool:
        """Refuse a revision that can't be read."""
        none = Outcome.NONE
        if revision > self.revision:
            session.refuse(frame, ErrorCode.FUTURE_REVISION, none, self.revision)
        elif 0 < revision < self.compacted:
            session.refuse(frame, ErrorCode.COMPACTED, none, self.compacted)
        else:
            return False
        return True

    def range(self, session: Session, frame: RequestFrame) -> None:
        request = decode_range(frame.body, DEFAULT_LIMITS)
        if self.unreadable(session, frame, request.revision):
            return
        found = [
            record
            for key, record in sorted(self.at(request.revision).items())
            if request.start <= key and (not request.end or key < request.end)
        ]
        size = min(request.limit or self.page_records, self.page_records)
        page = found[:size]
        if request.keys_only:
            page = [msgspec.structs.replace(one, value=b"") for one in page]
        header = ReadHeader(self.revision, 0, request.level)
        body = encode_range_reply(header, page, len(found) > size)
        session.reply(frame, body)


def plain(endpoints: str, **options: Unpack[ClientOptions]) -> AsyncClient:
    """A client without sessions: it says what it is asked to, and nothing else."""
    options["sessions"] = False
    return AsyncClient(endpoints, **options)


def plain_sync(endpoints: str, **options: Unpack[ClientOptions]) -> Client:
    """The same, synchronous."""
    options["sessions"] = False
    return Client(endpoints, **options)


@asynccontextmanager
async def running(
    *nodes: FakeNode, tls: SSLContext | None = None
) -> AsyncGenerator[str]:
    """Run these nodes; gives their endpoints, separated by commas."""
    try:
        for node in nodes:
            await node.start(tls)
        yield ",".join(node.endpoint for node in nodes)
    finally:
        for node in nodes:
            await node.stop()


def mute(session: Session, frame: RequestFrame) -> None:
    """Never answer."""


def refusing(
    code: ErrorCode, outcome: Outcome = Outcome.NOT_APPLIED, revision: int = 0
) -> Answer:
    """Answer everything with this error."""

    def answer(session: Session, frame: RequestFrame) -> None:
        session.refuse(frame, code, outcome, revision)

    return answer


def hanging_up(session: Session, frame: RequestFrame) -> None:
    """End the connection instead of answering."""
    session.transport.abort()
