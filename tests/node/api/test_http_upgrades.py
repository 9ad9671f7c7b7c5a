"""Requests that ask for a protocol that is not spoken, and what comes behind them."""

import asyncio
from collections.abc import AsyncIterator
from itertools import combinations
from typing import Any, cast

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from quorate.node.api.http_upgrades import UpgradeParser

from .support import Port, connect, head, open_port, wait_for

WISH = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
LIMIT = 1 << 16
PATH = "/v1/kv/a"


def put(body: bytes = b"value", **wish: str) -> bytes:
    return head("PUT", PATH, Content_Length=str(len(body)), **wish) + body


CHUNKED = (
    head("PUT", PATH, Transfer_Encoding="chunked", **WISH) + b"5\r\nvalue\r\n0\r\n\r\n"
)
# Each with its body.
WISHES = [
    (head("GET", PATH, **WISH), b""),
    (put(b"value", **WISH), b"value"),
    (put(b"", **WISH), b""),
    (put(b"PUT a\r\n\r\nPUT b\r\n\r\n", **WISH), b"PUT a\r\n\r\nPUT b\r\n\r\n"),
    (CHUNKED, b"value"),
]


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def parser_of_a_connection() -> UpgradeParser:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    parser = UpgradeParser(HttpRequestParser(protocol, loop, LIMIT))
    protocol._parser = cast(Any, parser)
    return parser


def parsed(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """The bodies of all requests that are served; is the last one said to be it?"""
    parser, last = parser_of_a_connection(), False
    bodies: list[StreamReader] = []
    for piece in pieces:
        messages, upgraded, tail = parser.feed_data(piece)
        assert (upgraded, tail) == (False, b"")
        for message, body in messages:
            if not last:
                bodies.append(body)
            last = last or message.should_close
    return [body.read_nowait(-1) for body in bodies if body.is_eof()], last


@pytest.mark.parametrize(("wish", "body"), WISHES)
async def test_nothing_is_lost_behind_an_upgrade_without_a_word(
    wish: bytes, body: bytes
) -> None:
    """In whatever pieces it comes: aiohttp's parser drops what is in the same one."""
    before, behind = put(b"before"), put(b"PUT\r\n\r\n") + put(b"last")
    all_of_it = before + wish + behind
    bodies = [b"before", body, b"PUT\r\n\r\n", b"last"]
    size = len(all_of_it)
    cuts = [(0, end) for end in range(size)]
    for first, second in [*cuts, *combinations(range(0, size, 11), 2)]:
        pieces = [all_of_it[:first], all_of_it[first:second], all_of_it[second:]]
        served, last = parsed(pieces)
        assert served == bodies[: len(served)]
        assert last or served == bodies
        assert len(served) >= 2


@pytest.mark.parametrize("at", range(4))
async def test_an_upgrade_in_pieces_that_end_with_it_costs_no_connection(
    at: int,
) -> None:
    """As clients send one that use HTTP/2 where they can: head, body, and the next."""
    wish, body = WISHES[at]
    end = wish.index(b"\r\n\r\n") + 4
    next_one = put(b"next")
    for pieces in (
        [wish, next_one],
        [wish[:end], wish[end:], next_one],
        [wish[:end], wish[end : end + 2], wish[end + 2 :] + next_one],
    ):
        assert parsed(pieces) == ([body, b"next"], False)


async def test_a_body_that_is_not_read_yet_keeps_what_is_behind_it_back() -> None:
    parser = parser_of_a_connection()
    large = b"x" * (4 * LIMIT)
    wish = put(large, **WISH)
    [(_, body)] = parser.feed_data(wish[:LIMIT])[0]
    assert not parser.feed_data(wish[LIMIT:] + put(b"next"))[0]
    read, behind = bytearray(), b""
    for _ in range(10):
        read += body.read_nowait(-1)
        for _, following in parser.feed_data(b"")[0]:
            behind += following.read_nowait(-1)
    assert (read, behind) == (large, b"next")


async def test_what_is_sent_behind_an_upgrade_is_answered_or_the_connection_ends(
    port: Port,
) -> None:
    async with connect(port) as raw:
        raw.send(put(b"value", **WISH) + head("GET", PATH))
        reply = await raw.http_reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await raw.read_to_end() == b""
    async with connect(port) as raw:
        wish = put(b"in two pieces", **WISH)
        raw.send(wish[:-3])
        await wait_for(lambda: port.listener.connections == 1)
        await raw.drain()
        raw.send(wish[-3:] + head("GET", PATH))
        assert (await raw.http_reply()).status == 200
