"""Looks at a store from outside: what is in it, and is every byte of it as written?

Law: reads only, takes no lock, and changes nothing: it may be asked of a store that is
in use, or of one that its owner refuses to open. Then files may come and go meanwhile;
only those of the manifest that was read are looked at.
"""

from collections.abc import Iterator

import msgspec

from ..env import Env
from ..errors import CorruptionError
from .manifest import NAME, Manifest, load_manifest
from .version import open_file


class RunReport(msgspec.Struct, frozen=True):
    """One run: its place from the newest on, its tables, entries and bytes."""

    place: int
    tables: int
    entries: int
    tombstones: int
    size_bytes: int


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
    """What the manifest says. Raises `CorruptionError`, `OSError`."""
    manifest = _manifest(env, directory)
    runs = tuple(
        RunReport(
            place=place,
            tables=len(tables),
            entries=sum(table.entries for table in tables),
            tombstones=sum(table.tombstones for table in tables),
            size_bytes=sum(table.size_bytes for table in tables),
        )
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


def verify(env: Env, directory: str) -> Iterator[tuple[str, int, str]]:
    """Check every byte; (path, bytes checked, what is wrong or "") of each file.

    Damage, and what the disk does not give, ends the check of its file, not of the
    others; who uses the store meanwhile may take away files that it needs no more.
    Raises `CorruptionError` or `OSError` when it is the manifest: then nothing can be
    checked.
    """
    manifest = _manifest(env, directory)
    yield f"{directory}/{NAME}", env.size(f"{directory}/{NAME}"), ""
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
