"""What a failed TLS handshake means for a caller.

Law: a table alone. A node that stops in the middle of a handshake is no disagreement;
everything else is, and would be on trying again.
"""

import ssl
from typing import Final

import msgspec

# What OpenSSL says of an answer in plain text; it depends on its first bytes.
_PLAIN: Final = frozenset(
    (
        *("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"),
        *("PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE", "BAD_RECORD_TYPE"),
    )
)
# Alerts by which the other side says what it thinks of our certificate.
_REFUSED: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client's certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "another authority signed it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is a bad one",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is not for clients",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it is not accepted",
    "TLSV1_ALERT_ACCESS_DENIED": "it is not accepted",
    "TLSV1_ALERT_DECRYPT_ERROR": "it is not signed by who it says",
}
# How a TLS server answers what is none: an alert, in a record of its own.
_ALERT: Final = b"\x15\x03"
SPEAKS_TLS: Final = (
    "it speaks TLS, and we do not: name its CA's certificate, or an https:// endpoint"
)


class Disagreement(msgspec.Struct, frozen=True):
    """Why there is no TLS; `refused` when it is our certificate that will not do."""

    reason: str
    refused: bool = False


def disagreement(error: BaseException | None) -> Disagreement | None:
    """What `error` says about TLS; None when it says nothing that would hold."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Disagreement(f"its certificate is not trusted: {error.verify_message}")
    if not isinstance(error, ssl.SSLError) or isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError
    ):
        return None
    reason = error.reason or str(error)
    if reason in _REFUSED:
        text = f"it refuses our certificate: {_REFUSED[reason]}"
        return Disagreement(text, refused=True)
    if reason in _PLAIN:
        return Disagreement("it speaks no TLS")
    return Disagreement(f"no TLS with it: {reason.replace('_', ' ').lower()}")


def is_alert(data: bytes) -> bool:
    """Whether a TLS server has answered what we said in plain text."""
    return data.startswith(_ALERT)
