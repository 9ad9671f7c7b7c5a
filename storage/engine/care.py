"""Looks at a store from outside: what is in it, and is every byte of it as written?

Law: reads only, takes no lock, and changes nothing: it may be asked of a store that is
in use, or of one that its owner refuses to open. Then files may come and go meanwhile;
only those of the manifest that was read are looked at.
"""

from collections.abc import Iterator, Sequence

import msgspec

from ..env import Env
from ..errors import CorruptionError
from . import condemned
from .manifest import NAME, Manifest, TableMeta, load_manifest
from .table import Table
from .version import open_file


class RunReport(msgspec.Struct, frozen=True):
    """One run: its place from the newest on, its tables, entries and bytes.

    So many of its `blocks` are compressed; None where a table can't be read.
    """

    place: int
    tables: int
    entries: int
    tombstones: int
    size_bytes: int
    blocks: int | None
    compressed_blocks: int | None


class Report(msgspec.Struct, frozen=True):
    """`read_amplification`: runs that a key may be in, so filters to be asked.

    `blobs` are files of values; of their bytes so many are referred to by a table.
    """

    directory: str
    edition: int
    applied_index: int
    tables: int
    entries: int
    tombstones: int
    size_bytes: int
    read_amplification: int
    blobs: int
    blob_bytes: int
    blob_bytes_referenced: int
    runs: tuple[RunReport, ...]


def inspect(env: Env, directory: str) -> Report:
    """What the manifest says, and of its tables what they say of their blocks.

    Raises `CorruptionError` and `OSError` when it is the manifest.
    """
    manifest = _manifest(env, directory)
    runs = tuple(
        _report_run(env, directory, place, tables)
        for place, tables in enumerate(manifest.runs)
    )
    return Report(
        directory=directory,
        edition=manifest.edition,
        applied_index=manifest.applied_index,
        tables=len(manifest.tables()),
        entries=sum(run.entries for run in runs),
        tombstones=sum(run.tombstones for run in runs),
        size_bytes=sum(run.size_bytes for run in runs),
        read_amplification=len(runs),
        blobs=len(manifest.blobs),
        blob_bytes=sum(blob.size_bytes for blob in manifest.blobs),
        blob_bytes_referenced=manifest.referenced_bytes().total(),
        runs=runs,
    )


def _report_run(
    env: Env, directory: str, place: int, tables: Sequence[TableMeta]
) -> RunReport:
    blocks: int | None = 0
    compressed: int | None = 0
    try:
        for meta in tables:
            table = Table(env, directory, meta)
            blocks += table.properties.blocks
            compressed += table.properties.compressed
            table.close()
    except (CorruptionError, OSError):
        # Damaged, or merged away meanwhile: `verify` says which, and what is wrong.
        blocks = compressed = None
    return RunReport(
        place=place,
        tables=len(tables),
        entries=sum(table.entries for table in tables),
        tombstones=sum(table.tombstones for table in tables),
        size_bytes=sum(table.size_bytes for table in tables),
        blocks=blocks,
        compressed_blocks=compressed,
    )


def verify(env: Env, directory: str) -> Iterator[tuple[str, int, str]]:
    """Check every byte; (path, bytes checked, what is wrong or "") of each file.

    Damage, and what the disk does not give, ends the check of its file, not of the
    others; who uses the store meanwhile may take away files that it needs no more.
    Raises `CorruptionError` or `OSError` when it is the manifest: then nothing can be
    checked.
    """
    manifest = _manifest(env, directory)
    yield f"{directory}/{NAME}", env.size(f"{directory}/{NAME}"), ""
    try:
        condemned.check(env, directory)
    except CorruptionError as error:
        # Its files may all be right: it is what they say that is not to be believed.
        yield error.path, 0, error.reason
    for meta in manifest.files():
        path, checked = f"{directory}/{meta.name}", 0
        try:
            for size in open_file(env, directory, meta).verify():
                checked += size
        except CorruptionError as error:
            if env.exists(path) or meta.name in _manifest(env, directory).names():
                yield path, checked, f"offset {error.offset}: {error.reason}"
        except OSError as error:
            yield path, checked, error.strerror or str(error)
        else:
            yield path, checked, ""


def _manifest(env: Env, directory: str) -> Manifest:
    manifest = load_manifest(env, directory)
    if manifest is None:
        raise CorruptionError(f"{directory}/{NAME}", 0, "there is no manifest")
    return manifest
