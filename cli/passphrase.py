"""The passphrase of the CA's key: where commands take it from."""

from pathlib import Path

import click

from .settings import Failure

# OpenSSL's own limit for the passphrase of a key.
PASSPHRASE_BYTES_MAX = 1023

passphrase_option = click.option(
    "--passphrase-file",
    envvar="QUORATE_PASSPHRASE_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="A file whose first line encrypts the CA's key.",
)


def read_passphrase(path: Path | None) -> str | None:
    """The passphrase in the file `path`: its first line, which must not be empty."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            line = file.readline(PASSPHRASE_BYTES_MAX + 2).rstrip(b"\r\n")
        passphrase = line.decode()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{path}: not UTF-8") from error
    if not 0 < len(line) <= PASSPHRASE_BYTES_MAX:
        reason = f"not a passphrase of 1 to {PASSPHRASE_BYTES_MAX} bytes"
        raise Failure(f"{path}: {reason}")
    return passphrase
