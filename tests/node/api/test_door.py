"""The one door: whatever is asked, in whatever way, is asked about there first."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from quorate.node.api import http, rights
from quorate.node.api.connections import ClientPort
from quorate.node.api.door import Door
from quorate.node.api.etcd import gateway
from quorate.node.api.rights import Action, Operation, Principal, Refusal
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import OK, REFUSED, RequestKind
from quorate.wire.hello import (
    TOKEN_BYTES_MAX,
    ClientHello,
    ServerHello,
    encode_client_hello,
    parse_server_hello,
)
from quorate.wire.requests import decode_error

from .samples import ETCD, NATIVE, SAMPLES, Sample, prepare
from .support import NativeClient, Port, Reply, connect, head, open_port
from .support import http as ask

TOKEN = "canary-" + "0123456789abcdef" * 3
NEXT_TOKEN = "canary-" + "fedcba9876543210" * 3
DIGESTS = tuple(sha256(token.encode()).digest() for token in (TOKEN, NEXT_TOKEN))
GUEST = Principal("guest")

every_route = pytest.mark.parametrize(
    "sample", SAMPLES, ids=[f"{each.method} {each.route}" for each in SAMPLES]
)
every_etcd_path = pytest.mark.parametrize("path", ETCD)
# They say the same to everybody, or nothing of what is kept here.
OPEN = {
    *("/livez", "/livez/{check}", "/readyz", "/readyz/{check}"),
    *("/version", "/health", "/v1/openapi.json"),
}
ETCD_OPEN = {"auth/authenticate"}
# These do nothing, or tell what readiness tells everybody.
HARMLESS = {
    *("auth/status", "auth/disable"),
    *("maintenance/defragment", "maintenance/alarm"),
}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port that wants one of two tokens."""
    async with open_port(token_digests=DIGESTS) as opened:
        prepare(opened.service)
        yield opened


def bearer(token: str) -> str:
    return f"Bearer {token}"


async def asked(port: Port, sample: Sample, **headers: str) -> Reply:
    return await ask(port, sample.method, sample.target, sample.body, **headers)


async def asked_etcd(port: Port, path: str, **headers: str) -> Reply:
    """One request, whose answer may be a stream that ends."""
    body = ETCD[path]
    headers |= {"Connection": "close", "Content_Length": str(len(body))}
    async with connect(port) as raw:
        raw.send(head("POST", f"/v3/{path}", **headers) + body)
        start, _, rest = (await raw.read_to_end()).partition(b"\r\n\r\n")
        return Reply(int(start.split(b" ")[1]), {}, rest)


# -- nobody comes in without a token -----------------------------------------------


@every_route
async def test_nothing_but_what_is_open_is_answered_without_a_token(
    port: Port, sample: Sample
) -> None:
    reply = await asked(port, sample)
    if sample.route in OPEN:
        assert reply.status == 200
        return
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="quorate"'
    if sample.method != "HEAD":
        problem = reply.json()
        assert problem["code"] == "unauthenticated"
        reads = sample.method == "GET"
        assert problem.get("outcome") == (None if reads else "not_applied")
    assert not port.service.asked


@every_etcd_path
@pytest.mark.parametrize("prefix", gateway.PREFIXES)
async def test_nothing_of_etcds_is_answered_without_a_token(
    port: Port, path: str, prefix: str
) -> None:
    reply = await ask(port, "POST", prefix + path, ETCD[path])
    assert not port.service.asked
    if path in ETCD_OPEN:
        assert reply.status == 400
        return
    assert reply.status == 401
    assert reply.json()["code"] == 16
    assert reply.json()["message"] == "etcdserver: invalid auth token"


@pytest.mark.parametrize("target", ["/", "/v1/nothing", "/v3/nothing", "/v1/kv"])
async def test_whether_a_path_exists_is_not_told_without_a_token(
    port: Port, target: str
) -> None:
    for method in ("GET", "POST", "PATCH"):
        assert (await ask(port, method, target)).status == 401


@every_route
async def test_with_a_token_everything_is_answered(port: Port, sample: Sample) -> None:
    reply = await asked(port, sample, Authorization=bearer(TOKEN))
    assert reply.status in (200, 201, 202, 204)


async def test_each_token_of_the_file_is_good(port: Port) -> None:
    for token in (TOKEN, NEXT_TOKEN):
        reply = await ask(port, "GET", "/v1/kv/a", Authorization=bearer(token))
        assert reply.status == 200


@pytest.mark.parametrize(
    "header",
    [
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        bearer(""),
        "Bearer",
        f"Basic {TOKEN}",
        bearer(sha256(TOKEN.encode()).hexdigest()),
        bearer("ü" * 20),
        bearer("x" * 8000),
    ],
)
async def test_another_token_is_none(port: Port, header: str) -> None:
    header = header.encode().decode("latin-1")
    reply = await ask(port, "GET", "/v1/kv/a", Authorization=header)
    assert reply.status == 401
    assert not port.service.asked


