"""Who speaks on a peer connection, and what it will carry (docs/formats.md section 6).

Law: pure. A stranger is turned away before its first message is read: certificate,
cluster, member, addressee and boot pair are all checked here, and none is guessed.

    hello = stream u8 | magic[3] | version_min u8 | version_max u8 | length u16 | body
    reply = status u8 | magic[3] | version u8 | zero u8 | length u16 | body

`magic` is "QPR". `stream`: 1 raft, 2 forwarded requests, 3 snapshot, 4 gossip, 5 a new
member asks to join: nobody needs a certificate for that alone (join_wire); 6 a member
asks for a new certificate (body: a certificate signing request, PEM).
`status`: 0 welcome, 1 refused (body: the reason as text), 2 refused, since the cluster
has removed this member, or revoked its certificate. Other bodies are a msgpack array of
Introduction's fields.
"""

import struct
from enum import IntEnum
from typing import Final

import msgspec

VERSION_MIN: Final = 1
VERSION_MAX: Final = 1
BODY_BYTES_MAX: Final = 48 << 10
# The last boots, by which a member proves that it is not an old copy of itself.
HISTORY_BOOTS_MAX: Final = 8192
HISTORY_NONCE_BYTES: Final = 4
_REFUSED: Final = 1
_REMOVED: Final = 2
_MAGIC: Final = b"QPR"
_HEAD = struct.Struct("<B3sBBH")
HEAD_BYTES: Final = _HEAD.size


class Stream(IntEnum):
    RAFT = 1
    FORWARD = 2
    SNAPSHOT = 3
    GOSSIP = 4
    JOIN = 5
    RENEW = 6


# What is asked once on a connection of its own.
ASKING: Final = (Stream.JOIN, Stream.RENEW)


class HelloError(Exception):
    """The other side is refused, or refused us: the reason."""


class Unable(HelloError):
    """This node can't do what a member asks for, and refuses nobody: others may."""


class RemovedError(HelloError):
    """A member of the cluster says that this one was removed from it, or revoked."""


class Introduction(msgspec.Struct, frozen=True, array_like=True):
    """What each side says of itself; `to` is whom it speaks to (0 in replies)."""

    cluster_id: int
    member_id: int
    to: int
    boot_count: int
    boot_nonce: int
    name: str
    client_url: str
    boot_history: bytes


class Hello(msgspec.Struct, frozen=True):
    stream: Stream
    version_min: int
    version_max: int
    introduction: Introduction


def encode_hello(stream: Stream, introduction: Introduction) -> bytes:
    body = msgspec.msgpack.encode(introduction)
    return _HEAD.pack(stream, _MAGIC, VERSION_MIN, VERSION_MAX, len(body)) + body


def encode_welcome(introduction: Introduction) -> bytes:
    body = msgspec.msgpack.encode(introduction)
    return _HEAD.pack(0, _MAGIC, VERSION_MAX, 0, len(body)) + body


def encode_refusal(reason: str, *, removed: bool = False) -> bytes:
    body = reason.encode()[:BODY_BYTES_MAX]
    status = _REMOVED if removed else _REFUSED
    return _HEAD.pack(status, _MAGIC, VERSION_MAX, 0, len(body)) + body


def encode_join(body: bytes, stream: Stream = Stream.JOIN) -> bytes:
    """A request to join, or, with an empty body, one for the CA's certificate.

    With the stream RENEW it is a member's request for a new certificate.
    """
    assert stream in ASKING
    return _HEAD.pack(stream, _MAGIC, VERSION_MIN, VERSION_MAX, len(body)) + body


def encode_join_answer(body: bytes) -> bytes:
    return _HEAD.pack(0, _MAGIC, VERSION_MAX, 0, len(body)) + body


def parse_join(data: bytes) -> bytes | None:
    """The body of what is asked at the start of `data`; None while incomplete.

    A request to join, or to renew. Raises HelloError for everything else.
    """
    if data[:1] not in (bytes([stream]) for stream in ASKING):
        raise HelloError("no certificate, and it does not ask to join")
    found = _split(data)
    if found is None:
        return None
    (_, low, high), body, end = found
    if low > high or low > VERSION_MAX or high < VERSION_MIN:
        raise HelloError(f"no common protocol version with {low} to {high}")
    if len(data) != end:
        raise HelloError("it does not wait for the answer")
    return body


def parse_join_answer(data: bytes) -> bytes | None:
    """The answer to a request to join; None while incomplete. Raises HelloError."""
    found = _split(data)
    if found is None:
        return None
    (status, _, _), body, _ = found
    if status != 0:
        raise HelloError(body.decode(errors="replace"))
    return body


