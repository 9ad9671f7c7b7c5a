"""A file that was written beside its place takes it, whole, and only if it is free."""

import errno
import os
from typing import Final

# What file systems without hard links say (FAT, exFAT, some on networks).
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def take_place(
    temporary: str | bytes, name: str | bytes, folder: int | None = None
) -> None:
    """Rename a file to a name that must be new; both are in `folder`, if one is open.

    Raises FileExistsError, and OSError when there is no way to it; then the file is
    where it was.
    """
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The name is made ours first, by an empty file. Who is killed in between leaves
        # that, and no part of anything.
        os.close(os.open(name, NEW_FILE, 0o600, dir_fd=folder))
        try:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
    else:
        os.unlink(temporary, dir_fd=folder)
