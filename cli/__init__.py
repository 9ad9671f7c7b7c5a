"""The command line: `quorate COMMAND …`.

Law: each command is a thin face of one room of the house, in a module of its own that
is loaded only when it is called: `quorate get` imports no HTTP server, no cryptography
and no uvloop. To add a command, add a line to `COMMANDS` and a module whose `command`
it is.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 not found, 4 a precondition failed,
5 nobody could be asked, 6 timeout or unknown outcome, 130 Ctrl-C.
"""

import errno
import importlib
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from .. import __version__
from .settings import Failure, Interrupted, connection_options

# What a file says that takes no more, of which standard output may be one.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Lazy(NamedTuple):
    """A command that is not loaded yet: where it is, and its line in the help."""

    module: str
    summary: str


COMMANDS = {
    "demo": Lazy("demo", "Run a whole cluster on this machine."),
    "init": Lazy("init", "Make a new cluster: its CA, its id, its first node."),
    "node": Lazy("node", "Run one node in the foreground."),
    "put": Lazy("put", "Store a value under a key."),
    "get": Lazy("get", "Read a key or a range of keys."),
    "del": Lazy("delete", "Delete a key or a range of keys."),
    "txn": Lazy("txn", "Compare keys, then do one thing or another, in one step."),
    "lease": Lazy("lease", "Make, show and end leases, on which keys may hang."),
    "lock": Lazy("lock", "Hold a lock while a command runs."),
    "elect": Lazy("elect", "Lead, or see who leads."),
    "watch": Lazy("watch", "Print what changes, as it changes."),
    "compaction": Lazy("compaction", "Let go of what only old revisions show."),
    "status": Lazy("status", "Show how the nodes are."),
    "backup": Lazy("backup", "Save, verify and restore everything."),
    "snapshot": Lazy("backup", "The same as backup."),
    "recover": Lazy("recover", "A new cluster from what is left of a lost one."),
    "members": Lazy("members", "Show the members of the cluster."),
    "member": Lazy("member", "Promote, demote, replace and remove members."),
    "caretaker": Lazy("caretaker", "See and tell what keeps enough voters."),
    "token": Lazy("token", "Make tokens, by which new members join."),
    "move-leader": Lazy("move_leader", "Let another node lead."),
    "certs": Lazy("certs", "Make, show, renew, rotate, revoke certificates."),
    "import": Lazy("import_files", "Store the files of a folder."),
    "export": Lazy("export_files", "Write keys as files into a folder."),
    "storage": Lazy("storage", "Look at the files of a storage engine."),
    "simulate": Lazy("simulate", "Run whole clusters under seeds, with faults."),
    "bench": Lazy("bench", "Put a load on a cluster, and measure it."),
    "chaos": Lazy("chaos", "Check the promises with real processes."),
}


# What users of other stores and tools type.
ELSEWHERE = {
    "delete": "del",
    "rm": "del",
    "set": "put",
    "ls": "get",
    "list": "get",
    "scan": "get",
    "kv": "get",
    "endpoint": "status",
    "health": "status",
    "compact": "compaction",
    "transaction": "txn",
    "restore": "backup",
    "start": "node",
    "agent": "node",
    "server": "node",
}


class LazyGroup(click.Group):
    """A group whose commands are loaded one by one, when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module = importlib.import_module(f".{lazy.module}", __name__)
        command: object = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            meant = ELSEWHERE.get(args[0]) or next(iter(near), None)
            hint = f" Did you mean `quorate {meant}`?" if meant else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # `--help` and `--version` are printed here, and nothing is asked.
        with _full_output(""):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _full_output("; what was asked may have been done"):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted: what was asked may have been done"
            ) from None

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        # The inherited one would load every command for its help.
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, lazy.summary) for name, lazy in COMMANDS.items()]
            )


@contextmanager
def _full_output(warning: str) -> Generator[None]:
    """Raises Failure where standard output takes no more."""
    try:
        yield
    except OSError as error:
        # Of files that a command opens it tells their names itself.
        if error.errno not in _FULL or error.filename is not None:
            raise
        # What it still holds would be tried once more at the end of the process.
        sys.stdout = io.StringIO()
        reason = os.strerror(error.errno).lower()
        raise Failure(f"standard output: {reason}{warning}") from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quorate")
@connection_options(from_environment=True)
def group() -> None:
    """A peer-to-peer replicated key-value store.

    `quorate demo` runs a cluster here and shows how to talk to it.
    """


def main() -> None:
    """The `quorate` command; ends the process with one of the exit codes above."""
    group(prog_name="quorate")