async def test_a_token_is_shown_as_bearer_or_as_etcds_clients_do(port: Port) -> None:
    for header in (bearer(TOKEN), f"bearer {TOKEN}", f"BEARER  {TOKEN}", TOKEN):
        reply = await ask(port, "GET", "/v1/kv/a", Authorization=header)
        assert reply.status == 200, header
    reply = await asked_etcd(port, "kv/range", Authorization=TOKEN)
    assert reply.status == 200


async def test_of_whoever_has_no_token_no_body_is_read(port: Port) -> None:
    async with connect(port) as raw:
        # Only the head is sent: whoever waited for the body would wait.
        raw.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        reply = await raw.http_reply()
    assert reply.status == 401
    assert reply.headers["connection"] == "close"


async def test_a_foreign_origin_is_refused_whatever_token_it_has(port: Port) -> None:
    reply = await ask(
        port,
        "GET",
        "/v1/kv/a",
        Authorization=bearer(TOKEN),
        Origin="http://evil.example",
    )
    assert reply.status == 403


async def test_a_port_that_wants_no_token_does_not_look_at_one() -> None:
    async with open_port() as port:
        prepare(port.service)
        reply = await ask(port, "GET", "/v1/kv/a", Authorization="Bearer nonsense")
        assert reply.status == 200
        async with greeted(port, b"nonsense") as (hello, _):
            assert hello.refused == ""


# -- etcd's way to a token ---------------------------------------------------------


async def test_etcds_clients_get_a_token_with_it_as_the_password_of_root(
    port: Port,
) -> None:
    login = f'{{"name": "root", "password": "{TOKEN}"}}'.encode()
    reply = await ask(port, "POST", "/v3/auth/authenticate", login)
    assert reply.status == 200
    told = reply.json()["token"]
    assert isinstance(told, str)
    assert (await asked_etcd(port, "kv/range", Authorization=told)).status == 200


@pytest.mark.parametrize(
    ("name", "password"), [("root", TOKEN[1:]), ("", TOKEN), ("admin", TOKEN)]
)
async def test_another_name_or_password_is_refused_as_etcd_does(
    port: Port, name: str, password: str
) -> None:
    login = f'{{"name": "{name}", "password": "{password}"}}'.encode()
    reply = await ask(port, "POST", "/v3/auth/authenticate", login)
    assert reply.status == 400
    text = "etcdserver: authentication failed, invalid user ID or password"
    assert reply.json()["message"] == text


async def test_a_long_login_is_not_read(port: Port) -> None:
    reply = await ask(port, "POST", "/v3/auth/authenticate", b" " * 5000)
    assert reply.json()["message"] == "etcdserver: request is too large"


async def test_etcds_clients_are_told_that_a_token_is_wanted(port: Port) -> None:
    header = bearer(TOKEN)
    status = await asked_etcd(port, "auth/status", Authorization=header)
    assert status.json()["enabled"] is True
    for path in ("auth/disable", "auth/user/add"):
        reply = await ask(port, "POST", f"/v3/{path}", b"", Authorization=header)
        assert reply.json()["code"] == 12


# -- the native protocol -----------------------------------------------------------


@asynccontextmanager
async def greeted(
    port: Port, token: bytes
) -> AsyncGenerator[tuple[ServerHello, NativeClient]]:
    """The answer to a hello with this token, and the connection."""
    async with connect(port) as raw:
        raw.send(encode_client_hello(ClientHello(token=token)))
        data = b""
        while (found := parse_server_hello(data)) is None:
            data += await raw.reader.readexactly(1)
        yield found[0], NativeClient(raw, port.options.limits)


@pytest.mark.parametrize("token", [b"", b"x", TOKEN[1:].encode(), b"x" * 1024])
async def test_a_native_connection_without_a_token_ends_with_its_hello(
    port: Port, token: bytes
) -> None:
    async with greeted(port, token) as (hello, client):
        assert "token" in hello.refused
        # Where the other nodes are is for those who may ask.
        assert hello.endpoints == ()
        for number, (kind, body) in enumerate(NATIVE.items(), 1):
            client.ask(kind, number, body)
        frame = await client.reply()
        assert (frame.kind, frame.request_id) == (RequestKind.CONNECTION, 0)
        error = decode_error(frame.body, port.options.limits)
        assert error.code is ErrorCode.UNAUTHENTICATED
        assert error.outcome is Outcome.NOT_APPLIED
        assert await client.end() == b""
    assert not port.service.asked


@pytest.mark.parametrize("token", [TOKEN, NEXT_TOKEN])
async def test_a_native_connection_with_a_token_is_served(
    port: Port, token: str
) -> None:
    async with greeted(port, token.encode()) as (hello, client):
        assert hello.refused == ""
        assert hello.endpoints
        client.ask(RequestKind.WRITE, 1, NATIVE[RequestKind.WRITE])
        assert (await client.reply()).status == OK


