"""Edits of the manifest: what changes, and how the change becomes durable.

Law: `make_durable` and `remove` block on the disk and touch nothing in memory, so that
a thread can do them. A file has its name durably before the manifest names it, and
loses it only when no durable manifest does.
"""

from collections.abc import Sequence

import msgspec

from ..env import Env, parent_of
from ..errors import CorruptionError, is_no_space
from .manifest import BlobMeta, Manifest, TableMeta, load_manifest, save_manifest
from .version import Version, open_version

Runs = tuple[tuple[TableMeta, ...], ...]


def edited(
    current: Manifest,
    runs: Runs,
    made: Sequence[BlobMeta],
    applied_index: int,
    meta: bytes,
) -> Manifest:
    """The manifest after `current`; of all files of values those that are needed."""
    manifest = Manifest(current.edition + 1, applied_index, meta, runs)
    live = manifest.referenced_bytes()
    blobs = [blob for blob in (*current.blobs, *made) if live[blob.file_id]]
    return msgspec.structs.replace(manifest, blobs=tuple(blobs))


def copy_by_links(
    env: Env,
    manifest: Manifest,
    files: Sequence[tuple[str, str]],
    directory: str,
) -> None:
    """A store in `directory`, durable when this returns; `files` are paths and names.

    Raises `OSError`, `FileExistsError` when there is something.
    """
    if env.exists(directory):
        raise FileExistsError(f"{directory} is there already")
    env.make_directory(directory)
    try:
        for path, name in files:
            env.link(path, f"{directory}/{name}")
        save_manifest(env, directory, manifest)
        env.sync_directory(parent_of(directory))
    except OSError:
        # It would hold the space of files that are merged away, and the next one up.
        for name in env.list(directory):
            env.remove(f"{directory}/{name}")
        env.remove_directory(directory)
        raise


def make_durable(
    env: Env,
    directory: str,
    work: str,
    manifest: Manifest,
    current: Manifest,
    opened: Version,
    *,
    all_new: bool = False,
) -> Version:
    """Name the new files, make the manifest durable; the version that it describes.

    New files are in `work`; `current` counts until this returns. `all_new`: also what
    it names is there, and takes the place of what is here, which may be damaged. What
    `opened` has is not opened again. Raises `OSError`, `CorruptionError`.
    """
    known = current.names()
    new_files = [f.name for f in manifest.files() if f.name not in known]
    moved = [f.name for f in manifest.files()] if all_new else new_files
    try:
        for name in moved:
            env.rename(f"{work}/{name}", f"{directory}/{name}")
        if moved:
            env.sync_directory(directory)
        version = open_version(env, directory, manifest.runs, manifest.blobs, opened)
        save_manifest(env, directory, manifest)
    except (CorruptionError, OSError) as error:
        # After any other the process ends, and the next opening does it.
        if isinstance(error, CorruptionError) or is_no_space(error):
            _take_back(env, directory, new_files, current)
        raise
    version.touched = opened.touched
    return version


def _take_back(env: Env, directory: str, names: list[str], current: Manifest) -> None:
    """There was no room for the manifest: its files go, or they would fill it more.

    Nor does anybody know of them where one can't be read again. Only while the old
    manifest is in place: else the new one counts, or may.
    """
    try:
        found = load_manifest(env, directory)
    except CorruptionError:
        # This state is to be replaced; nobody would know of these files any more.
        remove(env, [f"{directory}/{name}" for name in names])
        raise
    if found is not None and found.edition == current.edition:
        remove(env, [f"{directory}/{name}" for name in names])


def remove(env: Env, paths: Sequence[str]) -> None:
    """Remove files, if they are there. Views may still read their bytes."""
    for path in paths:
        if env.exists(path):
            env.remove(path)
