"""What commands share that make a node: where it will be, and its configuration.

Law: light. `quorate node` starts with this, and must not load what makes certificates.
"""

import os
from errno import EEXIST
from pathlib import Path

import click

from ..node.address import Address, is_name, parse_address
from ..node.config import (
    CONFIG_FILE,
    ClientPort,
    ConfigError,
    NodeConfig,
    PeerPort,
    check_config,
    to_toml,
    with_tls,
)
from ..storage.env import RealEnv, write_file_durably


def dialled(value: str) -> Address:
    """An address at which others will reach the node."""
    try:
        address = parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if address.wildcard or address.port == 0:
        raise click.BadParameter(f"{value}: give the address that others will dial")
    return address


client_option = click.option(
    "--client",
    type=dialled,
    metavar="HOST:PORT",
    default="127.0.0.1:7400",
    show_default=True,
)
peer_option = click.option(
    "--peer",
    type=dialled,
    metavar="HOST:PORT",
    default="127.0.0.1:7500",
    show_default=True,
)


def usable_name(name: str, hint: str = "") -> str:
    """The name, or wrong usage."""
    if not is_name(name):
        raise click.UsageError(f"not a usable name: {name[:128]!r}{hint}")
    return name


def checked(name: str, client: ClientPort, peer: PeerPort) -> NodeConfig:
    """A new node's configuration, or wrong usage."""
    config = NodeConfig(name=name, client=client, peer=peer)
    try:
        check_config(config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    return config


def founder(
    name: str,
    client: Address,
    peer: Address,
    passphrase_file: Path | None,
    *,
    insecure: bool = False,
    tls: bool = False,
) -> NodeConfig:
    """The configuration of a new cluster's first voter, or wrong usage."""
    port = ClientPort(listen=str(client), insecure_listen_without_tls=insecure)
    return checked(
        usable_name(name),
        with_tls(port) if tls else port,
        # A node can't ask for a passphrase.
        PeerPort(listen=str(peer), authority="" if passphrase_file else "ca"),
    )


def make_folder(directory: Path) -> None:
    """Make a node's folder, and those above it, durably. Raises OSError."""
    absent = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in absent:
        RealEnv().sync_directory(str(each.parent))


def write_config(directory: Path, config: NodeConfig) -> None:
    """Write a new quorate.toml, durably and all at once. Raises OSError."""
    path = directory / CONFIG_FILE
    if path.exists():
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path))
    write_file_durably(RealEnv(), str(path), to_toml(config).encode())
