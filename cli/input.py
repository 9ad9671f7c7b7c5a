"""What commands read: a file or standard input, and no more of it than can be of use.

Law: nothing is read without a bound, and what is too large is refused by name.
"""

import os
import sys

from .settings import Failure


def read_input(path: str | None, what: str, bytes_max: int) -> bytes:
    """All of a file, or of standard input when `path` is None.

    `what` is read is for the error when it is larger than `bytes_max`.
    """
    # One byte more than is allowed: enough to be refused, and no endless reading.
    most = bytes_max + 1
    if path is None:
        data = sys.stdin.buffer.read(most)
    else:
        try:
            with open(os.fsencode(path), "rb") as file:
                data = file.read(most)
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}") from error
    if len(data) >= most:
        raise Failure(f"the {what} is larger than {bytes_max} bytes")
    return data
