"""A real disk on which single operations fail, as a flag says.

Run as a program (`failing_disk.py CONFIG`), it is `quorate node` on a disk whose
journal's syncs fail from the third on.
"""

import errno
import sys
from pathlib import Path

from quorate.storage.env import Data, RealEnv, RealFile, open_fd, open_flags, os_error


class Faults:
    """Which operations fail; changed while the node runs."""

    def __init__(self) -> None:
        self.syncs_until_failure = -1
        self.no_new_segments = False
        self.free_bytes: int | None = None


class FailingFile(RealFile):
    """A file of the journal."""

    __slots__ = ("_faults", "_new")

    def __init__(self, path: str, fd: int, faults: Faults, new: bool) -> None:
        super().__init__(path, fd)
        self._faults = faults
        self._new = new

    def write_at(self, offset: int, data: Data) -> None:
        if self._new and self._faults.no_new_segments:
            raise os_error(errno.ENOSPC, self.path)
        super().write_at(offset, data)

    def sync(self) -> None:
        if self._faults.syncs_until_failure == 0:
            raise os_error(errno.EIO, self.path)
        self._faults.syncs_until_failure -= 1
        super().sync()


class FailingEnv(RealEnv):
    """The real disk, but for what `faults` says."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        read_only: bool = False,
    ) -> RealFile:
        if not path.endswith(".seg"):
            return super().open(
                path, create=create, exclusive=exclusive, read_only=read_only
            )
        fd = open_fd(path, open_flags(create, exclusive, read_only))
        return FailingFile(path, fd, self.faults, create)

    def free_bytes(self, path: str) -> int:
        given = self.faults.free_bytes
        return super().free_bytes(path) if given is None else given


def main() -> None:
    """A whole node process on such a disk."""
    from quorate.node import process
    from quorate.node.config import load_config
    from quorate.storage.env import Env

    faults = Faults()
    faults.syncs_until_failure = 3

    def failing(config: object) -> Env:
        del config
        return FailingEnv(faults)

    process._env = failing
    sys.exit(process.run_node(load_config(Path(sys.argv[1]), {})))


if __name__ == "__main__":
    main()
