"""The CA's folder while one CA takes the place of another: see `quorate certs rotate`.

Law: at each moment the folder holds the key of the CA that signs: the old one directly
in it, the new one in `next`, until the new one takes its place and the old one goes to
`retired-…`. Each step looks at what is there, so that whoever was interrupted begins
again with the same call.
"""

from hashlib import sha256
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
    if _is_retiring(folder, current, new):
        retired = folder / f"retired-{_name_of(folder, current)}"
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


def _is_retiring(folder: Path, current: bytes | None, new: bytes) -> bool:
    """Is what is directly in the folder the old CA, or what is left of it?"""
    if current is not None:
        return current != new
    # Its certificate is damaged or lost; the key may also have come out of `next`.
    following = folder / NEXT_FOLDER
    return (folder / "ca.key").exists() and (following / "ca.key").exists()


def _name_of(folder: Path, current: bytes | None) -> str:
    """For two of them never the same."""
    if current is None:
        return sha256((folder / "ca.key").read_bytes()).hexdigest()[:8]
    return digest_of_root(current).hex()[:8]
