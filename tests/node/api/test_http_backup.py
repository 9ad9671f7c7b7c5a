"""`/v1/backup` over real sockets: what comes, and what is refused before."""

import json

import aiohttp
import pytest

from .support import connect, http, open_port

PATH = "/v1/backup"


async def test_a_backup_comes_in_pieces() -> None:
    async with open_port() as port:
        port.service.backups = [b"head", b"x" * 300_000, b"hash"]
        url = f"http://127.0.0.1:{port.listener.port}{PATH}"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            body = await reply.read()
    assert reply.status == 200
    assert body == b"head" + b"x" * 300_000 + b"hash"
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_client_of_http_1_0_gets_it_without_chunks() -> None:
    async with open_port() as port, connect(port) as raw:
        port.service.backups = [b"head", b"x" * 300_000, b"hash"]
        raw.send(f"GET {PATH} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        top, _, body = (await raw.read_to_end()).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.0 200 ")
    assert b"transfer-encoding" not in top.lower()
    assert body == b"head" + b"x" * 300_000 + b"hash"


async def test_a_refusal_comes_before_the_first_byte() -> None:
    async with open_port() as port:
        port.service.backups = [None]
        reply = await http(port, "GET", PATH)
    assert reply.status == 429
    assert json.loads(reply.body)["code"] == "too_busy"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", PATH, 405),
        ("HEAD", PATH, 405),
        ("GET", PATH + "?timeout=never", 400),
        ("GET", PATH + "?all=1", 400),
    ],
)
async def test_what_makes_no_sense_is_refused(
    method: str, path: str, status: int
) -> None:
    async with open_port() as port:
        reply = await http(port, method, path)
    assert reply.status == status
