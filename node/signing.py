"""Signs certificates of members, on a node that has the CA's key.

Law: a shell. It signs by the root that the log says, and by no other: during a rotation
the folder of the CA holds the next one, too, in NEXT_FOLDER. The key is read for each
signature and not kept. What certificates are made of is imported when it is needed
only: it takes long.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .peer_hello import HelloError
from .tls import TlsError, roots_of

if TYPE_CHECKING:
    from .certificates import Authority
    from .node import Node

NEXT_FOLDER: Final = "next"
NO_KEY: Final = "this node has no key to sign with"
NOBODY_SIGNS: Final = (
    "no member that is reached has a key to sign with: peer.authority of one has to"
    " name the CA's folder"
)
REQUEST_BYTES_MAX: Final = 8 << 10


def root_in(folder: Path) -> bytes | None:
    """The certificate (DER) of the CA in a folder; None: there is none."""
    try:
        return roots_of(str(folder / "ca.crt"))[0]
    except TlsError:
        return None


class Signer:
    """What one node signs for others, and for itself."""

    def __init__(self, node: "Node") -> None:
        self.node = node

    async def sign(self, request: bytes, name: str, member: int) -> bytes:
        """The certificate for a request, both PEM. Raises HelloError."""
        if len(request) > REQUEST_BYTES_MAX:
            raise HelloError(f"a request for a certificate of {len(request)} bytes")
        signing = self.node.replica.database.member_table.trust.signing
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            None, self._sign, request, name, member, signing
        )

    async def check(self) -> None:
        """Is there a key that can be used? Raises HelloError, with what is wrong."""
        signing = self.node.replica.database.member_table.trust.signing
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._usable, signing)

    async def ready(self) -> bool:
        """Has this node the key by which certificates are made now?"""
        if not self.node.config.peer.authority:
            return False
        signing = self.node.replica.database.member_table.trust.signing
        if signing is None:
            # A key that can't be used is an error that is worth to be told.
            return True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._folder, signing) is not None

    def _folder(self, signing: bytes) -> Path | None:
        """Where the key to this root is."""
        folder = Path(self.node.config.peer.authority)
        for place in (folder, folder / NEXT_FOLDER, folder):
            # Looked at twice: at the end of a rotation the one takes the other's place.
            if root_in(place) == signing:
                return place
        return None

    def _sign(
        self, request: bytes, name: str, member: int, signing: bytes | None
    ) -> bytes:
        from . import certificates

        authority = self._usable(signing)
        try:
            return certificates.sign_member(
                authority,
                request,
                name=name,
                member_id=member,
                lifetime=timedelta(seconds=self.node.config.peer.certificate_seconds),
            )
        except certificates.CertificateError as error:
            raise HelloError(str(error)) from None

    def _usable(self, signing: bytes | None) -> "Authority":
        from . import certificates

        try:
            authority = self._authority(signing)
        except certificates.CertificateError as error:
            raise HelloError(str(error)) from None
        if authority.cluster_id != self.node.cluster_id:
            raise HelloError("the CA in peer.authority is of another cluster")
        return authority

    def _authority(self, signing: bytes | None) -> "Authority":
        from . import certificates

        if not self.node.config.peer.authority:
            raise HelloError(NO_KEY)
        folder = Path(self.node.config.peer.authority)
        if signing is not None:
            found = self._folder(signing)
            if found is None:
                raise HelloError(NO_KEY)
            folder = found
        return certificates.load_authority(folder)
