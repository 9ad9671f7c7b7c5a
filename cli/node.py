"""`quorate node`: one node in the foreground, which may join a cluster first."""

import asyncio
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from ..node.address import Address
from ..node.config import (
    CLIENT_PORT_FOLDER,
    CONFIG_FILE,
    ClientPort,
    ConfigError,
    NodeConfig,
    PeerPort,
    load_config,
    with_tls,
)
from ..node.pid_file import remove_pid, running_pid, write_pid
from ..wire import JoinToken, ProtocolError, decode_join_token
from .places import checked, dialled, make_folder, usable_name, write_config
from .settings import Failure

_NO_NODE = "; `quorate init` makes a new cluster, --join and --token a new member"


@click.command("node")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help=f"The node's folder, which holds {CONFIG_FILE}.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="The configuration file itself.",
)
@click.option(
    "--join",
    "contact",
    type=dialled,
    metavar="HOST:PEERPORT",
    help="Become a member of the cluster whose node serves peers there.",
)
@click.option(
    "--token",
    envvar="QUORATE_JOIN_TOKEN",
    help="What `quorate token create` printed; also in QUORATE_JOIN_TOKEN.",
)
@click.option(
    "--name", help="Of a new member; by default the name of DIR.", metavar="NAME"
)
@click.option(
    "--client",
    type=dialled,
    metavar="HOST:PORT",
    help="Where a new member serves clients; by default 127.0.0.1:7400.",
)
@click.option(
    "--peer",
    type=dialled,
    metavar="HOST:PORT",
    help="Where a new member serves peers; by default 127.0.0.1:7500.",
)
@click.option(
    "--tls",
    is_flag=True,
    help=f"A new member's clients speak TLS, by the files in DIR/{CLIENT_PORT_FOLDER}.",
)
def command(
    directory: Path | None,
    config_file: Path | None,
    contact: Address | None,
    token: str | None,
    name: str | None,
    client: Address | None,
    peer: Address | None,
    tls: bool,
) -> None:
    """Run one node until SIGTERM or SIGINT; leadership is handed over first.

    With --join and --token it becomes a member of a cluster first: --name, --client,
    --peer and --tls are for a DIR that holds no configuration yet, and have to agree
    with the one that an earlier try has left. A member that starts again ignores all
    six, and says so of those that differ.

    Every key of the configuration has an environment variable that wins over the file,
    such as QUORATE_CLIENT_LISTEN.
    """
    if directory is not None and config_file is None:
        path = directory / CONFIG_FILE
    elif config_file is not None and directory is None:
        path = config_file
    else:
        raise click.UsageError("give --dir or --config")
    for option, given in (
        ("--name", name is not None),
        ("--client", client is not None),
        ("--peer", peer is not None),
        ("--tls", tls),
    ):
        if given and contact is None:
            reason = f"{option} is for a new member, with --join; a node goes by"
            raise click.UsageError(f"{reason} {click.format_filename(path)}")
    written: Path | None = None
    if contact is not None and directory is not None and not path.exists():
        # First: what is written stands, and the next try may say something else.
        _token(token)
        named = name or directory.absolute().name
        _write_config(directory, named, client, peer, tls=tls)
        written = path
    try:
        config = load_config(path, os.environ)
    except ConfigError as error:
        hint = "" if path.exists() else _NO_NODE
        raise Failure(f"{error}{hint}") from error
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        # Whoever finds the number there may ask for a renewal before it serves.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with _pid_file(path.absolute().parent):
        if contact is not None and _is_member(config):
            for objection in _objections(path, config, name, client, peer):
                click.echo(f"{objection} is ignored: it is a member already", err=True)
        elif contact is not None:
            _agree(path, config, name, client, peer, tls=tls)
            _join(config, contact, _token(token), written)
        from ..node.process import run_node

        code = run_node(config)
    click.get_current_context().exit(code)


def _token(text: str | None) -> JoinToken:
    if text is None:
        raise click.UsageError("--join needs --token")
    try:
        return decode_join_token(text)
    except ProtocolError as error:
        raise click.BadParameter(error.reason, param_hint="--token") from error


def _write_config(
    directory: Path,
    name: str,
    client: Address | None,
    peer: Address | None,
    *,
    tls: bool,
) -> None:
    """A new member's quorate.toml."""
    port = ClientPort(listen=str(client)) if client else ClientPort()
    config = checked(
        usable_name(name, "; give --name"),
        with_tls(port) if tls else port,
        PeerPort(listen=str(peer)) if peer else PeerPort(),
    )
    try:
        make_folder(directory.absolute())
        write_config(directory, config)
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}") from error


def _agree(
    path: Path,
    config: NodeConfig,
    name: str | None,
    client: Address | None,
    peer: Address | None,
    *,
    tls: bool,
) -> None:
    """The cluster writes down what the file says, and would never be told otherwise."""
    for objection in _objections(path, config, name, client, peer):
        raise Failure(f"{objection}: correct it, or remove it, and it is written anew")
    if tls and not config.client.cert:
        shown = click.format_filename(path)
        raise Failure(
            f"{shown} names no client.cert, for --tls: correct it, or remove it, and it"
            " is written anew"
        )


def _objections(
    path: Path,
    config: NodeConfig,
    name: str | None,
    client: Address | None,
    peer: Address | None,
) -> Generator[str]:
    """What was given, and stands otherwise in the configuration that is there."""
    shown = click.format_filename(path)
    for option, given, says in (
        ("--name", name, config.name),
        ("--client", client, config.client.listen),
        ("--peer", peer, config.peer.listen),
    ):
        if given is not None and str(given) != says:
            yield f"{shown} says {says}, {option} {given}"


def _is_member(config: NodeConfig) -> bool:
    from ..node.joining import is_member
    from ..storage.env import RealEnv

    return is_member(RealEnv(), config)


def _join(
    config: NodeConfig, contact: Address, token: JoinToken, written: Path | None
) -> None:
    """`written`: the configuration that was made for this try, if it was."""
    from ..node.joining import AddressTaken, JoinError, join
    from ..storage.env import RealEnv

    try:
        asyncio.run(join(RealEnv(), config, contact, token))
    except AddressTaken as error:
        if written is not None:
            # So that the next try may say other addresses.
            written.unlink(missing_ok=True)
        option = str(error).partition(".")[0]
        raise Failure(f"{error}; give --{option} HOST:PORT") from error
    except JoinError as error:
        raise Failure(str(error)) from error


@contextmanager
def _pid_file(directory: Path) -> Generator[None, None, None]:
    """Say in `directory` that this process is its node, as long as it runs."""
    running = running_pid(directory)
    # A launcher has already written the number of this very process.
    if running not in (None, os.getpid()):
        raise Failure(f"{directory}: this node runs already: process {running}")
    written = _said(directory)
    try:
        yield
    finally:
        if written:
            remove_pid(directory, os.getpid())


def _said(directory: Path) -> bool:
    """Whether the number could be written; a hint is worth no refusal to start."""
    if not os.access(directory, os.W_OK):
        # A configuration in /etc, say: then a service manager knows the process.
        return False
    try:
        write_pid(directory, os.getpid())
    except OSError as error:
        click.echo(f"{directory}: no pid file: {error.strerror}", err=True)
        return False
    return True
