"""TLS at the client port: who gets in, what the others are told, what it may cost."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import cast

import msgspec
import pytest
from quorate.client import AsyncClient, TlsFailed, Unauthenticated
from quorate.node.api.door import Door
from quorate.node.api.handshakes import STEPS_PER_TURN, Handshakes
from quorate.node.api.rights import ANYBODY, NO_CERTIFICATE, Principal
from quorate.node.api.secure import SecureConnection
from quorate.node.client_tls import ClientTlsFiles
from quorate.wire.commands import encode_put
from quorate.wire.frames import OK, RequestKind
from quorate.wire.requests import GetRequest, Level, encode_get

from ..client_tls_kit import AGO, Folder, copy_over, files_of, joined
from .support import (
    OPTIONS,
    FakeService,
    NativeClient,
    Port,
    Raw,
    Reply,
    connect,
    head,
    native,
    open_port,
    wait_for,
)

MIB = 1 << 20
ALERT = b"\x15\x03"


@pytest.fixture
def ours(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "ours")


@asynccontextmanager
async def secured(ours: Folder, **changes: object) -> AsyncGenerator[Port]:
    """A client port that wants certificates."""
    if "tls" not in changes:
        changes["tls"] = files_of(ours.server())
    async with open_port(**changes) as port:
        yield port


@asynccontextmanager
async def connect_tls(port: Port, context: ssl.SSLContext) -> AsyncGenerator[Raw]:
    """A connection to the port, by TLS."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port.listener.port, limit=1 << 24, ssl=context
    )
    raw = Raw(reader, writer)
    try:
        yield raw
    finally:
        await raw.close()


async def https(
    port: Port, context: ssl.SSLContext, method: str, target: str, body: bytes = b""
) -> Reply:
    async with connect_tls(port, context) as raw:
        length = {"Content_Length": str(len(body))} if body else {}
        raw.send(head(method, target, **length) + body)
        return await raw.http_reply(method)


def client_of(
    port: Port, ours: Folder, pair: tuple[str, str] | None = None
) -> AsyncClient:
    certfile, keyfile = pair or (None, None)
    return AsyncClient(
        f"127.0.0.1:{port.listener.port}",
        sessions=False,
        learn=False,
        timeout=60,
        cafile=ours.cafile,
        certfile=certfile,
        keyfile=keyfile,
    )


# -- who gets in -------------------------------------------------------------------


async def test_whoever_shows_a_certificate_is_served_in_all_three_ways(
    ours: Folder,
) -> None:
    cert, key = ours.client()
    context = ours.trusting((cert, key))
    async with secured(ours) as port:
        stored = await https(port, context, "PUT", "/v1/kv/a", b"x")
        assert (stored.status, port.service.records[b"a"].value) == (200, b"x")
        body = b'{"key": "YQ=="}'
        etcd = await https(port, context, "POST", "/v3/kv/range", body)
        assert etcd.json()["count"] == "1"
        async with client_of(port, ours, (cert, key)) as kv:
            await kv.put("b", b"y" * (3 * MIB))
            entry = await kv.get("b")
            assert entry is not None
            assert entry.value == b"y" * (3 * MIB)


async def test_whoever_shows_none_sees_what_probes_see_and_is_told_why(
    ours: Folder,
) -> None:
    context = ours.trusting()
    async with secured(ours) as port:
        assert (await https(port, context, "GET", "/livez")).status == 200
        for target in ("/v1/kv/a", "/v1/status", "/metrics", "/nowhere"):
            reply = await https(port, context, "GET", target)
            assert (reply.status, reply.json()["code"]) == (401, "unauthenticated")
            assert "wants a client's certificate" in str(reply.json()["detail"])
        etcd = await https(port, context, "POST", "/v3/kv/range", b"{}")
        assert etcd.json()["code"] == 16
        async with client_of(port, ours) as kv:
            with pytest.raises(Unauthenticated, match="client's certificate"):
                await kv.put("a", "x", timeout=600)
        assert port.service.asked == []


async def test_the_certificate_of_a_member_or_of_another_cluster_lets_nobody_in(
    ours: Folder, tmp_path: Path
) -> None:
    elsewhere = Folder(tmp_path / "elsewhere", cluster_id=0xBAD)
    both = joined(tmp_path / "both.crt", ours.cafile, elsewhere.cafile)
    tls = files_of(msgspec.structs.replace(ours.server(), ca=both))
    async with secured(ours, tls=tls) as port:
        for pair, reason in (
            (ours.member(), "of a member"),
            (elsewhere.client(), "of cluster 0000000000000bad"),
        ):
            reply = await https(port, ours.trusting(pair), "GET", "/v1/kv/a")
            assert reply.status == 401
            assert reason in str(reply.json()["detail"])


