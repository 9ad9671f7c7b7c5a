"""Certificates of a cluster's CA for client ports and their clients, in one folder."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quorate.node.address import Address
from quorate.node.certificates import (
    Authority,
    create_authority,
    issue_client,
    issue_member,
    issue_server,
)
from quorate.node.client_tls import ClientTlsFiles
from quorate.node.config import ClientPort

CLUSTER = 0xC1
ADDRESS = Address("127.0.0.1", 7400)
AGO = datetime.now(UTC) - timedelta(days=30)


class Folder:
    """A CA, and what it has issued; each name is a folder of its own."""

    def __init__(self, directory: Path, cluster_id: int = CLUSTER) -> None:
        self.directory = directory
        self.authority: Authority = create_authority(
            directory / "ca", cluster_id=cluster_id
        )
        self.cafile = str(directory / "ca" / "ca.crt")

    def server(
        self, name: str = "n1", *, now: datetime | None = None, days: float = 1
    ) -> ClientPort:
        """The files of a client port, whose clients have to be of this CA."""
        at = self.directory / f"server-{name}"
        life = timedelta(days=days)
        hosts = ["127.0.0.1", "localhost"]
        issue_server(self.authority, at, name=name, hosts=hosts, now=now, lifetime=life)
        return ClientPort(
            cert=str(at / "server.crt"), key=str(at / "server.key"), ca=self.cafile
        )

    def client(
        self, name: str = "alice", *, now: datetime | None = None, days: float = 1
    ) -> tuple[str, str]:
        """A client's certificate and key."""
        at = self.directory / f"client-{name}"
        life = timedelta(days=days)
        issue_client(self.authority, at, name=name, now=now, lifetime=life)
        return str(at / "client.crt"), str(at / "client.key")

    def member(self, name: str = "n1") -> tuple[str, str]:
        """A member's certificate and key."""
        at = self.directory / f"member-{name}"
        issue_member(self.authority, at, name=name)
        return str(at / "node.crt"), str(at / "node.key")

    def trusting(self, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A client's side: it trusts this CA, and shows `pair`."""
        context = ssl.create_default_context(cafile=self.cafile)
        if pair is not None:
            context.load_cert_chain(*pair)
        return context


def files_of(port: ClientPort) -> ClientTlsFiles:
    """What a node would have read."""
    return ClientTlsFiles(port, ADDRESS)


def joined(target: Path, *sources: str) -> str:
    """One file with what these hold."""
    target.write_bytes(b"".join(Path(source).read_bytes() for source in sources))
    return str(target)


def copy_over(source: str, target: str) -> None:
    """Replace a file's bytes, as an operator's script would."""
    Path(target).write_bytes(Path(source).read_bytes())
