"""What an opening finds in a directory, and what it removes there.

Law: nothing that is not understood is deleted. A store whose manifest is gone is not
taken for a new one.
"""

import re
from collections.abc import Container
from typing import Final

from ..env import Env, parent_of
from ..errors import CorruptionError
from .manifest import NAME, Manifest, load_manifest

_NONCE: Final = re.compile(r"[0-9a-f]{32}")
_FILE_NAME: Final = re.compile(r"[0-9a-f]{32}\.(sst|blob)")


def load_or_begin(env: Env, directory: str) -> Manifest:
    """The manifest, or that of a store in which nothing was written yet."""
    manifest = load_manifest(env, directory)
    if manifest is None:
        if any(map(_FILE_NAME.fullmatch, env.list(directory))):
            raise CorruptionError(
                f"{directory}/{NAME}", 0, "missing, and tables are there"
            )
        manifest = Manifest(1, 0, b"", ())
    return manifest


def clean(env: Env, directory: str, work: str, known: Container[str]) -> None:
    """Remove what a crash left: finished files that nobody named, work files.

    `work` is this opening's own folder of work, which is made.
    """
    parent = parent_of(work)
    env.make_directory(parent)
    for name in env.list(parent):
        if _NONCE.fullmatch(name):
            clean_work(env, f"{parent}/{name}")
    env.make_directory(work)
    for name in env.list(directory):
        if _FILE_NAME.fullmatch(name) and name not in known:
            env.remove(f"{directory}/{name}")


def clean_work(env: Env, work: str, kept: Container[str] = ()) -> None:
    """Remove a folder of work, but for `kept` and for what is not understood."""
    for name in env.list(work):
        if _FILE_NAME.fullmatch(name) and name not in kept:
            env.remove(f"{work}/{name}")
    if not env.list(work):
        env.remove_directory(work)
