"""A file that a manifest names, open to be read: a table, or a file of values.

Law: what the disk does not read of it is told as what was read wrong is.
"""

from ..env import Env, File
from ..errors import CorruptionError, lost


class Stored:
    """It may lose its name while this lives. `what` says what it is when it is gone."""

    __slots__ = ("__weakref__", "_file", "path")

    def __init__(self, env: Env, path: str, what: str) -> None:
        self.path = path
        try:
            self._file: File = env.open(path, read_only=True)
        except FileNotFoundError:
            raise CorruptionError(path, 0, f"{what} is missing") from None
        except OSError as error:
            raise lost(path, 0, error) from None

    def close(self) -> None:
        self._file.close()

    def _bytes(self, offset: int, length: int) -> bytes:
        try:
            return self._file.read_at(offset, length)
        except OSError as error:
            raise lost(self.path, offset, error) from None

    def _check_size(self, size_bytes: int) -> None:
        try:
            size = self._file.size()
        except OSError as error:
            raise lost(self.path, 0, error) from None
        if size != size_bytes:
            reason = f"the size is {size}, not {size_bytes}"
            raise CorruptionError(self.path, size, reason)
