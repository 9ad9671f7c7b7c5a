"""A new cluster out of an old one's state: from a backup, or from what is left of it.

Law: synchronous, on a disk that no node uses. The new cluster is another one: it has an
id, a CA and a first voter of its own, so that no old member is ever taken for one of
its own. It remembers no member, no token, no session and nothing that its caretaker was
told; its revision is far above every one that the old one may still have given out, and
the history before is marked as compacted, so that nobody mistakes a revision of one for
one of the other (I-81).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from ..raft import Configuration, Entry, encode_configuration
from ..storage.engine import TOMBSTONE, VALUE, Engine
from ..storage.engine.manifest import NAME as MANIFEST
from ..storage.engine.manifest import load_manifest
from ..storage.env import Env
from ..storage.errors import CorruptionError
from ..storage.journal import JournalOptions
from .database import Database, layout
from .database.member_records import AS_FOUNDED, FIRST_VERSION, NOTHING_SAID, digest_of
from .database.meta import encode_meta
from .database.versions import VersionRecord
from .stable import Stable, StableOptions

REVISIONS_SKIPPED: Final = 1 << 40
_MODULUS: Final = 1 << 128
_COPIED_BYTES: Final = 1 << 20


def reborn_from(
    env: Env,
    data_dir: str,
    pieces: Iterator[bytes],
    *,
    source: str,
    before: int,
    cluster_id: int,
    member_id: int,
    salt: int,
    ids: Callable[[], bytes],
    log: Sequence[Entry] = (),
) -> int:
    """Make `data_dir`, which is empty, the state of a new cluster's only voter.

    `pieces` are a store of the cluster `before`, as transfers have it; what of `log` is
    behind it is applied. Everything is durable when this returns the revision that it
    begins with; whoever calls writes the identity last. Raises CorruptionError,
    OSError, and what `pieces` raises.
    """
    options = StableOptions(JournalOptions(owner=member_id))
    stable = Stable(env, data_dir, cluster_id, options)
    stable.make_directories()
    engine = Engine(env, stable.engine_dir, ids)
    try:
        database = _received(engine, pieces, source, before, log)
        revision = _begin_anew(database, cluster_id, member_id)
    finally:
        engine.close()
    stable.begin_log(salt)
    return revision


def _received(
    engine: Engine,
    pieces: Iterator[bytes],
    source: str,
    cluster_id: int,
    log: Sequence[Entry],
) -> Database:
    """The store that `pieces` are, in an empty engine, with all of a log applied.

    Also with what is not known to be committed: some of that may have been
    acknowledged, and nobody is left to ask.
    """
    incoming = engine.receive(source)
    try:
        for piece in pieces:
            incoming.feed(piece)
        for _ in incoming.check():
            pass
        engine.install(incoming)
    finally:
        incoming.close()
    database = Database(engine, cluster_id)
    if engine.damage is not None:
        raise engine.damage
    _apply_all(database, log)
    return database


def _apply_all(database: Database, log: Sequence[Entry]) -> None:
    while left := [each for each in log if each.index > database.applied_index]:
        # No further than the values that it replaces fit into memory.
        database.apply(left)
        database.store.flush()


def _begin_anew(database: Database, cluster_id: int, member_id: int) -> int:
    """One more step of the old log, that only the new cluster has."""
    effects: dict[bytes, bytes] = {}
    table, digest = database.member_table, database.digest_sum
    for member, record in [*table.members.items(), *table.gone.items()]:
        at = layout.member(member)
        effects[at] = TOMBSTONE
        digest -= digest_of(at, record)
    for number, token in table.tokens.items():
        at = layout.token(number)
        effects[at] = TOMBSTONE
        digest -= digest_of(at, token)
    if table.caretaker is not NOTHING_SAID:
        effects[layout.CARETAKER] = TOMBSTONE
        digest -= digest_of(layout.CARETAKER, table.caretaker)
    if table.trust is not AS_FOUNDED:
        # The new cluster has a CA of its own.
        effects[layout.TRUST] = TOMBSTONE
        digest -= digest_of(layout.TRUST, table.trust)
    if table.versions is not FIRST_VERSION:
        # What the state is made of stays; who understands it, its members will say.
        effects[layout.VERSION] = TOMBSTONE
        digest -= digest_of(layout.VERSION, table.versions)
        kept = VersionRecord(table.versions.version)
        if kept != FIRST_VERSION:
            effects[layout.VERSION] = VALUE + msgspec.msgpack.encode(kept)
            digest += digest_of(layout.VERSION, kept)
    database.session_table.forget_all(effects)
    revision = database.revision + REVISIONS_SKIPPED
    meta = msgspec.structs.replace(
        database.meta(),
        cluster_id=cluster_id,
        configuration=encode_configuration(Configuration((member_id,))),
        revision=revision,
        compacted=revision,
        digest_sum=(digest % _MODULUS).to_bytes(16, "little"),
    )
    store = database.store
    # What merges may leave out is the new cluster's business.
    store.droppable = lambda meta: ()
    store.write_records(effects, database.applied_index + 1, encode_meta(meta))
    store.flush()
    return revision


def whole_log_of(
    stable: Stable, log: Sequence[Entry], directory: str, ids: Callable[[], bytes]
) -> Database:
    """A copy, in `directory`, of a replica's state with all of its log applied.

    The replica's own files stay as they are. Raises CorruptionError, OSError; whoever
    gets the database closes its store.
    """
    assert stable.engine is not None
    engine = Engine(stable.env, directory, ids)
    try:
        pieces = stable.engine.pin().pieces()
        database = _received(engine, pieces, stable.engine_dir, stable.cluster_id, log)
        engine.flush()
    except BaseException:
        engine.close()
        raise
    return database


def condemned_log_of(
    stable: Stable, log: Sequence[Entry], directory: str, ids: Callable[[], bytes]
) -> Database:
    """As `whole_log_of`, of a state whose files are whole and not to be believed.

    What is wrong may have been in memory alone, or in the log's effects: people judge.
    Raises CorruptionError when a file is damaged as well, OSError.
    """
    assert stable.engine is not None
    env, manifest = stable.env, load_manifest(stable.env, stable.engine_dir)
    assert manifest is not None
    env.make_directory(directory)
    for name in (MANIFEST, *sorted(manifest.names())):
        # What is missing the opening finds.
        if env.exists(f"{stable.engine_dir}/{name}"):
            _copy(env, f"{stable.engine_dir}/{name}", f"{directory}/{name}")
    try:
        return _applied_to(env, directory, ids, stable.cluster_id, log)
    except CorruptionError as damage:
        # Told of what it was copied from.
        path = damage.path.replace(directory, stable.engine_dir, 1)
        raise CorruptionError(path, damage.offset, damage.reason) from damage


def _applied_to(
    env: Env,
    directory: str,
    ids: Callable[[], bytes],
    cluster_id: int,
    log: Sequence[Entry],
) -> Database:
    engine = Engine(env, directory, ids)
    try:
        for _ in engine.verify():
            pass
        database = Database(engine, cluster_id)
        _apply_all(database, log)
    except BaseException:
        engine.close()
        raise
    return database


def _copy(env: Env, source: str, to: str) -> None:
    there, here = env.open(source, read_only=True), env.open(to, create=True)
    try:
        for offset in range(0, there.size(), _COPIED_BYTES):
            here.write_at(offset, there.read_at(offset, _COPIED_BYTES))
    finally:
        there.close()
        here.close()
