"""Garbage on every port costs whoever sends it, and nobody else.

What is asserted of time is that everything ends; how long the loop was held is printed,
since a busy machine holds it by itself.
"""

import contextlib
import random
import re
import socket
import ssl
import struct
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from quorate.node.launcher import LocalNode
from quorate.wire import DEFAULT_LIMITS, ErrorCode, Outcome, RequestKind
from quorate.wire.commands import encode_put
from quorate.wire.frames import ReplyFrame, ReplyParser, encode_request
from quorate.wire.hello import encode_client_hello, parse_server_hello
from quorate.wire.requests import decode_error

from .harness import DEADLINE_S, Cluster, Running, wait_for

pytestmark = pytest.mark.slow

MIB = 1 << 20
GROWTH_BYTES_MAX = 50 * MIB
# What a node holds of half-received requests, at its default options.
PARTIAL_BYTES_MAX = 64 * MIB
DICE = random.Random(20)
FRAME_LENGTH_MAX = DEFAULT_LIMITS.request_bytes_max + 64
BABBLE = {
    "nothing": b"",
    "one byte": b"\0",
    "zeros": bytes(100_000),
    "dice": DICE.randbytes(100_000),
    "half a native hello": encode_client_hello()[:7],
    "a native hello of no version": b"\xabQRT\x07\x03\0\0",
    "native, then dice": encode_client_hello() + b"\xff" + DICE.randbytes(100_000),
    "HTTP of no version": b"GET / HTTP/9.9\r\n\r\n",
    "an endless request line": b"GET /" + b"a" * 100_000,
    "endless headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
    "two lengths": b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "a TLS hello": bytes.fromhex("1603010200010001fc0303") + DICE.randbytes(500),
    "a TLS record that is too long": struct.pack(">BHH", 22, 0x301, 65535) * 2000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000),
}


@contextmanager
def connected(host: str, port: int) -> Generator[socket.socket]:
    with socket.create_connection((host, port), DEADLINE_S) as connection:
        yield connection


