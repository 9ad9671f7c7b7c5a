"""A store that is whole, and yet not to be believed: a mark that outlives its process.

Law: the mark is durable before anybody relies on it, and goes only after another state
is. Whoever opens the directory meanwhile finds a damaged store.
"""

from typing import Final

from ..env import Env, parent_of, read_file, write_file_durably
from ..errors import CorruptionError

NAME: Final = "CONDEMNED"


def mark(env: Env, directory: str, damage: CorruptionError) -> None:
    """From now on every opening of `directory` finds this damage."""
    write_file_durably(env, f"{directory}/{NAME}", damage.reason.encode())


def check(env: Env, directory: str) -> None:
    """Raises `CorruptionError` with the reason of the mark, if there is one."""
    path = f"{directory}/{NAME}"
    if env.exists(path):
        reason = read_file(env, path).decode("utf-8", "replace")
        raise CorruptionError(path, 0, reason)


def is_mark(damage: CorruptionError) -> bool:
    """Is it what `check` raises? Then the store's files may be whole."""
    return damage.path.rpartition("/")[2] == NAME


def unmark(env: Env, directory: str) -> None:
    """What was condemned is not there any more."""
    path = f"{directory}/{NAME}"
    if env.exists(path):
        env.remove(path)
        env.sync_directory(parent_of(path))
