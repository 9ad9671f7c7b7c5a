"""The text that lets a new member in, and tells it whom to trust.

Law: pure. A token holds the SHA-256 of the cluster's CA certificate, by which the new
member knows the cluster, and an id and a secret, by which the cluster knows the new
member. The cluster keeps the secret's digest alone.
"""

import base64
import binascii
from hashlib import sha256
from typing import Final

import msgspec

from .errors import ProtocolError

_PREFIX: Final = "q1-"
_AUTHORITY_BYTES: Final = 32
_ID_BYTES: Final = 8
SECRET_BYTES: Final = 16
_BYTES: Final = _AUTHORITY_BYTES + _ID_BYTES + SECRET_BYTES


class JoinToken(msgspec.Struct, frozen=True):
    """`authority` is the SHA-256 of the CA's certificate (DER)."""

    authority: bytes
    token: int
    secret: bytes


def token_digest(secret: bytes) -> bytes:
    """What the cluster keeps of a secret."""
    return sha256(b"quorate token" + secret).digest()


def encode_join_token(token: JoinToken) -> str:
    """78 characters without anything that a shell would look at."""
    data = token.authority + token.token.to_bytes(_ID_BYTES, "big") + token.secret
    assert len(data) == _BYTES
    return _PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_join_token(text: str) -> JoinToken:
    """Raises `ProtocolError`; the reason does not repeat the text."""
    body = text.removeprefix(_PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    number = int.from_bytes(data[_AUTHORITY_BYTES:-SECRET_BYTES], "big")
    if body == text or len(data) != _BYTES or not number:
        raise ProtocolError("not a token of `quorate token create`")
    token = JoinToken(data[:_AUTHORITY_BYTES], number, data[-SECRET_BYTES:])
    if encode_join_token(token) != text:
        raise ProtocolError("not a token of `quorate token create`")
    return token