async def test_a_hello_may_come_byte_by_byte(port: Port) -> None:
    async with connect(port) as raw:
        hello = encode_client_hello(ClientHello(token=TOKEN.encode()))
        for at in range(len(hello)):
            raw.send(hello[at : at + 1])
            await raw.drain()
        assert await raw.reader.readexactly(4) == b"\xabQRT"


async def test_a_token_that_is_too_long_is_not_waited_for(port: Port) -> None:
    async with connect(port) as raw:
        length = (TOKEN_BYTES_MAX + 1).to_bytes(2, "little")
        raw.send(b"\xabQRT\x01\x01" + length)
        assert await raw.read_to_end() == b""


# -- whoever is in is asked about each thing that he does --------------------------


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """Everybody is a guest, who may come in and do nothing; what was asked of him."""
    asked: list[Operation] = []

    def authorize(principal: Principal, operation: Operation) -> None:
        if principal.unlimited:
            return
        asked.append(operation)
        if principal is not GUEST or operation.action is not Action.ENTER:
            raise Refusal(ErrorCode.FORBIDDEN, "guests may not")

    def principal(
        door: Door, token: bytes | None, certified: Principal | None
    ) -> Principal:
        return GUEST

    monkeypatch.setattr(rights, "authorize", authorize)
    monkeypatch.setattr(Door, "principal", principal)
    return asked


@every_route
async def test_every_route_asks_the_door_what_may_be_done(
    port: Port, questions: list[Operation], sample: Sample
) -> None:
    reply = await asked(port, sample)
    if sample.route in OPEN:
        assert reply.status == 200
        return
    assert len(questions) > 1
    assert reply.status == 403
    if sample.method != "HEAD":
        assert reply.json()["code"] == "forbidden"
    assert not port.service.asked


@every_etcd_path
async def test_every_path_of_etcds_asks_the_door_what_may_be_done(
    port: Port, questions: list[Operation], path: str
) -> None:
    reply = await asked_etcd(port, path)
    assert not port.service.asked
    if path in HARMLESS | ETCD_OPEN:
        assert reply.status != 403
        return
    assert len(questions) > 1
    # What is streamed says it in its first message.
    assert b'"code":7' in reply.body or b'"grpc_code":7' in reply.body


async def test_every_kind_of_native_request_asks_the_door_what_may_be_done(
    port: Port, questions: list[Operation]
) -> None:
    assert NATIVE.keys() | {RequestKind.CONNECTION} == set(RequestKind)
    async with greeted(port, b"") as (_, client):
        for number, (kind, body) in enumerate(NATIVE.items(), 1):
            before = len(questions)
            client.ask(kind, number, body)
            frame = await client.reply()
            assert (frame.kind, frame.status) == (kind, REFUSED)
            error = decode_error(frame.body, port.options.limits)
            assert error.code is ErrorCode.FORBIDDEN
            writes = kind in (RequestKind.WRITE, RequestKind.MOVE_LEADER)
            assert error.outcome is (Outcome.NOT_APPLIED if writes else Outcome.NONE)
            assert len(questions) > before
    assert not port.service.asked


async def test_what_is_malformed_is_no_way_past_the_door(
    port: Port, questions: list[Operation]
) -> None:
    async with greeted(port, b"") as (_, client):
        client.ask(RequestKind.WRITE, 1, b"\xff" * 30)
        error = decode_error((await client.reply()).body, port.options.limits)
        assert error.code is ErrorCode.INVALID_REQUEST
    assert not port.service.asked


# -- and there are no others -------------------------------------------------------


def test_what_is_open_to_everybody_is_no_more_than_this() -> None:
    checks = {
        *("/livez/process", "/readyz/shutdown", "/readyz/data_corruption"),
        *("/readyz/disk_space", "/readyz/serializable_read"),
        "/readyz/linearizable_read",
    }
    assert {p for p in OPEN if "{" not in p} | checks | gateway.OPEN == http.OPEN
    assert {p + path for p in gateway.PREFIXES for path in ETCD_OPEN} == gateway.OPEN


async def test_every_path_of_etcds_has_a_sample(port: Port) -> None:
    loop = asyncio.get_running_loop()
    of_a_port = ClientPort(port.service, port.options, loop)
    assert ETCD.keys() == gateway.Gateway(of_a_port)._handlers.keys()


# -- a token is a secret -----------------------------------------------------------


async def test_no_token_is_logged_or_told(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bodies: list[bytes] = []
    for header in (bearer(TOKEN), bearer(TOKEN + "x"), f"Basic {TOKEN}"):
        for sample in SAMPLES:
            reply = await asked(port, sample, Authorization=header)
            bodies += [reply.body, repr(reply.headers).encode()]
    for token in (TOKEN.encode(), TOKEN.encode() + b"x"):
        async with greeted(port, token) as (hello, _):
            bodies.append(repr(hello).encode())
    assert "canary" not in caplog.text
    assert not any(b"canary" in body for body in bodies)
