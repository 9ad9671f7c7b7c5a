"""The ladder's lower rungs: servers that do less and less of what quorate does.

    python -m quorate.benchmarks.rungs socket | loop | journal FILE
                                     | replicated FILE CERTS PORT PORT
                                     | follower FILE CERTS

Law: each answers quorate's frames with quorate's replies and understands nothing of
them: no key is stored, nothing is checked, a batch is bytes. `socket` is recv and send;
`loop` the same under uvloop; `journal` syncs what came while the last sync ran, before
it answers; `replicated` sends it to two followers at the same time, over mutual TLS,
and answers when two of the three have synced. So each rung is what no system that does
so much in Python can beat. A rung prints its port, and ends with its standard input.
"""

import asyncio
import os
import queue
import selectors
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast

import uvloop
from quorate.wire import OK, RequestKind, encode_reply, encode_write_reply

_REQUEST: Final = struct.Struct("<IBBHII")
_LENGTH_BYTES: Final = 4
_BODY: Final = encode_write_reply(2, 1)
_BATCH_LENGTH: Final = struct.Struct("<Q")
# Zeros once and then written again and again, as quorate's journal is.
FILE_BYTES: Final = 16 << 20
PAGE_BYTES: Final = 4096
RECEIVE_BYTES: Final = 256 * 1024


def cut(data: bytes) -> tuple[list[int], int]:
    """The ids of the requests that are whole, and where they end."""
    ids: list[int] = []
    offset, size = 0, len(data)
    length: int
    request_id: int
    while size - offset >= _REQUEST.size:
        length, _, _, _, request_id, _ = _REQUEST.unpack_from(data, offset)
        end = offset + _LENGTH_BYTES + length
        if end > size:
            break
        ids.append(request_id)
        offset = end
    return ids, offset


def answers(ids: list[int]) -> bytes:
    """A reply to each, as to a put that was done."""
    return b"".join(encode_reply(RequestKind.WRITE, each, OK, _BODY) for each in ids)


def committed(own: int, others: list[int]) -> int:
    """The last batch that two of three have."""
    return sorted([own, *others])[1]


# -- socket ----------------------------------------------------------------------------


def serve_socket() -> None:
    """One thread, epoll, and a blocking send."""
    listener = socket.create_server(("127.0.0.1", 0))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    _say(listener.getsockname()[1])
    kept: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                kept[connection] = b""
                continue
            connection = cast(socket.socket, key.fileobj)
            data = connection.recv(RECEIVE_BYTES)
            if not data:
                selector.unregister(connection)
                del kept[connection]
                connection.close()
                continue
            data = kept[connection] + data
            ids, end = cut(data)
            kept[connection] = data[end:]
            if ids:
                connection.sendall(answers(ids))


# -- loop ------------------------------------------------------------------------------


class Taker(Protocol):
    """Who is handed whole requests."""

    def take(self, client: "Client", ids: list[int], data: bytes) -> None: ...


class Client(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, taker: Taker) -> None:
        self._taker: Taker = taker
        self._kept: bytes = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._kept + data
        ids, end = cut(data)
        self._kept = data[end:]
        if ids:
            self._taker.take(self, ids, data[:end])

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def answer(self, ids: list[int]) -> None:
        if self._transport is not None:
            self._transport.write(answers(ids))


class Echo:
    """Answers at once."""

    def take(self, client: Client, ids: list[int], data: bytes) -> None:
        client.answer(ids)


# -- journal ---------------------------------------------------------------------------


class SyncedFile:
    """A thread that writes and syncs what it is given; `done` is called in the loop."""

    def __init__(self, path: Path) -> None:
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._file: int = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._file, bytes(FILE_BYTES), 0)
        os.fsync(self._file)
        self._offset: int = 0
        self._queue: queue.SimpleQueue[tuple[bytes, Callable[[], None]]] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, data: bytes, done: Callable[[], None]) -> None:
        self._queue.put((data, done))

    def _run(self) -> None:
        while True:
            data, done = self._queue.get()
            padded = data + bytes(-len(data) % PAGE_BYTES)
            if self._offset + len(padded) > FILE_BYTES:
                self._offset = 0
            os.pwrite(self._file, padded, self._offset)
            os.fdatasync(self._file)
            self._offset += len(padded)
            self._loop.call_soon_threadsafe(done)