async def test_a_certificate_that_can_not_be_verified_ends_the_handshake(
    ours: Folder, tmp_path: Path
) -> None:
    theirs = Folder(tmp_path / "theirs")
    async with secured(ours) as port:
        for (cert, key), reason in (
            (theirs.client(), "another authority"),
            (ours.client("late", now=AGO), "expired"),
        ):
            async with client_of(port, ours, (cert, key)) as kv:
                with pytest.raises(Unauthenticated, match=reason):
                    await kv.put("a", "x", timeout=60)
        assert port.listener.handshakes_failed == 2
        assert port.service.asked == []


async def test_a_servers_certificate_is_not_a_clients(ours: Folder) -> None:
    other = ours.server("n2")
    async with (
        secured(ours) as port,
        client_of(port, ours, (other.cert, other.key)) as kv,
    ):
        with pytest.raises(Unauthenticated, match="not for clients"):
            await kv.put("a", "x", timeout=60)


async def test_the_door_is_told_the_name_of_the_certificate(
    ours: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Principal] = []
    original = Door.principal

    def principal(
        door: Door, token: bytes | None, certified: Principal | None
    ) -> Principal:
        seen.append(original(door, token, certified))
        return seen[-1]

    monkeypatch.setattr(Door, "principal", principal)
    cert, key = ours.client("alice")
    async with secured(ours) as port:
        await https(port, ours.trusting((cert, key)), "GET", "/v1/kv/a")
        async with client_of(port, ours, (cert, key)) as kv:
            await kv.get("a")
    assert seen == [Principal("client/alice", unlimited=True)] * 2


@pytest.mark.parametrize(
    ("certificate", "token", "status"),
    [(True, True, 200), (True, False, 401), (False, True, 401)],
)
async def test_where_both_are_wanted_both_have_to_be_good(
    ours: Folder, certificate: bool, token: bool, status: int
) -> None:
    digests = (sha256(b"t" * 32).digest(),)
    context = ours.trusting(ours.client() if certificate else None)
    shown = {"Authorization": "Bearer " + "t" * 32} if token else {}
    async with (
        secured(ours, token_digests=digests) as port,
        connect_tls(port, context) as raw,
    ):
        raw.send(head("GET", "/v1/status", **shown))
        assert (await raw.http_reply()).status == status


async def test_without_a_ca_no_certificate_is_asked_for(ours: Folder) -> None:
    tls = files_of(msgspec.structs.replace(ours.server(), ca=""))
    async with secured(ours, tls=tls) as port:
        reply = await https(port, ours.trusting(), "GET", "/v1/status")
        assert reply.status == 200


def test_a_door_that_wants_certificates_knows_nobody_without_one(
    ours: Folder,
) -> None:
    service = FakeService(OPTIONS.limits)
    plain = Door(service, OPTIONS)
    assert plain.principal(None, None) is ANYBODY
    options = msgspec.structs.replace(OPTIONS, tls=files_of(ours.server()))
    assert Door(service, options).principal(None, None) is NO_CERTIFICATE


# -- what is no TLS ----------------------------------------------------------------


async def test_plain_http_is_told_to_use_tls(ours: Folder) -> None:
    async with secured(ours) as port, connect(port) as raw:
        raw.send(head("GET", "/livez"))
        reply = await raw.http_reply()
        assert reply.status == 400
        assert b"https://" in reply.body
        assert await raw.read_to_end() == b""


async def test_a_plain_native_client_is_told_that_tls_is_spoken(ours: Folder) -> None:
    async with (
        secured(ours) as port,
        AsyncClient(f"127.0.0.1:{port.listener.port}", timeout=60) as kv,
    ):
        with pytest.raises(TlsFailed, match="name its CA"):
            await kv.get("a")


