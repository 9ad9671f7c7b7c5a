"""Tokens that let clients in, read from a file.

Law: a file that others can read, or write, is refused, and so is a token that could be
guessed. Only digests leave this module: no error, log line or core of a debugger has to
be kept secret because of them.
"""

import os
import stat
from hashlib import sha256
from typing import Final

from ..wire.hello import TOKEN_BYTES_MAX, is_token

# 128 bits in hex.
TOKEN_BYTES_MIN: Final = 32
TOKENS_MAX: Final = 16
_FILE_BYTES_MAX: Final = TOKENS_MAX * (TOKEN_BYTES_MAX + 2)
# The group may read, as where an orchestrator mounts secrets; nobody else anything.
_MODE_FORBIDDEN: Final = 0o037


class TokenFileError(Exception):
    """The file of the client port's tokens can't be used."""


def read_token_digests(path: str) -> tuple[bytes, ...]:
    """The SHA-256 of each token in the file, one a line. Raises TokenFileError."""
    tokens = _read(path).split()
    if not tokens:
        raise TokenFileError(f"{path}: holds no token")
    if len(tokens) > TOKENS_MAX:
        raise TokenFileError(f"{path}: holds {len(tokens)} tokens, over {TOKENS_MAX}")
    for number, token in enumerate(tokens, 1):
        if not is_token(token):
            reason = f"letters, digits and -._~+/=, up to {TOKEN_BYTES_MAX} of them"
            raise TokenFileError(f"{path}: token {number} is not of {reason}")
        if len(token) < TOKEN_BYTES_MIN:
            reason = f"fewer than {TOKEN_BYTES_MIN} characters"
            raise TokenFileError(f"{path}: token {number} has {reason}")
    return tuple(sha256(token).digest() for token in tokens)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read(path: str) -> bytes:
    try:
        # Nobody can make a node wait at its start.
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise TokenFileError(f"{path}: not a file")
            if status.st_mode & _MODE_FORBIDDEN:
                mode = stat.S_IMODE(status.st_mode)
                reason = f"has mode {mode:04o}: others could read or change it"
                raise TokenFileError(f"{path}: {reason}; chmod 600 it")
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise TokenFileError(f"{path}: larger than {_FILE_BYTES_MAX} bytes")
    return data
