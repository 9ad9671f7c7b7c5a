"""The CA's folder while one CA takes the place of another: see `quorate certs rotate`.

Law: at each moment the folder holds the key of the CA that signs: the old one directly
in it, the new one in `next`, until the new one takes its place and the old one goes to
`retired-…`. Each step looks at what is there, so that whoever was interrupted begins
again with the same call.
"""

from pathlib import Path

from .key_files import sync_directory
from .signing import NEXT_FOLDER, root_in
from .tls import digest_of_root

FILES = ("ca.key", "ca.crt")


def take_over(folder: Path, new: bytes) -> None:
    """Let the CA in `next`, whose certificate is `new` (DER), be the folder's.

    Raises OSError.
    """
    following = folder / NEXT_FOLDER
    current = root_in(folder)
    if current is not None and current != new:
        retired = folder / f"retired-{digest_of_root(current).hex()[:8]}"
        retired.mkdir(mode=0o700, exist_ok=True)
        # The certificate last: while it is there the key beside it is its own.
        for name in FILES:
            if (folder / name).exists():
                (folder / name).replace(retired / name)
        sync_directory(str(retired))
        sync_directory(str(folder))
    if root_in(folder) is None:
        for name in FILES:
            if (following / name).exists():
                (following / name).replace(folder / name)
        sync_directory(str(folder))
    if following.exists():
        following.rmdir()
