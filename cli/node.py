"""`quorate node`: one node in the foreground."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from ..node.config import CONFIG_FILE, ConfigError, load_config
from ..node.pid_file import remove_pid, running_pid, write_pid
from .settings import Failure


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
def command(directory: Path | None, config_file: Path | None) -> None:
    """Run one node until SIGTERM or SIGINT; leadership is handed over first.

    Every key of the configuration has an environment variable that wins over the file,
    such as QUORATE_CLIENT_LISTEN.
    """
    if directory is not None and config_file is None:
        path = directory / CONFIG_FILE
    elif config_file is not None and directory is None:
        path = config_file
    else:
        raise click.UsageError("give --dir or --config")
    try:
        config = load_config(path, os.environ)
    except ConfigError as error:
        raise Failure(str(error)) from error
    with _pid_file(path.absolute().parent):
        from ..node.process import run_node

        code = run_node(config)
    click.get_current_context().exit(code)


@contextmanager
def _pid_file(directory: Path) -> Generator[None, None, None]:
    """Say in `directory` that this process is its node, as long as it runs."""
    running = running_pid(directory)
    # A launcher has already written the number of this very process.
    if running not in (None, os.getpid()):
        raise Failure(f"{directory}: this node runs already: process {running}")
    if not os.access(directory, os.W_OK):
        # A configuration in /etc, say: then a service manager knows the process.
        yield
        return
    write_pid(directory, os.getpid())
    try:
        yield
    finally:
        remove_pid(directory, os.getpid())
