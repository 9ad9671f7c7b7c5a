"""Bytes in text: base64 or base64url, padded or not.

Law: each text stands for one value, and a value has one text but for alphabet and
padding: nothing is skipped, no padding is half there, no spare bit is set.
"""

import base64
import binascii


def decode_base64(text: bytes) -> bytes | None:
    """The bytes that `text` stands for; None when it is no base64."""
    plain = text.replace(b"-", b"+").replace(b"_", b"/")
    stripped = plain.rstrip(b"=")
    padded = stripped + b"=" * (-len(stripped) % 4)
    if plain not in (stripped, padded):
        return None
    try:
        # Not base64.b64decode: that looks at everything twice, and this may be long.
        decoded = binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        return None
    # Spare bits, which only the end can have, would be dropped in silence.
    end = decoded[-(len(decoded) % 3 or 3) :]
    return decoded if base64.b64encode(end) == padded[-4:] else None
