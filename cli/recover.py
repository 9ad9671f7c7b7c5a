"""`quorate recover`: a new cluster, when the old one has lost its quorum for good."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from ..node.address import Address
from ..node.config import CONFIG_FILE, ConfigError, load_config
from ..node.database import NotUnderstood
from ..node.identity import LOCK_FILE, Identity, IdentityError, load_identity
from ..node.rebirth import whole_log_of
from ..node.stable import NotBootstrapped, Opened, Stable, StableOptions
from ..storage.env import RealEnv
from ..storage.errors import StorageError
from .founding import found, founding_options
from .output import print_table
from .settings import Failure


class Survivor(msgspec.Struct):
    """What one node's folder still has."""

    directory: Path
    name: str
    cluster_id: int
    last_term: int
    last_index: int
    commit_index: int
    revision: int
    keys: int
    # The last term and index of a batch that is damaged, if its disk has one.
    doubt: tuple[int, int] | None

    @property
    def rank(self) -> tuple[int, int]:
        """Who has more: everything that was acknowledged is with the highest one."""
        return self.last_term, self.last_index


@click.command("recover")
@click.argument(
    "directories",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR…",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="Make the new cluster's first voter here; without it nothing is made.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@founding_options
def command(
    directories: tuple[Path, ...],
    into: Path | None,
    yes: bool,
    name: str,
    client: Address,
    peer: Address,
    passphrase_file: Path | None,
) -> None:
    """Show what the nodes in DIR… still have; with --into make a new cluster of it.

    For when a majority of voters is lost for good, and only then. Stop all nodes first.
    The folder with the highest last term, then index, is taken. What was acknowledged
    and is in none of the folders is lost; what is in its log and was never
    acknowledged comes true. Each folder stays, and is opened as a start of its node
    would, which settles the end of its journal: of a failing disk look at a copy. One
    that can't be read is told after the others, and then nothing is made: leave it out
    to go on.
    """
    best = _best_of(directories)
    if into is None:
        return
    if not yes:
        click.confirm(
            f"Make a new cluster in {click.format_filename(into)} from {best.name}?"
            " The old one must never run again.",
            abort=True,
        )
    cluster_id, revision = _make(
        best, into, name, client, peer, passphrase_file=passphrase_file
    )
    shown = click.format_filename(into)
    click.echo(
        f"cluster {cluster_id:016x} with its first voter {name} in {shown}, from"
        f" revision {revision} on\n\nStart it:      quorate node --dir {shown}"
    )


@contextmanager
def _opened(directory: Path) -> Generator[tuple[Identity, Stable, Opened]]:
    """Whose folder it is, and what its disk has."""
    env = RealEnv()
    try:
        config = load_config(directory / CONFIG_FILE, {})
        identity = load_identity(env, config.data_dir)
        lock = env.lock(f"{config.data_dir}/{LOCK_FILE}")
    except (ConfigError, IdentityError, StorageError, OSError) as error:
        raise Failure(f"{directory}: {error}") from error
    stable = Stable(env, config.data_dir, identity.cluster_id, StableOptions())
    try:
        opened = stable.open(None, secrets.randbits(64) or 1, lambda: os.urandom(16))
        yield identity, stable, opened
    except (StorageError, NotBootstrapped, NotUnderstood, OSError) as error:
        raise Failure(f"{directory}: {error}") from error
    finally:
        stable.close()
        lock.release()


@contextmanager
def _scratch(beside: Path) -> Generator[Path]:
    """A folder for a copy, on a disk that has room for one."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".quorate-recover-", dir=beside))
    except OSError as error:
        reason = f"a copy is made there to look at, and can't be: {error.strerror}"
        raise Failure(f"{beside}: {reason}") from error
    try:
        yield folder / "copy"
    finally:
        shutil.rmtree(folder)


def _best_of(directories: Sequence[Path]) -> Survivor:
    """Show all that can be read, then fail if one can't: it may be the best."""
    survivors: list[Survivor] = []
    reasons: list[str] = []
    for directory in directories:
        try:
            survivors.append(_look(directory))
        except Failure as failure:
            reasons.append(failure.message)
    if len({each.cluster_id for each in survivors}) > 1:
        reasons.append("the folders are of different clusters")
    elif survivors:
        _show(survivors, max(survivors, key=lambda each: each.rank))
    if reasons:
        raise Failure("\n".join(reasons))
    return max(survivors, key=lambda each: each.rank)


def _look(directory: Path) -> Survivor:
    beside = directory.absolute().parent
    with _scratch(beside) as scratch, _opened(directory) as (identity, stable, opened):
        database = whole_log_of(
            stable, opened.entries, str(scratch), lambda: os.urandom(16)
        )
        database.store.close()
        last = opened.entries[-1] if opened.entries else opened.snapshot
        return Survivor(
            directory=directory,
            name=identity.name,
            cluster_id=identity.cluster_id,
            last_term=last.term,
            last_index=last.index,
            commit_index=max(opened.hard_state.commit_index, opened.snapshot.index),
            revision=database.revision,
            keys=database.keys,
            doubt=opened.doubt,
        )


def _show(survivors: list[Survivor], best: Survivor) -> None:
    head = ["", "NODE", "TERM", "LAST", "COMMITTED", "NOT KNOWN", "REVISION", "KEYS"]
    rows = [
        [
            "best" if each is best else "",
            each.name,
            *map(str, (each.last_term, each.last_index, each.commit_index)),
            str(max(0, each.last_index - each.commit_index)),
            *map(str, (each.revision, each.keys)),
        ]
        for each in survivors
    ]
    print_table(head, rows)
    for each in survivors:
        if each.doubt is not None and each.doubt > best.rank:
            term, index = each.doubt
            click.echo(
                f"{each.name}: its last batch is damaged and left out; it went up to"
                f" term {term} and index {index}, which the best does not have, and may"
                " have held acknowledged writes"
            )


def _make(
    best: Survivor,
    into: Path,
    name: str,
    client: Address,
    peer: Address,
    *,
    passphrase_file: Path | None,
) -> tuple[int, int]:
    with _opened(best.directory) as (_, stable, opened):
        assert stable.engine is not None
        return found(
            *(into, name, client, peer, passphrase_file),
            source=str(best.directory),
            before=best.cluster_id,
            pieces=stable.engine.pin().pieces(),
            log=opened.entries,
        )