def parse_hello(data: bytes) -> tuple[Hello, int] | None:
    """The hello at the start of `data` and its length; None while incomplete."""
    found = _split(data)
    if found is None:
        return None
    (stream, low, high), body, end = found
    try:
        kind = Stream(stream)
    except ValueError:
        raise HelloError(f"unknown stream {stream}") from None
    if low > high or low > VERSION_MAX or high < VERSION_MIN:
        raise HelloError(f"no common protocol version with {low} to {high}")
    if kind in ASKING:
        raise HelloError("a request to join, where a member was expected")
    return Hello(kind, low, high, _introduction(body)), end


def parse_welcome(data: bytes) -> tuple[Introduction, int] | None:
    """The reply at the start of `data` and its length; raises when it is a refusal."""
    found = _split(data)
    if found is None:
        return None
    (status, version, _), body, end = found
    if status != 0:
        reason = "refused by the peer: " + body.decode(errors="replace")
        raise RemovedError(reason) if status == _REMOVED else HelloError(reason)
    if not VERSION_MIN <= version <= VERSION_MAX:
        raise HelloError(f"the peer chose protocol version {version}")
    return _introduction(body), end


def _split(data: bytes) -> tuple[tuple[int, int, int], bytes, int] | None:
    if data[1:4] != _MAGIC[: max(0, len(data) - 1)]:
        raise HelloError("it does not speak the peer protocol")
    if len(data) < _HEAD.size:
        return None
    first, _, second, third, length = _HEAD.unpack_from(data)
    if length > BODY_BYTES_MAX:
        raise HelloError(f"a hello of {length} bytes")
    end = _HEAD.size + length
    if len(data) < end:
        return None
    return (first, second, third), data[_HEAD.size : end], end


def _introduction(body: bytes) -> Introduction:
    try:
        value = msgspec.msgpack.decode(body, type=Introduction)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HelloError(f"malformed introduction: {error}") from error
    if not (value.cluster_id > 0 and value.member_id > 0 and value.boot_count > 0):
        raise HelloError("malformed introduction: an id is not positive")
    return value


class BootPairs(msgspec.Struct):
    """The last boot pair of each member that this one has met (docs/formats.md).

    A member whose history does not hold the last boot that was met has an old copy of
    its data directory, or a new one: it has forgotten what the real one promised.
    """

    pairs: dict[int, tuple[int, int]] = {}

    def check(self, who: Introduction) -> bool:
        """True when the pair is news (to be made durable before answering)."""
        known = self.pairs.get(who.member_id)
        pair = (who.boot_count, who.boot_nonce)
        if known == pair:
            return False
        if known is not None and not _remembers(who, known):
            raise HelloError(_suspicion(who, known[0]))
        return True


def short_nonce(nonce: int) -> bytes:
    """What the history keeps of a boot: enough to tell two copies apart."""
    return (nonce & 0xFFFFFFFF).to_bytes(HISTORY_NONCE_BYTES, "little")


def _remembers(who: Introduction, known: tuple[int, int]) -> bool:
    """Is the boot `known` part of its history, and before this one?"""
    count, nonce = known
    history = who.boot_history
    start = len(history) - (who.boot_count - count + 1) * HISTORY_NONCE_BYTES
    if who.boot_count <= count or start < 0:
        return False
    return history[start : start + HISTORY_NONCE_BYTES] == short_nonce(nonce)


def _suspicion(who: Introduction, count: int) -> str:
    """Why it may not speak to whom has met its boot `count`, and what helps then."""
    boot = f"boot {who.boot_count} of member {who.member_id:016x}"
    history = len(who.boot_history) // HISTORY_NONCE_BYTES
    if who.boot_count - count < history or who.boot_count <= count:
        return (
            f"{boot} is an old copy: it does not remember boot {count}, which has been"
            " met"
        )
    return (
        f"{boot} may be an old copy: boot {count}, the last one that was met, is older"
        f" than the {history} that it remembers; nothing but a new member in the place"
        " of one of the two helps"
    )


def check_introduction(
    who: Introduction, certified: int, cluster_id: int, own_id: int, dialled: bool
) -> None:
    """Does what it says fit its certificate and us? Raises HelloError."""
    if who.cluster_id != cluster_id:
        raise HelloError(f"it is of cluster {who.cluster_id:016x}")
    if who.member_id != certified:
        raise HelloError(
            f"it says it is member {who.member_id:016x},"
            f" its certificate says {certified:016x}"
        )
    if who.member_id == own_id:
        raise HelloError("it claims to be this very member")
    if not dialled and who.to != own_id:
        raise HelloError(f"it looks for member {who.to:016x}")