class Journal:
    """Batches: what came while the last sync ran is synced next, then answered."""

    def __init__(self, path: Path) -> None:
        self._file: SyncedFile = SyncedFile(path)
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._waiting: list[tuple[Client, list[int]]] = []
        self._data: list[bytes] = []
        self._batches: dict[int, list[tuple[Client, list[int]]]] = {}
        self._number: int = 0
        self._answered: int = 0
        self._busy: bool = False
        self._planned: bool = False
        self.synced: int = 0

    def take(self, client: Client, ids: list[int], data: bytes) -> None:
        self._waiting.append((client, ids))
        self._data.append(data)
        if not self._planned and not self._busy:
            self._planned = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._planned = False
        self._busy = True
        self._number += 1
        data = b"".join(self._data)
        self._batches[self._number] = self._waiting
        self._waiting, self._data = [], []
        self.send(data)
        self._file.submit(data, self._synced)

    def send(self, data: bytes) -> None:
        """To whoever else shall have it."""

    def durable(self) -> int:
        """The last batch that may be answered."""
        return self.synced

    def _synced(self) -> None:
        self._busy = False
        self.synced += 1
        self.settle()
        if self._waiting:
            self._begin()

    def settle(self) -> None:
        """Answer what may be."""
        until = self.durable()
        while self._answered < until:
            self._answered += 1
            for client, ids in self._batches.pop(self._answered):
                client.answer(ids)


# -- replicated ------------------------------------------------------------------------


class Replicated(Journal):
    """The same, with two followers, of which one has to have it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.followers: list[Acknowledged] = []

    def send(self, data: bytes) -> None:
        for each in self.followers:
            each.send(data)

    def durable(self) -> int:
        return committed(self.synced, [each.acknowledged for each in self.followers])


class Acknowledged(asyncio.Protocol):
    """The leader's connection to a follower, which tells how many batches it has."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.acknowledged: int = 0
        self._changed: Callable[[], None] = changed
        self._kept: bytes = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(_BATCH_LENGTH.pack(len(data)) + data)

    def data_received(self, data: bytes) -> None:
        data = self._kept + data
        whole = len(data) - len(data) % _BATCH_LENGTH.size
        self._kept = data[whole:]
        if whole:
            (self.acknowledged,) = _BATCH_LENGTH.unpack_from(
                data, whole - _BATCH_LENGTH.size
            )
            self._changed()


class Follower(asyncio.Protocol):
    """Syncs what came, as one, and tells how many batches that makes."""

    def __init__(self, file: SyncedFile) -> None:
        self._file: SyncedFile = file
        self._kept: bytearray = bytearray()
        self._number: int = 0
        self._data: list[bytes] = []
        self._busy: bool = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._kept += data
        head = _BATCH_LENGTH.size
        length: int
        while len(self._kept) >= head:
            (length,) = _BATCH_LENGTH.unpack_from(self._kept)
            if len(self._kept) < head + length:
                break
            self._data.append(bytes(self._kept[head : head + length]))
            del self._kept[: head + length]
            self._number += 1
        if self._data and not self._busy:
            self._begin()

    def _begin(self) -> None:
        self._busy = True
        number, data = self._number, b"".join(self._data)
        self._data = []
        self._file.submit(data, lambda: self._synced(number))

    def _synced(self, number: int) -> None:
        self._busy = False
        if self._transport is not None:
            self._transport.write(_BATCH_LENGTH.pack(number))
        if self._data:
            self._begin()


def tls(certs: Path, *, server: bool) -> ssl.SSLContext:
    """Both ends show a certificate of the one CA, as quorate's peers do."""
    purpose = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certs / "ca.crt")
    context.load_cert_chain(certs / "node.crt", certs / "node.key")
    return context


# -- the process -----------------------------------------------------------------------


async def serve(name: str, arguments: list[str]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    context: ssl.SSLContext | None = None
    make: Callable[[], asyncio.Protocol]
    match name, arguments:
        case "loop", []:
            taker: Taker = Echo()
            make = lambda: Client(taker)  # noqa: E731
        case "journal", [file]:
            journal = Journal(Path(file))
            make = lambda: Client(journal)  # noqa: E731
        case "replicated", [file, certs, *ports]:
            leader = Replicated(Path(file))
            for port in ports:
                each = Acknowledged(leader.settle)
                leader.followers.append(each)
                await loop.create_connection(
                    lambda each=each: each,
                    *("127.0.0.1", int(port)),
                    ssl=tls(Path(certs), server=False),
                )
            make = lambda: Client(leader)  # noqa: E731
        case "follower", [file, certs]:
            synced = SyncedFile(Path(file))
            context = tls(Path(certs), server=True)
            make = lambda: Follower(synced)  # noqa: E731
        case _:
            raise SystemExit(__doc__)
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
    _say(server.sockets[0].getsockname()[1])
    ended = asyncio.Event()
    loop.add_reader(0, ended.set)
    await ended.wait()
    server.close()


def _say(port: int) -> None:
    print(port, flush=True)


def main() -> None:
    name, *arguments = sys.argv[1:]
    if name == "socket":
        serve_socket()
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(name, arguments))


if __name__ == "__main__":
    main()
