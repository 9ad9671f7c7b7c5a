"""A file that was written beside its place takes it, whole, and only if it is free."""

import os
from typing import Final

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
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links (FAT, exFAT, some on networks), which says so
        # by any of several errors: the name is made ours first, by an empty file.
        os.close(os.open(name, NEW_FILE, 0o600, dir_fd=folder))
        try:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
    else:
        os.unlink(temporary, dir_fd=folder)
