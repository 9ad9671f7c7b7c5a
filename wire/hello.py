"""The two hellos that open a native connection.

Law: neither side sends a frame before it has checked the other's hello. A hello is
refused at its first wrong byte; its length is bounded by 16 bits. A client's token goes
into its hello, so that nothing has to be read of whoever has none; no error and no text
ever carries one.
"""

import re
import struct

import msgspec

from .errors import ErrorCode, ProtocolError, VersionMismatch
from .limits import REQUEST_BYTES_CEILING

MAGIC = b"\xabQRT"
VERSION_MIN = 1
VERSION_MAX = 1

_CLIENT_HELLO = struct.Struct("<4sBBH")
_SERVER_HELLO = struct.Struct("<4sBBH")
CLIENT_HELLO_BYTES = _CLIENT_HELLO.size
_SERVER_HEAD_BYTES = _SERVER_HELLO.size
_BODY_BYTES_MAX = 2**16 - 1
TOKEN_BYTES_MAX = 1024
# As in an `Authorization: Bearer` header (RFC 6750).
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def is_token(data: bytes) -> bool:
    """Could this be a client's token?"""
    return len(data) <= TOKEN_BYTES_MAX and _TOKEN.fullmatch(data) is not None


class ClientHello(msgspec.Struct, frozen=True, gc=False):
    """The protocol versions that the client knows, both ends included; its token."""

    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX
    token: bytes = b""

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return CLIENT_HELLO_BYTES + len(self.token)


class ServerHello(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: the chosen version (0: none), its identity, limit and siblings.

    `refused` says why this client is not let in, and is empty when it is.
    """

    version: int
    cluster_id: int
    member_id: int
    name: str
    server: str
    request_bytes_max: int
    endpoints: tuple[str, ...] = ()
    refused: str = ""


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster_id: int
    member_id: int
    name: str
    server: str
    request_bytes_max: int
    endpoints: tuple[str, ...]
    refused: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


def encode_client_hello(hello: ClientHello | None = None) -> bytes:
    """What a client sends first; by default every version that we know."""
    hello = hello or ClientHello()
    assert len(hello.token) <= TOKEN_BYTES_MAX, "the token is too long"
    versions = hello.version_min, hello.version_max
    return _CLIENT_HELLO.pack(MAGIC, *versions, len(hello.token)) + hello.token


def parse_client_hello(data: bytes) -> ClientHello | None:
    """The hello at the start of `data`, None while it is incomplete."""
    _check_magic(data)
    if len(data) < CLIENT_HELLO_BYTES:
        return None
    _, version_min, version_max, length = _CLIENT_HELLO.unpack_from(data)
    if length > TOKEN_BYTES_MAX:
        raise ProtocolError(f"a token of {length} bytes, over {TOKEN_BYTES_MAX}")
    if not 1 <= version_min <= version_max:
        raise ProtocolError(f"no versions lie between {version_min} and {version_max}")
    end = CLIENT_HELLO_BYTES + length
    if len(data) < end:
        return None
    return ClientHello(version_min, version_max, bytes(data[CLIENT_HELLO_BYTES:end]))


def choose_version(hello: ClientHello) -> int:
    """The highest version that both sides know, 0 when there is none."""
    highest = min(hello.version_max, VERSION_MAX)
    return highest if highest >= max(hello.version_min, VERSION_MIN) else 0


def encode_server_hello(hello: ServerHello) -> bytes:
    """The server's answer; it closes after sending one with version 0."""
    assert 0 <= hello.version <= VERSION_MAX, hello.version
    assert 1 <= hello.cluster_id < 2**64, hello.cluster_id
    assert 1 <= hello.member_id < 2**64, hello.member_id
    body = _encoder.encode(
        _Body(
            hello.cluster_id,
            hello.member_id,
            hello.name,
            hello.server,
            hello.request_bytes_max,
            hello.endpoints,
            hello.refused,
        )
    )
    assert len(body) <= _BODY_BYTES_MAX, "names and endpoints do not fit a hello"
    return _SERVER_HELLO.pack(MAGIC, hello.version, 0, len(body)) + body


def parse_server_hello(data: bytes) -> tuple[ServerHello, int] | None:
    """The hello at the start of `data` and its length, None while it is incomplete.

    Raises VersionMismatch as soon as the server says that it knows none of ours.
    """
    _check_magic(data)
    if len(data) < _SERVER_HEAD_BYTES:
        return None
    _, version, zero, length = _SERVER_HELLO.unpack_from(data)
    if zero:
        raise ProtocolError("a reserved field of the server's hello is not zero")
    if version == 0:
        raise VersionMismatch(
            "the server knows no protocol version of ours", ErrorCode.UNSUPPORTED
        )
    if not VERSION_MIN <= version <= VERSION_MAX:
        raise ProtocolError(f"the server chose version {version}, which we don't know")
    end = _SERVER_HEAD_BYTES + length
    if len(data) < end:
        return None
    return _server_hello(version, data[_SERVER_HEAD_BYTES:end]), end


def _server_hello(version: int, data: bytes) -> ServerHello:
    try:
        body = _decoder.decode(data)
    # A deep nest under an unknown key ends in RecursionError, before it does harm.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the server's hello is malformed: {error}") from None
    if not 1 <= body.cluster_id < 2**64 or not 1 <= body.member_id < 2**64:
        raise ProtocolError("the server's hello has no cluster or member id")
    if not 1 <= body.request_bytes_max <= REQUEST_BYTES_CEILING:
        raise ProtocolError(
            f"the server's hello has request_bytes_max {body.request_bytes_max}"
        )
    return ServerHello(
        version=version,
        cluster_id=body.cluster_id,
        member_id=body.member_id,
        name=body.name,
        server=body.server,
        request_bytes_max=body.request_bytes_max,
        endpoints=body.endpoints,
        refused=body.refused,
    )


def _check_magic(data: bytes) -> None:
    if data[:4] != MAGIC[: len(data)]:
        raise ProtocolError("the other side does not speak this protocol")
