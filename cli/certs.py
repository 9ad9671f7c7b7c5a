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
from ..node.config import CONFIG_FILE, ConfigError, load_config
from ..wire import parse_member_id
from . import rotation
from .output import print_json
from .passphrase import passphrase_option, read_passphrase
from .settings import Failure, connection_options, current_settings


@contextmanager
def certificate_errors() -> Generator[None, None, None]:
    """Turn what can go wrong with certificates into a message and exit code 1."""
    try:
        yield
    except CertificateError as error:
        raise Failure(str(error)) from error


@click.group("certs")
def command() -> None:
    """Make, show, renew, rotate and revoke certificates.

    For a static start on several machines: `certs init` once, `certs issue` for each
    node, then copy each node's folder to its machine. The CA's key stays with you.
    """


command.add_command(rotation.status_command)
command.add_command(rotation.renew_command)
command.add_command(rotation.rotate_command)
command.add_command(rotation.revoke_command)


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
@click.option("--member-id", "member", help="The node's id, unless a static start's.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@passphrase_option
def issue(
    ca: Path,
    name: str | None,
    client: str | None,
    server: str | None,
    hosts: tuple[str, ...],
    member: str | None,
    out: Path,
    days: int,
    passphrase_file: Path | None,
) -> None:
    """Write a new key, its certificate and the CA's certificate into a folder.

    With --name they are node.key, node.crt and ca.crt, for a voter of a static start
    or, with --member-id, for the member with this id, whose own ended or was revoked;
    with --client they are client.key, client.crt and ca.crt; with --server, which needs
    --host, they are server.key, server.crt and ca.crt, for TLS on a client port.
    """
    passphrase = read_passphrase(passphrase_file)
    if [name, client, server].count(None) != 2:
        raise click.UsageError("give --name, --client or --server")
    if (server is None) != (not hosts):
        raise click.UsageError("--server needs --host, and nothing else takes it")
    number = None if member is None else parse_member_id(member)
    if member is not None and (number is None or name is None):
        raise click.UsageError("--member-id is 16 hex digits, and goes with --name")
    lifetime = timedelta(days=days)
    with certificate_errors():
        authority = load_authority(ca, passphrase=passphrase)
        if name is not None:
            identity = issue_member(
                authority, out, name=name, member_id=number, lifetime=lifetime
            )
        elif client is not None:
            identity = issue_client(authority, out, name=client, lifetime=lifetime)
        else:
            identity = issue_server(
                authority, out, name=server or "", hosts=hosts, lifetime=lifetime
            )
    click.echo(f"{identity.uri} in {out}")


@command.command("show")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR…",
)
@connection_options()
def show(files: tuple[Path, ...]) -> None:
    """Tell who certificates are for and until when; they are not verified.

    Of a node's folder it is what the node shows to its peers, of another one all that
    is in it.
    """
    now = datetime.now(UTC)
    with certificate_errors():
        shown = [
            certificate
            for path in files
            for file in _files_in(path)
            for certificate in describe(file)
        ]
    if current_settings().output == "json":
        print_json(msgspec.to_builtins(shown))
        return
    for certificate in shown:
        fields = {
            "kind": certificate.kind,
            "name": certificate.name,
            "cluster": certificate.cluster_id,
            "member": certificate.member_id,
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


def _files_in(path: Path) -> list[Path]:
    """The certificates that are meant: a file, or those of a folder."""
    if not path.is_dir():
        return [path]
    if (path / CONFIG_FILE).exists():
        try:
            return [Path(load_config(path / CONFIG_FILE, {}).peer.cert)]
        except ConfigError as error:
            raise Failure(str(error)) from error
    found = sorted(path.glob("*.crt"))
    if not found:
        raise Failure(f"{path}: neither a node's folder nor one with certificates")
    return found
