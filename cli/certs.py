"""`quorate certs`: the CA of a cluster and the certificates of its members."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from ..node.certificates import (
    CertificateError,
    create_authority,
    describe,
    issue_client,
    issue_member,
    issue_server,
    load_authority,
)
from .output import print_json
from .settings import Failure, connection_options, current_settings

# OpenSSL's own limit for the passphrase of a key.
PASSPHRASE_BYTES_MAX = 1023

passphrase_option = click.option(
    "--passphrase-file",
    envvar="QUORATE_PASSPHRASE_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="A file whose first line encrypts the CA's key.",
)


@contextmanager
def certificate_errors() -> Generator[None, None, None]:
    """Turn what can go wrong with certificates into a message and exit code 1."""
    try:
        yield
    except CertificateError as error:
        raise Failure(str(error)) from error


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


@click.group("certs")
def command() -> None:
    """Make and show certificates.

    For a static start on several machines: `certs init` once, `certs issue` for each
    node, then copy each node's folder to its machine. The CA's key stays with you.
    """


@command.command("init")
@click.argument("directory", type=click.Path(path_type=Path))
@passphrase_option
def init(directory: Path, passphrase_file: Path | None) -> None:
    """Make the CA of a new cluster in DIRECTORY, and with it the cluster's id."""
    passphrase = read_passphrase(passphrase_file)
    with certificate_errors():
        authority = create_authority(directory, passphrase=passphrase)
    click.echo(f"cluster {authority.cluster_id:016x}: CA in {directory}")


@command.command("issue")
@click.option("--ca", required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Issue for the node of this name.")
@click.option("--client", help="Issue for a client of this name.")
@click.option("--server", help="Issue for the client port of the node of this name.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="A name or address at which clients dial it; may be repeated.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@passphrase_option
def issue(
    ca: Path,
    name: str | None,
    client: str | None,
    server: str | None,
    hosts: tuple[str, ...],
    out: Path,
    days: int,
    passphrase_file: Path | None,
) -> None:
    """Write a new key, its certificate and the CA's certificate into a folder.

    With --name they are node.key, node.crt and ca.crt, for a voter of a static start;
    with --client they are client.key, client.crt and ca.crt; with --server, which needs
    --host, they are server.key, server.crt and ca.crt, for TLS on a client port.
    """
    passphrase = read_passphrase(passphrase_file)
    if [name, client, server].count(None) != 2:
        raise click.UsageError("give --name, --client or --server")
    if (server is None) != (not hosts):
        raise click.UsageError("--server needs --host, and nothing else takes it")
    lifetime = timedelta(days=days)
    with certificate_errors():
        authority = load_authority(ca, passphrase=passphrase)
        if name is not None:
            identity = issue_member(authority, out, name=name, lifetime=lifetime)
        elif client is not None:
            identity = issue_client(authority, out, name=client, lifetime=lifetime)
        else:
            identity = issue_server(
                authority, out, name=server or "", hosts=hosts, lifetime=lifetime
            )
    click.echo(f"{identity.uri} in {out}")


@command.command("show")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…"
)
@connection_options()
def show(files: tuple[Path, ...]) -> None:
    """Tell who certificates are for and until when; they are not verified."""
    now = datetime.now(UTC)
    with certificate_errors():
        shown = [describe(path) for path in files]
    if current_settings().output == "json":
        print_json(msgspec.to_builtins(shown))
        return
    for certificate in shown:
        fields = {
            "kind": certificate.kind,
            "name": certificate.name,
            "uri": certificate.uri,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "usages": ", ".join(certificate.usages) or None,
            "valid from": f"{certificate.not_before:%Y-%m-%d %H:%M} UTC",
            "valid until": f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
            + (" (NOT VALID NOW)" if certificate.expired(now) else ""),
            "serial": certificate.serial,
            "sha256": certificate.sha256,
        }
        click.echo(f"{certificate.path}:")
        for name, value in fields.items():
            if value is not None:
                click.echo(f"  {name + ':':<13}{value}")