async def test_a_client_with_tls_is_told_that_a_plain_port_speaks_none(
    ours: Folder,
) -> None:
    async with open_port() as port, client_of(port, ours) as kv:
        with pytest.raises(TlsFailed, match="speaks no TLS"):
            await kv.get("a", timeout=60)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 100,
        b"garbage\r\n\r\n",
        b"\x16" * 5000,
        b"\x16\x03\x01\xff\xff" + b"x" * 70000,
    ],
    ids=["zeros", "text", "records", "a long record"],
)
async def test_garbage_is_answered_with_an_alert_and_closed(
    ours: Folder, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with secured(ours) as port:
        async with connect(port) as raw:
            raw.send(garbage)
            assert (await raw.read_to_end())[:2] in (ALERT, b"")
        await wait_for(lambda: port.listener.connections == 0)
        assert port.listener.handshakes_failed == 1
    assert all(record.exc_info is None for record in caplog.records)


async def test_many_failures_are_one_line_of_the_log(
    ours: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    async with secured(ours) as port:
        for _ in range(5):
            async with connect(port) as raw:
                raw.send(b"\0")
                await raw.read_to_end()
        assert port.listener.handshakes_failed == 5
    assert sum("was refused" in r.message for r in caplog.records) == 1


# -- what it may cost --------------------------------------------------------------


async def test_a_handshake_that_takes_too_long_is_ended(ours: Folder) -> None:
    async with secured(ours, handshake_timeout_s=0.05) as port:
        for begun in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"):
            async with connect(port) as raw:
                raw.send(begun)
                assert await raw.read_to_end() == b""
        assert port.listener.connections == 0
        assert port.listener.handshakes_failed == 3


async def test_connections_in_their_handshake_count(ours: Folder) -> None:
    context = ours.trusting(ours.client())
    async with secured(ours, connections_max=2) as port:
        async with connect(port) as mute, connect_tls(port, context) as raw:
            raw.send(head("GET", "/livez"))
            assert (await raw.http_reply()).status == 200
            assert port.listener.connections == 2
            async with connect(port) as third:
                assert await third.read_to_end() == b""
            mute.send(b"\x16")
        await wait_for(lambda: port.listener.connections == 0)


async def test_closing_the_port_ends_handshakes_too(ours: Folder) -> None:
    async with secured(ours) as port, connect(port) as mute, connect(port) as begun:
        begun.send(b"\x16\x03\x01\x02\x00\x01")
        await wait_for(lambda: port.listener.connections == 2)
        await port.listener.close()
        assert await mute.read_to_end() == await begun.read_to_end() == b""


async def test_who_does_not_read_is_ended_and_holds_little(ours: Folder) -> None:
    # The transport below is asked, so that what is encrypted and unsent counts.
    context = ours.trusting(ours.client())
    async with (
        secured(ours, stall_timeout_s=0.2) as port,
        connect_tls(port, context) as raw,
    ):
        client = NativeClient(raw, port.options.limits)
        await client.hello()
        client.ask(RequestKind.WRITE, 1, encode_put(b"a", b"x" * (4 * MIB)))
        assert (await client.reply()).status == OK
        raw.stop_reading()
        body = encode_get(GetRequest(Level.LOCAL, 0, 0, b"a"))
        for number in range(2, 40):
            client.ask(RequestKind.GET, number, body)
        await wait_for(lambda: port.listener.connections == 0)
        raw.reset()


async def test_steps_of_handshakes_leave_turns_of_the_loop_to_others() -> None:
    loop = asyncio.get_running_loop()
    handshakes, done = Handshakes(loop), list[int]()
    per_turn: list[int] = []

    def step(number: int) -> Callable[[], None]:
        return lambda: done.append(number)

    for number in range(3 * STEPS_PER_TURN + 1):
        handshakes.plan(step(number))
    while len(done) < 3 * STEPS_PER_TURN + 1:
        before = len(done)
        await asyncio.sleep(0)
        per_turn.append(len(done) - before)
    assert done == list(range(3 * STEPS_PER_TURN + 1))
    assert max(per_turn) == STEPS_PER_TURN


# -- bytes -------------------------------------------------------------------------


async def test_a_handshake_may_come_byte_by_byte(ours: Folder) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ours.trusting(ours.client())
    session = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    async with secured(ours) as port, connect(port) as raw:

        async def step(act: Callable[[], object]) -> object:
            while True:
                try:
                    result = act()
                except ssl.SSLWantReadError:
                    result = None
                for byte in outgoing.read():
                    raw.send(bytes([byte]))
                    await raw.drain()
                    await asyncio.sleep(0)
                if result is not None:
                    return result
                async with asyncio.timeout(5):
                    incoming.write(await raw.reader.read(100))

        await step(lambda: session.do_handshake() or True)
        await step(lambda: session.write(head("GET", "/livez")))
        reply = cast(bytes, await step(lambda: session.read(1000)))
        assert reply.startswith(b"HTTP/1.1 200 OK")


def half_close(port: int, context: ssl.SSLContext) -> bytes:
    """Ask, shut our side as TLS does it, and read all that comes; blocking."""
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(head("GET", "/v1/status"))
        answer = tls.recv(65536)
        tls.unwrap()
        return answer


async def test_both_sides_say_goodbye(ours: Folder) -> None:
    context = ours.trusting(ours.client())
    async with secured(ours) as port:
        # `unwrap` fails unless the other side says goodbye as well.
        answer = await asyncio.to_thread(half_close, port.listener.port, context)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        await wait_for(lambda: port.listener.connections == 0)


def ask_and_say_goodbye(port: int, context: ssl.SSLContext, request: bytes) -> bytes:
    """Ask, say goodbye as TLS does and nothing else, read all that comes; blocking."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))
        session.write(request)
        with contextlib.suppress(ssl.SSLWantReadError):
            session.unwrap()
        plain.sendall(outgoing.read())
        while data := plain.recv(65536):
            incoming.write(data)
    answer = b""
    with contextlib.suppress(ssl.SSLError):
        while piece := session.read(65536):
            answer += piece
    return answer


async def test_whoever_says_goodbye_after_asking_is_answered(ours: Folder) -> None:
    context = ours.trusting(ours.client())
    requests = head("PUT", "/v1/kv/a", Content_Length="1") + b"v"
    requests += head("GET", "/v1/kv/a")
    async with secured(ours) as port:
        port.service.holding = True
        asking = asyncio.create_task(
            asyncio.to_thread(
                ask_and_say_goodbye, port.listener.port, context, requests
            )
        )
        await wait_for(lambda: len(port.service.held) == 1)
        (secure,) = port.listener._port.secured
        assert isinstance(secure, SecureConnection)
        await wait_for(lambda: secure._ended)
        # What comes behind a goodbye is not kept.
        secure.data_received(b"x" * 100)
        assert secure._incoming.pending == 0
        port.service.release()
        answer = await asking
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert answer.endswith(b"\r\n\r\nv")
        await wait_for(lambda: port.listener.connections == 0)


# -- certificates that are good no more --------------------------------------------


async def files_with_own_ca(ours: Folder, tmp_path: Path) -> tuple[ClientTlsFiles, str]:
    trusted = str(tmp_path / "trusted.crt")
    copy_over(ours.cafile, trusted)
    return files_of(msgspec.structs.replace(ours.server(), ca=trusted)), trusted


async def test_another_ca_ends_connections_and_another_certificate_does_not(
    ours: Folder, tmp_path: Path
) -> None:
    files, trusted = await files_with_own_ca(ours, tmp_path)
    port_files, new = ours.directory / "server-n1", ours.server("n2")
    context = ours.trusting(ours.client())
    async with secured(ours, tls=files) as port:
        async with connect_tls(port, context) as raw, connect_tls(port, context) as web:
            client = NativeClient(raw, port.options.limits)
            await client.hello()
            web.send(head("GET", "/livez"))
            await web.http_reply()
            copy_over(new.cert, str(port_files / "server.crt"))
            copy_over(new.key, str(port_files / "server.key"))
            for _ in range(2):
                await files.look()
            assert files.reloads == 1
            port.listener.end_overdue(time.time())
            client.ask(RequestKind.PING, 1)
            assert (await client.reply()).status == OK
            web.send(head("GET", "/livez"))
            assert (await web.http_reply()).status == 200

            copy_over(Folder(tmp_path / "theirs").cafile, trusted)
            for _ in range(2):
                await files.look()
            port.listener.end_overdue(time.time())
            await client.end()
            assert await web.read_to_end() == b""
        await wait_for(lambda: port.listener.connections == 0)


async def test_a_connection_does_not_outlive_its_certificate(ours: Folder) -> None:
    context = ours.trusting(ours.client(days=1))
    async with secured(ours) as port, connect_tls(port, context) as raw:
        client = NativeClient(raw, port.options.limits)
        await client.hello()
        port.listener.end_overdue(time.time() + 80_000)
        client.ask(RequestKind.PING, 1)
        assert (await client.reply()).status == OK
        port.listener.end_overdue(time.time() + 90_000)
        await client.end()


async def test_a_port_without_tls_has_nothing_to_end() -> None:
    async with open_port() as port, native(port) as client:
        port.listener.end_overdue(time.time() + 1e12)
        client.ask(RequestKind.PING, 1)
        assert (await client.reply()).status == OK
