"""Who watches what in the benchmark of watchers, and what is counted."""

import asyncio
from collections import Counter

from quorate.benchmarks.watchers import CONNECTIONS, KEYS, WATCHES, Watcher, keys_of
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    RequestKind,
    RequestParser,
    ServerHello,
    encode_reply,
    encode_server_hello,
)

HELLO = encode_server_hello(
    ServerHello(
        version=1,
        cluster_id=1,
        member_id=1,
        name="n1",
        server="test",
        request_bytes_max=1 << 20,
        endpoints=(),
    )
)


class Wire(asyncio.Transport):
    """Keeps what is written; notes whether it is read from."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def reply(number: int, status: int = OK) -> bytes:
    return encode_reply(RequestKind.WATCH, number, status, b"anything")


async def greeted(deaf: bool) -> tuple[Watcher, Wire]:
    watcher, wire = Watcher(0, deaf), Wire()
    watcher.connection_made(wire)
    wire.sent = b""
    watcher.data_received(HELLO[:5])
    watcher.data_received(HELLO[5:])
    return watcher, wire


def test_ten_connections_watch_each_key() -> None:
    watched = Counter(key for each in range(CONNECTIONS) for key in keys_of(each))
    assert len(watched) == KEYS
    assert set(watched.values()) == {CONNECTIONS * WATCHES // KEYS}


async def test_a_watcher_asks_for_each_of_its_keys() -> None:
    _, wire = await greeted(deaf=False)
    frames = RequestParser(DEFAULT_LIMITS).feed(wire.sent)
    assert [frame.kind for frame in frames] == [RequestKind.WATCH] * WATCHES
    assert len({frame.request_id for frame in frames}) == WATCHES


async def test_a_watcher_counts_whole_replies_however_they_come() -> None:
    watcher, wire = await greeted(deaf=False)
    data = b"".join(reply(number + 1) for number in range(WATCHES + 5))
    for at in range(0, len(data), 7):
        watcher.data_received(data[at : at + 7])
    assert watcher.ready.done()
    assert (watcher.told, watcher.ended) == (WATCHES + 5, 0)
    watcher.data_received(reply(1, REFUSED))
    assert watcher.ended == 1
    assert not wire.reading, "until it looks again"
    watcher.look()
    assert wire.reading
    watcher.data_received(reply(1))
    assert not wire.reading


async def test_a_deaf_watcher_reads_no_more_once_all_its_watches_are_there() -> None:
    watcher, wire = await greeted(deaf=True)
    watcher.data_received(b"".join(reply(n + 1) for n in range(WATCHES - 1)))
    assert wire.reading
    watcher.data_received(reply(WATCHES))
    assert not wire.reading
    watcher.look()
    assert not wire.reading
