"""`quorate recover`: a new cluster, when the old one has lost its quorum for good."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from ..node.address import Address
from ..node.config import CONFIG_FILE, ConfigError, load_config
from ..node.database import NotUnderstood
from ..node.identity import (
    IDENTITY_FILE,
    LOCK_FILE,
    Identity,
    IdentityError,
    load_identity,
)
from ..node.rebirth import condemned_log_of, whole_log_of
from ..node.stable import NotBootstrapped, Opened, Stable, StableOptions
from ..storage.engine.condemned import is_mark
from ..storage.env import RealEnv
from ..storage.errors import CorruptionError, StorageError
from ..storage.journal import JournalOptions
from .founding import found, founding_options
from .output import print_table
from .settings import Failure

# Of 40: enough to tell two apart, and no line is too long.
_HASH_DIGITS = 16


class State(msgspec.Struct):
    """What a cluster would have that is made of a survivor: with all of its log."""

    revision: int
    keys: int
    hash: str


class Survivor(msgspec.Struct):
    """What one node's folder still has."""

    path: Path
    name: str
    cluster_id: int
    last_term: int
    last_index: int
    commit_index: int
    # Of its state's files, in bytes.
    size: int
    # The last term and index of a batch that is damaged, if its disk has one.
    doubt: tuple[int, int] | None
    # None when it can't be read.
    state: State | None = None
    # Why it is not to be believed, if it is not; then `state` is only shown.
    damage: str = ""

    @property
    def rank(self) -> tuple[int, int]:
        """Who has more: everything that was acknowledged is with the highest one."""
        return self.last_term, self.last_index


@click.command("recover")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
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
    paths: tuple[Path, ...],
    into: Path | None,
    yes: bool,
    name: str,
    client: Address,
    peer: Address,
    passphrase_file: Path | None,
) -> None:
    """Show what the nodes in DIR… still have; with --into make a new cluster of it.

    For when a majority of voters is lost for good, and only then. Stop all nodes first.
    DIR is a node's folder, its configuration file or its data directory; variables of
    the environment are not read. To look, a copy of each state is made beside its data
    directory, one at a time, and removed: that takes room, and the right to write.
    The folder with the highest last term, then index, is taken. What was acknowledged
    and is in none of the folders is lost; what is in its log and was never
    acknowledged comes true. Each folder stays, and is opened as a start of its node
    would, which settles the end of its journal: of a failing disk look at a copy. One
    that can't be read is told after the others, and then nothing is made: leave it out
    to go on.
    """
    best = _best_of(paths)
    if into is None:
        return
    _check_room(into.absolute(), best.size, "the new cluster can't be made there")
    if not yes:
        click.confirm(
            f"Make a new cluster in {click.format_filename(into)} from {best.name}?"
            " The old one must never run again.",
            abort=True,
        )
    cluster_id, revision = _make(
        best, into, name, client, peer, passphrase_file=passphrase_file
    )
    shown, data = map(click.format_filename, (into, _data_dir(into)))
    click.echo(
        f"cluster {cluster_id:016x} with its first voter {name} in {shown}, from"
        f" revision {revision} on\n\nIts data:      {data}\n"
        f"Start it:      quorate node --dir {shown}"
    )


def _data_dir(path: Path) -> str:
    """Of a node's folder, its configuration, or the data directory itself.

    Raises ConfigError. What the environment says is of one node, and not read.
    """
    config = path if path.is_file() else path / CONFIG_FILE
    if not config.exists() and (path / IDENTITY_FILE).exists():
        return str(path.absolute())
    return load_config(config, {}).data_dir


@contextmanager
def _opened(path: Path) -> Generator[tuple[Identity, Stable, Opened]]:
    """Whose data it is, and what its disk has."""
    env = RealEnv()
    try:
        data_dir = _data_dir(path)
        identity = load_identity(env, data_dir)
        lock = env.lock(f"{data_dir}/{LOCK_FILE}")
    except (ConfigError, IdentityError, StorageError, OSError) as error:
        raise Failure(f"{path}: {error}") from error
    options = StableOptions(JournalOptions(owner=identity.member_id))
    stable = Stable(env, data_dir, identity.cluster_id, options)
    try:
        opened = stable.open(None, secrets.randbits(64) or 1, lambda: os.urandom(16))
        yield identity, stable, opened
    except (StorageError, NotBootstrapped, NotUnderstood, OSError) as error:
        raise Failure(f"{path}: {error}") from error
    finally:
        stable.close()
        lock.release()
        _give_back(data_dir)


def _give_back(data_dir: str) -> None:
    """What root wrote anew belongs to whose directory it is: its node starts again.

    Nothing is changed through a link, since the owner may have put one there.
    """
    data_dir = os.path.realpath(data_dir)
    owner = os.stat(data_dir)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for _, folders, files, at in os.fwalk(data_dir):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
            file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if found.st_uid == 0 and (file or stat.S_ISDIR(found.st_mode)):
                ids = owner.st_uid, owner.st_gid
                os.chown(name, *ids, dir_fd=at, follow_symlinks=False)


