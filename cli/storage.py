"""`quorate storage`: look at the files of a storage engine."""

from pathlib import Path

import click
import msgspec

from .output import print_json, print_table

_COLUMNS = ("RUN", "TABLES", "ENTRIES", "TOMBSTONES", "BYTES", "BLOCKS", "COMPRESSED")


@click.group("storage")
def command() -> None:
    """Look at the files of a storage engine, in use or not. Nothing is changed."""


def _fail(error: Exception) -> click.ClickException:
    return click.ClickException(str(error))


def _store(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A store that has lost its manifest is damaged; where none is, nothing is."""
    del ctx, param
    if not any(any(Path(value).glob(name)) for name in ("MANIFEST", "*.sst")):
        raise click.ClickException(
            f"{value}: not a directory of the storage engine; of a node it is"
            " data/stores/1/engine in its folder"
        )
    return value


_directory = click.argument(
    "directory", type=click.Path(exists=True, file_okay=False), callback=_store
)


@command.command("inspect")
@_directory
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def inspect_command(directory: str, output: str) -> None:
    """Show runs, tables and amplification, newest run first."""
    from ..storage.engine.care import inspect
    from ..storage.env import RealEnv
    from ..storage.errors import CorruptionError

    try:
        report = inspect(RealEnv(), directory)
    except (CorruptionError, OSError) as error:
        raise _fail(error) from None
    if output == "json":
        print_json(msgspec.to_builtins(report))
        return
    click.echo(
        f"applied index {report.applied_index}, edition {report.edition}:"
        f" {report.entries} entries, {report.size_bytes} bytes in {report.tables}"
        f" tables; a read asks {report.read_amplification} filters at most"
    )
    if report.blobs:
        click.echo(
            f"{report.blobs} files of large values: {report.blob_bytes} bytes, of which"
            f" {report.blob_bytes_referenced} are referred to"
        )
    rows = [
        [
            *map(str, (r.place, r.tables, r.entries, r.tombstones, r.size_bytes)),
            *("?" if n is None else str(n) for n in (r.blocks, r.compressed_blocks)),
        ]
        for r in report.runs
    ]
    print_table(_COLUMNS, rows)


@command.command("verify")
@_directory
def verify_command(directory: str) -> None:
    """Read everything and compare every checksum; exit code 1 when one is wrong."""
    from ..storage.engine.care import verify
    from ..storage.env import RealEnv
    from ..storage.errors import CorruptionError

    damaged = 0
    try:
        for path, checked, wrong in verify(RealEnv(), directory):
            click.echo(f"{'DAMAGED' if wrong else 'ok':8}{checked:>12}  {path}")
            if wrong:
                damaged += 1
                click.echo(f"        {wrong}", err=True)
    except (CorruptionError, OSError) as error:
        raise _fail(error) from None
    if damaged:
        raise click.ClickException(f"{damaged} files are damaged")
