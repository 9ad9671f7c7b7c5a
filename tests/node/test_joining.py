"""A new member's first steps: whom it trusts, and what it keeps."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from quorate.node.address import Address
from quorate.node.certificates import (
    CertificateError,
    create_authority,
    issue_member,
    keep_member,
)
from quorate.node.config import ClientPort, NodeConfig, PeerPort
from quorate.node.joining import AddressTaken, JoinError, join
from quorate.node.peer_hello import encode_join_answer, parse_join
from quorate.node.tls import server_context
from quorate.storage import env as disk
from quorate.storage.env import RealEnv
from quorate.wire import JoinToken


class Somebody:
    """Who stands between a new member and the cluster, and answers in its place."""

    def __init__(self, certificates: Path, root: bytes) -> None:
        cert, key, ca = (
            str(certificates / name) for name in ("node.crt", "node.key", "ca.crt")
        )
        self.context: ssl.SSLContext = server_context(cert, key, ca)
        self.root = root
        self.told: list[bytes] = []

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Address]:
        server = await asyncio.start_server(
            self._answer, "127.0.0.1", 0, ssl=self.context
        )
        async with server:
            yield Address("127.0.0.1", server.sockets[0].getsockname()[1])

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        data = await reader.read(1 << 16)
        while (body := parse_join(data)) is None:
            data += await reader.read(1 << 16)
        if body:
            self.told.append(body)
        writer.write(encode_join_answer(b"" if body else self.root))
        await writer.drain()
        writer.close()


def node_in(directory: Path) -> NodeConfig:
    certs = directory / "certs"
    files = {name: str(certs / f"node.{name}") for name in ("crt", "key")}
    peer = PeerPort(
        listen="127.0.0.1:0",
        cert=files["crt"],
        key=files["key"],
        ca=str(certs / "ca.crt"),
    )
    return NodeConfig(
        name="n2",
        data_dir=str(directory / "data"),
        client=ClientPort(listen="127.0.0.1:0"),
        peer=peer,
    )


def root_that_ends_in_padding(directory: Path) -> bytes:
    """The PEM of a CA; base64 of two certificates in three ends in an equals sign."""
    number = 0
    while True:
        number += 1
        create_authority(directory / str(number))
        pem = (directory / str(number) / "ca.crt").read_bytes()
        if b"=" in pem:
            return pem


async def test_a_second_root_behind_the_one_of_the_token_is_not_trusted(
    tmp_path: Path,
) -> None:
    """Who reads base64 up to its padding alone takes both for the first.

    The secret would go to whoever sent them, and the node would trust him for ever.
    """
    ours = root_that_ends_in_padding(tmp_path / "ours")
    digest = sha256(ssl.PEM_cert_to_DER_cert(ours.decode())).digest()
    issue_member(create_authority(tmp_path / "his"), tmp_path / "him", name="n1")
    somebody = Somebody(
        tmp_path / "him", ours + (tmp_path / "his" / "ca.crt").read_bytes()
    )
    async with somebody.listening() as contact:
        with pytest.raises(JoinError):
            await join(
                *(RealEnv(), node_in(tmp_path), contact),
                JoinToken(digest, 1, b"secret of 16 byt"),
            )
    assert somebody.told == []


NOBODY = Address("127.0.0.1", 1)
TOKEN = JoinToken(b"d" * 32, 1, b"secret of 16 byt")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("stray", b"", "holds 'stray' but no identity"),
        ("member_id", b"", "damaged; remove it"),
        ("member_id", bytes(8), "damaged; remove it"),
        ("member_id", b"123456789", "damaged; remove it"),
    ],
)
async def test_nobody_is_asked_to_let_in_what_could_not_start(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    """The cluster would wait for a member that is never there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(data)
    with pytest.raises(JoinError, match=reason):
        await join(RealEnv(), node_in(tmp_path), NOBODY, TOKEN)


@pytest.mark.parametrize("section", ["peer", "client"])
async def test_nobody_is_asked_to_let_in_who_has_no_address(
    tmp_path: Path, section: str
) -> None:
    """It would be a member whom the others dial where another one listens."""
    config = node_in(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        port = msgspec.structs.replace(getattr(config, section), listen=taken)
        config = msgspec.structs.replace(config, **{section: port})
        with pytest.raises(AddressTaken, match=f"{section}.listen, {taken}: address"):
            await join(RealEnv(), config, NOBODY, TOKEN)
    with pytest.raises(JoinError, match="connection refused"):
        await join(RealEnv(), config, NOBODY, TOKEN)


async def test_who_is_sent_to_a_client_port_is_told_so(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        there = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(JoinError, match="no peer port: it speaks no TLS"):
            await join(RealEnv(), node_in(tmp_path), there, TOKEN)


async def test_a_folder_joins_once_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one would write its identity over that of a node that runs."""
    monkeypatch.setattr(disk, "LOCK_WAIT_S", 0.0)
    (tmp_path / "data").mkdir()
    lock = RealEnv().lock(str(tmp_path / "data" / "lock"))
    with pytest.raises(JoinError, match="is locked by another holder"):
        await join(RealEnv(), node_in(tmp_path), NOBODY, TOKEN)
    lock.release()
    with pytest.raises(JoinError, match="connection refused"):
        await join(RealEnv(), node_in(tmp_path), NOBODY, TOKEN)


def test_a_certificate_of_another_ca_than_the_tokens_is_not_kept(
    tmp_path: Path,
) -> None:
    """Story: the cluster's CA was replaced between the question and the answer. The new
    member kept a certificate that its own root had not signed, and never started; and
    since it had an identity, it never joined again.
    """
    asked, other = (create_authority(tmp_path / name) for name in ("asked", "other"))
    del asked
    issue_member(other, tmp_path / "made", name="n2")
    made = (tmp_path / "made" / "node.crt").read_bytes()
    kept = tmp_path / "kept"
    with pytest.raises(CertificateError, match="another token"):
        keep_member(kept, made, (tmp_path / "asked" / "ca.crt").read_bytes())
    with pytest.raises(CertificateError, match="another token"):
        keep_member(kept, b"no certificate", b"nor a root")
    assert not kept.exists()
    keep_member(kept, made, (tmp_path / "other" / "ca.crt").read_bytes())
    assert (kept / "node.crt").read_bytes() == made