def read_to_the_end(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts: list[bytes] = []
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            parts.append(data)
    return b"".join(parts)


def babble(host: str, port: int, data: bytes) -> bytes:
    """Send `data`, say that it was all, and read until the connection is closed."""
    with connected(host, port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        return read_to_the_end(connection)


@pytest.mark.parametrize("what", BABBLE)
def test_garbage_on_any_port_ends_with_a_closed_connection(
    healthy: Cluster, what: str
) -> None:
    for each in healthy.nodes:
        for address in (each.node.client, each.node.peer):
            for end in (len(BABBLE[what]), len(BABBLE[what]) // 2):
                answer = babble(address.host, address.port, BABBLE[what][:end])
                assert b" 200 " not in answer[:20]
                assert b"QPR" not in answer


def greeted(connection: socket.socket) -> bytes:
    """Say the native hello; what came behind the answer to it."""
    connection.sendall(encode_client_hello())
    data = b""
    while (found := parse_server_hello(data)) is None:
        piece = connection.recv(4096)
        assert piece, "closed in the middle of the hello"
        data += piece
    return data[found[1] :]


def native(node: LocalNode, data: bytes) -> list[ReplyFrame]:
    """What a node replies to these bytes until it closes the connection."""
    with connected(node.client.host, node.client.port) as connection:
        rest = greeted(connection)
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        parser = ReplyParser(DEFAULT_LIMITS)
        return parser.feed(rest + read_to_the_end(connection))


@pytest.mark.parametrize("length", [0, 11, FRAME_LENGTH_MAX + 1, 2**31, 2**32 - 1])
def test_a_frame_of_an_impossible_length_is_refused_from_its_head(
    healthy: Cluster, length: int
) -> None:
    for each in healthy.nodes:
        replies = native(each.node, struct.pack("<I", length) + b"\x01" * 64)
        assert [(reply.request_id, reply.status) for reply in replies] == [(0, 1)]
        error = decode_error(replies[0].body, DEFAULT_LIMITS)
        assert error.code in (ErrorCode.INVALID_REQUEST, ErrorCode.REQUEST_TOO_LARGE)


def test_a_frame_of_the_largest_length_is_read_whole_and_then_refused(
    healthy: Cluster,
) -> None:
    largest = encode_request(RequestKind.WRITE, 7, 0, bytes(FRAME_LENGTH_MAX - 12))
    ping = encode_request(RequestKind.PING, 8, 0, b"")
    replies = {r.request_id: r for r in native(healthy.nodes[0].node, largest + ping)}
    assert decode_error(replies[7].body, DEFAULT_LIMITS).outcome is Outcome.NOT_APPLIED
    # It was a frame all the same: what follows it is served.
    assert replies[8].status == 0


def test_too_long_keys_and_values_are_refused_by_name(healthy: Cluster) -> None:
    most = DEFAULT_LIMITS.value_bytes_max
    cases = {
        encode_put(b"k" * 4097, b"x"): ErrorCode.KEY_TOO_LONG,
        encode_put(b"k", bytes(most + 1)): ErrorCode.VALUE_TOO_LARGE,
        b"": ErrorCode.INVALID_REQUEST,
        b"\xff" * 40: ErrorCode.INVALID_REQUEST,
        encode_put(b"k", b"x") + b"x": ErrorCode.INVALID_REQUEST,
    }
    for command, code in cases.items():
        frame = encode_request(RequestKind.WRITE, 1, 0, command)
        (reply,) = native(healthy.nodes[1].node, frame)
        error = decode_error(reply.body, DEFAULT_LIMITS)
        assert (error.code, error.outcome) == (code, Outcome.NOT_APPLIED)
    node = healthy.nodes[2]
    for length in (most + 1, 2**33):
        # Refused from the head: the body is never sent.
        with connected(node.node.client.host, node.node.client.port) as connection:
            head = f"PUT /v1/kv/large HTTP/1.1\r\nHost: {node.node.client}\r\n"
            connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert node.request("GET", "/v1/kv/large").status == 404


def test_a_member_that_sends_garbage_behind_its_hello_is_cut_off(
    healthy: Cluster,
) -> None:
    """With a real certificate: what TLS lets through is still not believed."""
    target, liar = healthy.nodes[0], healthy.nodes[1]
    before = target.status()
    certs = liar.node.directory / "certs"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certs / "ca.crt")
    context.load_cert_chain(certs / "node.crt", certs / "node.key")
    peer = target.node.peer
    for data in (b"\x01QPR\x01\x01\xff\xff", b"\x09QPR\x01\x01\0\0", bytes(5000)):
        with (
            connected(peer.host, peer.port) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            wrapped.sendall(data)
            assert not read_to_the_end(wrapped).startswith(b"\0QPR")
    assert target.status().refused_peers >= before.refused_peers + 3


def idle_on(node: Running, number: int) -> socket.socket:
    """One of four kinds of clients and strangers that connect and then say nothing."""
    kind = number % 4
    address = node.node.peer if kind == 3 else node.node.client
    connection = socket.create_connection((address.host, address.port), DEADLINE_S)
    if kind == 1:
        greeted(connection)
    elif kind == 2:
        connection.sendall(b"GET /v1/sta")
    return connection


@pytest.mark.parametrize("count", [200, 1000])
def test_idle_connections_cost_little_and_keep_nobody_out(
    healthy: Cluster, count: int
) -> None:
    node = healthy.leader()
    node.request("PUT", "/v1/kv/idle", b"before")
    before = node.rss_anon_bytes()
    with contextlib.ExitStack() as stack:
        for number in range(count):
            stack.enter_context(idle_on(node, number))
        wait_for(lambda: node.status().connections >= count // 4, "connections")
        assert node.request("PUT", "/v1/kv/idle", b"among them").status == 200
        assert node.request("GET", "/v1/kv/idle").body == b"among them"
        growth = node.rss_anon_bytes() - before
    print(f"{count} idle connections: {growth / MIB:.1f} MiB")
    assert growth < GROWTH_BYTES_MAX
    wait_for(lambda: node.status().connections <= 4, "the connections' end")


def test_half_sent_frames_and_bodies_cost_little(healthy: Cluster) -> None:
    """All connections share what may be held of requests that are not complete."""
    node = healthy.leader()
    before = node.rss_anon_bytes()
    address = node.node.client
    half = encode_request(RequestKind.WRITE, 1, 0, bytes(4 * MIB))[: 1 * MIB]
    head = f"PUT /v1/kv/half HTTP/1.1\r\nHost: {address}\r\nContent-Length: {4 * MIB}"
    with contextlib.ExitStack() as stack:
        for number in range(200):
            where = (address.host, address.port)
            connection = socket.create_connection(where, DEADLINE_S)
            stack.enter_context(connection)
            if number % 2:
                greeted(connection)
                data = half
            else:
                data = head.encode() + b"\r\n\r\n" + bytes(1 * MIB)
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)

        def served() -> bool:
            # On a slow machine what they share is full for a moment: too busy, told so.
            answer = node.request("PUT", "/v1/kv/idle", b"among them")
            assert answer.status in (200, 429), answer.body
            return answer.status == 200

        wait_for(served, "a write beside them")
        growth = node.rss_anon_bytes() - before
    print(f"200 half-sent requests of 1 MiB: {growth / MIB:.1f} MiB")
    assert growth < PARTIAL_BYTES_MAX + GROWTH_BYTES_MAX
    for each in healthy.nodes:
        print(f"{each.name}: loop held for {each.status().loop_lag_seconds_max:.3f} s")
        measured = each.request("GET", "/metrics").body.decode()
        for what in ("process_loop_lag", "journal_sync_duration"):
            (count,) = re.findall(
                rf"^quorate_{what}_seconds_count (\S+)", measured, re.M
            )
            assert float(count) > 0
