"""What a new member and the cluster say to each other, before it has a certificate.

Law: pure. A new member first asks for the CA's certificate, which is public, and hangs
up; it goes on only when that is the one that its token names. Then it shows the token's
secret on a connection that this CA vouches for (docs/formats.md section 6).

    ask     = head of stream 5, without a body     answer: the CA's certificate, PEM
    request = head of stream 5, JoinRequest        answer: JoinReply, or a refusal
"""

from typing import Final

import msgspec

from .address import is_name, parse_address
from .peer_hello import HelloError

REQUEST_BYTES_MAX: Final = 8 << 10


class JoinRequest(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """`request` is a certificate signing request, PEM; `token` is the token's id.

    `peer` is an address, `client` a URL.
    """

    token: int
    secret: bytes
    member_id: int
    name: str
    peer: str
    client: str
    request: bytes


class JoinReply(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """`voters` are the cluster's first ones, `contacts` today's members: id, place."""

    cluster_id: int
    certificate: bytes
    voters: dict[int, tuple[str, str]]
    contacts: dict[int, tuple[str, str]]


def decode_join_request(body: bytes) -> JoinRequest:
    """Raises HelloError."""
    if len(body) > REQUEST_BYTES_MAX:
        raise HelloError(f"a request to join of {len(body)} bytes")
    try:
        request = msgspec.msgpack.decode(body, type=JoinRequest)
        if not (is_name(request.name) and 0 < request.member_id < 1 << 64):
            raise HelloError("a request to join without a usable name or id")
        url = request.client
        if not url.startswith(("http://", "https://")):
            raise HelloError(f"not a URL for clients: {url[:128]!r}")
        for address in (request.peer, url.partition("://")[2]):
            place = parse_address(address)
            if place.wildcard or place.port == 0:
                raise HelloError(f"nobody can dial {address}")
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise HelloError(f"malformed request to join: {error}") from None
    return request


def decode_join_reply(body: bytes) -> JoinReply:
    """Raises HelloError."""
    try:
        return msgspec.msgpack.decode(body, type=JoinReply)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HelloError(f"malformed answer: {error}") from None
