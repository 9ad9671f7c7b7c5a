"""`quorate init`: a new cluster with one voter."""

import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click

from ..node.address import Address
from ..node.certificates import (
    create_authority,
    issue_client,
    issue_member,
    issue_server,
    random_id,
)
from ..node.config import CLIENT_PORT_FOLDER, NodeConfig
from ..node.identity import Identity, IdentityError, Voter, create_identity
from ..storage.env import RealEnv
from ..storage.errors import StorageError
from .certs import certificate_errors
from .passphrase import passphrase_option, read_passphrase
from .places import (
    client_option,
    founder,
    make_folder,
    peer_option,
    write_config,
)
from .settings import Failure

CLIENT_FOLDER = "client"
FIRST_CLIENT = "first"


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--name", required=True, help="The node's name, such as n1.")
@client_option
@peer_option
@click.option(
    "--insecure-listen-without-tls",
    "insecure",
    is_flag=True,
    help="Let --client be reachable from other machines, unprotected.",
)
@click.option(
    "--tls",
    is_flag=True,
    help="Clients speak TLS, and have to show a certificate; DIR/client has one.",
)
@passphrase_option
def command(
    directory: Path,
    name: str,
    client: Address,
    peer: Address,
    insecure: bool,
    tls: bool,
    passphrase_file: Path | None,
) -> None:
    """Make a new cluster in DIR: its CA, its id and its first voter, NAME.

    DIR must be empty or absent. --client and --peer are the addresses at which clients
    and other nodes reach this node.
    """
    config = founder(name, client, peer, passphrase_file, insecure=insecure, tls=tls)
    passphrase = read_passphrase(passphrase_file)
    cluster_id = make_cluster(directory, config, peer, passphrase)
    shown = click.format_filename(directory)
    files = ""
    if tls:
        at = f"{shown}/{CLIENT_FOLDER}"
        files = f" --cacert {at}/ca.crt --cert {at}/client.crt --key {at}/client.key"
    click.echo(f"cluster {cluster_id:016x} with its first voter {name} in {shown}\n")
    click.echo(f"Start it:      quorate node --dir {shown}")
    click.echo(f"Talk to it:    quorate put --endpoints {client}{files} greeting hello")
    click.echo(
        f"Keep safe:     {shown}/ca/ca.key: who has it can add members to the cluster"
    )


def make_cluster(
    directory: Path,
    config: NodeConfig,
    peer: Address,
    passphrase: str | None,
    fill: Callable[[str, int, int], None] | None = None,
) -> int:
    """Make the folder of a new cluster's first voter; the cluster's id.

    `fill` is called with the data directory and the ids of cluster and member, when
    these begin with something. Raises Failure, and what `fill` raises; then the folder
    is empty, as it was.
    """
    directory = directory.absolute()
    try:
        make_folder(directory)
        with _for_us_alone(directory):
            if any(directory.iterdir()):
                raise Failure(
                    f"{directory}: not empty; if making it was cut short, remove it"
                )
            try:
                return _make(directory, config, peer, passphrase, fill)
            except BaseException:
                _empty(directory)
                raise
    except (OSError, IdentityError, StorageError) as error:
        raise Failure(str(error)) from error


@contextmanager
def _for_us_alone(directory: Path) -> Generator[None]:
    """Two that found it empty would take each other's files away."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            reason = "another command makes a node there"
            raise Failure(f"{directory}: {reason}") from error
        yield
    finally:
        os.close(descriptor)


def _empty(directory: Path) -> None:
    """Remove what was made: half of it is no node, and would be in the way."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _make(
    directory: Path,
    config: NodeConfig,
    peer: Address,
    passphrase: str | None,
    fill: Callable[[str, int, int], None] | None,
) -> int:
    """Write everything; the identity last, since with it the node can start."""
    member_id = random_id()
    with certificate_errors():
        authority = create_authority(directory / "ca", passphrase=passphrase)
        issue_member(
            authority, directory / "certs", name=config.name, member_id=member_id
        )
        if config.client.cert:
            hosts = (config.client_address.host, "localhost", "127.0.0.1")
            at = directory / CLIENT_PORT_FOLDER
            issue_server(authority, at, name=config.name, hosts=hosts)
            issue_client(authority, directory / CLIENT_FOLDER, name=FIRST_CLIENT)
    write_config(directory, config)
    env, data = RealEnv(), str(directory / config.data_dir)
    identity = Identity(
        cluster_id=authority.cluster_id,
        member_id=member_id,
        name=config.name,
        voters={member_id: Voter(config.name, str(peer))},
    )
    if fill is not None:
        env.make_directory(data)
        fill(data, authority.cluster_id, member_id)
    create_identity(env, data, identity, filled=fill is not None)
    return authority.cluster_id
