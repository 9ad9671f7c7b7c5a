"""`quorate backup`: everything of a cluster in one file, and back."""

import http.client
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click
import msgspec

from ..node.address import Address
from ..node.backup import BackupError, BackupHead, BackupReader
from .founding import found, founding_options
from .new_files import take_place
from .output import print_json
from .settings import (
    Failure,
    NobodyToAsk,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
)

if TYPE_CHECKING:
    import ssl

    from ..client.endpoints import Endpoint

_PIECE_BYTES: Final = 1 << 20
# Of silence in the middle.
_STALL_SECONDS: Final = 60.0
# Another try would end in the same way.
_REFUSED: Final = (401, 403)


@click.group("backup")
def command() -> None:
    """Save everything of a cluster into a file, verify the file, restore from it.

    A backup is taken while the cluster serves, and is restored into a new cluster.
    """


@command.command("save")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@connection_options()
def save_command(file: Path) -> None:
    """Save all keys, their history and all leases into FILE, which must not exist.

    Any node is asked; what was acknowledged before is in there.
    """
    settings = current_settings()
    if file.exists():
        raise Failure(f"{file}: exists already; nothing is overwritten")
    part = file.with_name(file.name + ".part")
    try:
        with open(part, "x+b", opener=_private) as out:
            try:
                head = _save(settings, out)
                os.fsync(out.fileno())
                take_place(str(part), str(file))
            finally:
                # Ours, since it was not there: another one's is left alone.
                part.unlink(missing_ok=True)
    except FileExistsError as error:
        name = error.filename2 or error.filename
        reason = "exists already; nothing is overwritten. A save that was killed leaves"
        raise Failure(f"{name}: {reason} a .part, which can be removed") from error
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}") from error
    _sync_folder(file)
    _show(file, head)


def _private(path: str, flags: int) -> int:
    # Everything is in it: as on a node's disk, for its owner alone.
    return os.open(path, flags, 0o600)


class _NoBackup(Exception):
    """A node sent none, or not all of one; it may have `refused` us for good."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


def _save(settings: Settings, out: BinaryIO) -> BackupHead:
    """Fill `out` with what is whole, by whoever has it. Raises Failure, OSError."""
    from ..client.endpoints import parse_endpoints

    with exit_codes():
        tls, endpoints = settings.tls(), parse_endpoints(settings.endpoints)
    failures: list[_NoBackup | BackupError] = []
    for at in endpoints:
        # Whatever the one before has sent.
        out.seek(0)
        out.truncate()
        try:
            for piece in _pieces_from(at, tls, settings):
                out.write(piece)
            out.flush()
            out.seek(0)
            return BackupReader(out, str(at)).verify()
        except (_NoBackup, BackupError) as error:
            failures.append(error)
    reasons = "; ".join(map(str, failures))
    if all(isinstance(each, _NoBackup) and each.refused for each in failures):
        raise Failure(reasons)
    raise NobodyToAsk(reasons)


def _pieces_from(
    at: "Endpoint", tls: "ssl.SSLContext | None", settings: Settings
) -> Iterator[bytes]:
    """What the node there sends. Raises _NoBackup."""
    from ..client.dialling import in_words

    timeout, token = settings.timeout, settings.token()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    # Who does not even take a connection is not waited for as long as for the disk of
    # one who does.
    if tls is None:
        connection = http.client.HTTPConnection(at.host, at.port, timeout=timeout)
    else:
        connection = http.client.HTTPSConnection(
            at.host, at.port, timeout=timeout, context=tls
        )
    # A duration in a URL has no fractions.
    milliseconds = max(1, round(timeout * 1000))
    try:
        with closing(connection):
            connection.connect()
            connection.sock.settimeout(timeout + _STALL_SECONDS)
            target = f"/v1/backup?timeout={milliseconds}ms"
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                reason = _reason(response.read(4096))
                refused = response.status in _REFUSED
                raise _NoBackup(f"{at}: {reason}", refused=refused)
            while data := response.read(_PIECE_BYTES):
                yield data
    except OSError as error:
        raise _NoBackup(f"{at}: {in_words(error)}") from error
    except (ValueError, http.client.HTTPException) as error:
        raise _NoBackup(f"{at}: {error}") from error


def _reason(body: bytes) -> str:
    """What a node's problem document says; of something else all of it."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
        return f"{problem['code']}: {problem['detail']}"
    except (msgspec.DecodeError, KeyError):
        return body.decode(errors="replace")


def _sync_folder(file: Path) -> None:
    descriptor = os.open(file.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@command.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@connection_options()
def verify_command(file: Path) -> None:
    """Read all of FILE and compare its hash; exit code 1 when it is not whole."""
    _show(file, _verified(file))


@command.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@founding_options
def restore_command(
    file: Path,
    directory: Path,
    name: str,
    client: Address,
    peer: Address,
    passphrase_file: Path | None,
) -> None:
    """Make a new cluster in DIR, absent or empty, with what is in FILE.

    It has a CA, an id and a first voter of its own; other nodes join it. Members of the
    old cluster are strangers to it. Its revisions go on far above the old ones, and
    what was before is compacted. Leases begin anew.
    """
    from ..node.database import NotUnderstood
    from ..storage.errors import CorruptionError

    # All of it, before anything is made.
    head = _verified(file)
    try:
        with file.open("rb") as data:
            cluster_id, revision = found(
                *(directory, name, client, peer, passphrase_file),
                source=str(file),
                before=head.cluster_id,
                pieces=BackupReader(data, str(file)).pieces(),
            )
    except (BackupError, CorruptionError, NotUnderstood) as error:
        raise Failure(str(error)) from error
    shown = click.format_filename(directory)
    click.echo(
        f"cluster {cluster_id:016x} with its first voter {name} in {shown}: {head.keys}"
        f" keys of cluster {head.cluster_id:016x}, from revision {revision} on\n"
    )
    click.echo(f"Start it:      quorate node --dir {shown}")
    click.echo("Let others in: quorate token create")


def _verified(file: Path) -> BackupHead:
    try:
        with file.open("rb") as data:
            return BackupReader(data, str(file)).verify()
    except BackupError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}") from error


def _show(file: Path, head: BackupHead) -> None:
    try:
        taken = datetime.fromtimestamp(head.wall_ms / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        # No year that has a name: a clock, or whoever wrote it, was wrong.
        taken = f"at {head.wall_ms} ms"
    if current_settings().output == "json":
        print_json(
            {
                "file": str(file),
                "cluster_id": f"{head.cluster_id:016x}",
                "member_id": f"{head.member_id:016x}",
                "index": head.index,
                "term": head.term,
                "revision": head.revision,
                "keys": head.keys,
                "state_hash": head.state_hash,
                "taken": taken,
                "bytes": head.size,
            }
        )
        return
    click.echo(
        f"{click.format_filename(file)}: whole: cluster {head.cluster_id:016x},"
        f" revision {head.revision}, {head.keys} keys, {head.size} bytes, state"
        f" {head.state_hash}, taken {taken}"
    )