@contextmanager
def _scratch(beside: Path, size: int) -> Generator[Path]:
    """A folder for a copy of so many bytes, on the disk of what is copied."""
    what = "a copy of the state is made there to look at, and can't be"
    _check_room(beside, size, what)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".quorate-recover-", dir=beside))
    except OSError as error:
        raise Failure(f"{beside}: {what}: {error.strerror}") from error
    try:
        yield folder / "copy"
    finally:
        shutil.rmtree(folder)


def _check_room(directory: Path, size: int, what: str) -> None:
    """Refuse what can't fit before it is begun."""
    there = next(each for each in (directory, *directory.parents) if each.exists())
    free = RealEnv().free_bytes(str(there))
    if free < size:
        reason = f"it needs {size} bytes, and {free} are free"
        raise Failure(f"{directory}: {what}: {reason}")


def _best_of(paths: Sequence[Path]) -> Survivor:
    """Show all that can be read, then fail if one can't: it may be the best."""
    survivors: list[Survivor] = []
    reasons: list[str] = []
    for path in paths:
        try:
            found = _look(path)
        except Failure as failure:
            reasons.append(failure.message)
            continue
        survivors.append(found)
        if found.damage:
            reasons.append(f"{path}: {found.damage}")
    whole = [each for each in survivors if not each.damage]
    best = max(whole, key=lambda each: each.rank, default=None)
    if len({each.cluster_id for each in survivors}) > 1:
        reasons.append("the folders are of different clusters")
    elif survivors:
        _show(survivors, best)
        if best is None:
            reasons.append(_left_to_do(survivors))
    if reasons or best is None:
        raise Failure("\n".join(reasons))
    return best


def _left_to_do(survivors: Sequence[Survivor]) -> str:
    """What can be had when no state is to be believed."""
    readable = [each.name for each in survivors if each.state is not None]
    backup = "a backup has (quorate backup restore)"
    if not readable:
        return f"none of the states can be read; what can be had is what {backup}"
    names = ", ".join(readable)
    return (
        "none of the states is to be believed. What is shown was made of the files of"
        f" {names}, which are whole: the nodes had judged what was in their memory."
        " Compare the hashes; of the one that is right, remove the file"
        f" CONDEMNED and look again. Else what can be had is what {backup}"
    )


def _look(path: Path) -> Survivor:
    with _opened(path) as (identity, stable, opened):
        last = opened.entries[-1] if opened.entries else opened.snapshot
        found = Survivor(
            path=path,
            name=identity.name,
            cluster_id=identity.cluster_id,
            last_term=last.term,
            last_index=last.index,
            commit_index=max(opened.hard_state.commit_index, opened.snapshot.index),
            size=_size_of(stable.engine_dir),
            doubt=opened.doubt,
        )
        beside = Path(stable.data_dir).absolute().parent
        condemned = opened.damage is not None and is_mark(opened.damage)
        if opened.damage is not None:
            found.damage = str(opened.damage)
        copy_of = condemned_log_of if condemned else whole_log_of
        with _scratch(beside, found.size) as scratch:
            try:
                database = copy_of(
                    stable, opened.entries, str(scratch), lambda: os.urandom(16)
                )
            except CorruptionError as damage:
                found.damage = str(damage)
                return found
            database.store.close()
        found.state = State(database.revision, database.keys, database.state_hash())
        return found


def _size_of(directory: str) -> int:
    return sum(each.stat().st_size for each in Path(directory).iterdir())


def _show(survivors: list[Survivor], best: Survivor | None) -> None:
    head = ["", "NODE", "TERM", "LAST", "COMMITTED", "NOT KNOWN"]
    rows = [
        [
            "best"
            if each is best
            else "condemned"
            if each.damage and each.state
            else "",
            each.name,
            *map(str, (each.last_term, each.last_index, each.commit_index)),
            str(max(0, each.last_index - each.commit_index)),
            *_cells(each.state),
        ]
        for each in survivors
    ]
    print_table([*head, "REVISION", "KEYS", "STATE HASH"], rows)
    if best is None:
        return
    for each in survivors:
        if each.doubt is not None and each.doubt > best.rank:
            term, index = each.doubt
            click.echo(
                f"{each.name}: its last batch is damaged and left out; it went up to"
                f" term {term} and index {index}, which the best does not have, and may"
                " have held acknowledged writes"
            )
        if each.damage and each.rank > best.rank:
            what = "damaged" if each.state is None else "condemned"
            click.echo(
                f"{each.name}: its state is {what}; its log goes further than the"
                " best's, and may hold acknowledged writes"
            )
        if each.state and each.rank == best.rank and each.state != best.state:
            click.echo(
                f"{each.name}: its log ends as the best's does, but its state is"
                " another one: one of the two is wrong"
            )


def _cells(state: State | None) -> list[str]:
    if state is None:
        return ["damaged", "", ""]
    return [str(state.revision), str(state.keys), state.hash[:_HASH_DIGITS]]


def _make(
    best: Survivor,
    into: Path,
    name: str,
    client: Address,
    peer: Address,
    *,
    passphrase_file: Path | None,
) -> tuple[int, int]:
    with _opened(best.path) as (_, stable, opened):
        assert stable.engine is not None
        return found(
            *(into, name, client, peer, passphrase_file),
            source=str(best.path),
            before=best.cluster_id,
            pieces=stable.engine.pin().pieces(),
            log=opened.entries,
        )
