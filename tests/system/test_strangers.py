"""Whoever is not a member of this cluster is turned away from the peer port.

Each stranger says hello as a member would and sends, in the same write, a message that
would change every node's state if anybody parsed it: a vote for it in a far term.
"""

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from quorate.node.certificates import (
    Authority,
    create_authority,
    issue_client,
    issue_member,
    load_authority,
    random_id,
)
from quorate.node.peer_hello import (
    HelloError,
    Introduction,
    Stream,
    encode_hello,
    encode_join,
    parse_join_answer,
    parse_welcome,
)
from quorate.node.peer_wire import Encoder
from quorate.raft import RequestVote

from .harness import DEADLINE_S, Cluster, wait_for

pytestmark = pytest.mark.slow

FAR_TERM = 1 << 40
Make = Callable[[Authority, Path, dict[str, int]], object]


class Stranger(msgspec.Struct, frozen=True):
    """What somebody shows, what it says, and why it should be turned away.

    `certificate` is written for it; None: it speaks no TLS. `says` and `to` name
    members; "nobody" is an id that no member has. `reason`: what it is told, and what
    the node's log says; "" when already TLS refuses it, which tells it nothing.
    """

    certificate: Make | None
    reason: str = ""
    says: str = "n2"
    to: str = "n1"
    cluster_off_by: int = 0
    boot_count: int = 1_000


def of_member(authority: Authority, directory: Path, ids: dict[str, int]) -> object:
    return issue_member(authority, directory, name="n2", member_id=ids["n2"])


def of_nobody(authority: Authority, directory: Path, ids: dict[str, int]) -> object:
    return issue_member(authority, directory, name="n2", member_id=ids["nobody"])


def of_client(authority: Authority, directory: Path, ids: dict[str, int]) -> object:
    return issue_client(authority, directory, name="n2")


def expired(authority: Authority, directory: Path, ids: dict[str, int]) -> object:
    then = datetime.now(UTC) - timedelta(days=9)
    day = timedelta(days=1)
    return issue_member(
        authority, directory, name="n2", member_id=ids["n2"], now=then, lifetime=day
    )


def of_wrong_ca(authority: Authority, directory: Path, ids: dict[str, int]) -> object:
    """A CA that calls itself by our cluster's id is still another one."""
    twin = create_authority(directory / "ca", cluster_id=authority.cluster_id)
    return of_member(twin, directory, ids)


def of_other_cluster(
    authority: Authority, directory: Path, ids: dict[str, int]
) -> object:
    """Signed by our CA, for a cluster that is not ours."""
    other = msgspec.structs.replace(authority, cluster_id=authority.cluster_id ^ 1)
    return of_member(other, directory, ids)


def nothing(authority: Authority, directory: Path, ids: dict[str, int]) -> object:
    """It speaks TLS, and shows nothing."""


STRANGERS = {
    "plaintext": Stranger(None),
    "no certificate": Stranger(nothing, "no certificate, and it does not ask to join"),
    "a certificate of another CA": Stranger(of_wrong_ca),
    "an expired certificate": Stranger(expired),
    "another cluster's id": Stranger(of_other_cluster, "a certificate of cluster"),
    "a client's certificate": Stranger(of_client, "a certificate that is not a"),
    "an unknown member": Stranger(of_nobody, "is not known here", says="nobody"),
    "another member's name": Stranger(
        of_member, "its certificate says", says="n3", to="n1"
    ),
    "another cluster in the hello": Stranger(
        of_member, "it is of cluster", cluster_off_by=1
    ),
    "another addressee": Stranger(of_member, "it looks for member", to="n3"),
    "an old boot": Stranger(of_member, "is an old copy", boot_count=1),
}


@contextmanager
def connected(
    cluster: Cluster, stranger: Stranger, folder: Path, ids: dict[str, int]
) -> Generator[socket.socket]:
    peer = cluster.nodes[0].node.peer
    with socket.create_connection((peer.host, peer.port), DEADLINE_S) as plain:
        if stranger.certificate is None:
            yield plain
            return
        authority = load_authority(cluster.directory / "ca")
        stranger.certificate(authority, folder, ids)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cluster.directory / "ca" / "ca.crt")
        name = "client" if (folder / "client.crt").exists() else "node"
        if stranger.certificate is not nothing:
            context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        with context.wrap_socket(plain) as wrapped:
            yield wrapped


def read_to_the_end(connection: socket.socket) -> bytes:
    """What comes until the connection is closed, in whatever way."""
    parts: list[bytes] = []
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while data := connection.recv(65536):
            parts.append(data)
    return b"".join(parts)


def hello_and_vote(stranger: Stranger, ids: dict[str, int]) -> bytes:
    cluster_id = ids["cluster"] + stranger.cluster_off_by
    who, to = ids[stranger.says], ids[stranger.to]
    introduction = Introduction(
        cluster_id,
        who,
        to,
        stranger.boot_count,
        random_id(),
        "n2",
        "http://[::1]:1",
        b"",
    )
    vote = RequestVote(who, to, FAR_TERM, FAR_TERM, FAR_TERM, False)
    return encode_hello(Stream.RAFT, introduction) + Encoder().encode(vote)


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_is_turned_away_before_its_first_message(
    healthy: Cluster, tmp_path: Path, name: str
) -> None:
    stranger, node = STRANGERS[name], healthy.nodes[0]
    # The boot pairs are recorded once the links are up.
    wait_for(
        lambda: all(peer.connected for peer in node.status().peers), "links to all"
    )
    before = node.status()
    ids = {peer.name: int(peer.member_id, 16) for peer in before.peers}
    ids |= {"cluster": int(before.cluster_id, 16), "nobody": random_id()}
    with connected(healthy, stranger, tmp_path, ids) as connection:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            connection.sendall(hello_and_vote(stranger, ids))
        answer = read_to_the_end(connection)
    # Not welcome: an alert of TLS at the most, or the refusal with its reason.
    assert not answer.startswith(b"\0QPR")
    if stranger.reason:
        with pytest.raises(HelloError, match=stranger.reason):
            parse_welcome(answer)
        wait_for(lambda: stranger.reason in node.log(), "a line in the log")
    wait_for(
        lambda: node.status().refused_peers > before.refused_peers,
        "the figure of refused peers",
    )
    if not stranger.reason:
        wait_for(lambda: "the TLS handshake" in node.log(), "a line in the log")
    for each in healthy.nodes:
        assert each.status().term < FAR_TERM


def request_to_join(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "token": 1,
        "secret": b"s" * 16,
        "member_id": 7,
        "name": "n9",
        "peer": "127.0.0.1:1",
        "client": "http://127.0.0.1:2",
        "request": b"-",
    }
    return msgspec.msgpack.encode(list((fields | changes).values()))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xc1", "malformed request to join"),
        (b"\x90", "malformed request to join"),
        (b"\x91" * 4000, "malformed request to join"),
        (b"x" * 9000, "a request to join of 9000 bytes"),
        (request_to_join(name="../n9"), "without a usable name or id"),
        (request_to_join(member_id=0), "without a usable name or id"),
        (request_to_join(member_id=-1), "without a usable name or id"),
        (request_to_join(peer="0.0.0.0:1"), "nobody can dial"),
        (request_to_join(peer="host"), "malformed request to join"),
        (request_to_join(client="ftp://host:1"), "not a URL for clients"),
        (request_to_join(extra=1), "malformed request to join"),
        (request_to_join(), "not a request for a certificate"),
    ],
)
def test_a_request_to_join_that_makes_no_sense_is_refused(
    healthy: Cluster, tmp_path: Path, body: bytes, reason: str
) -> None:
    stranger = Stranger(nothing)
    with connected(healthy, stranger, tmp_path, {}) as connection:
        connection.sendall(encode_join(body))
        answer = read_to_the_end(connection)
    with pytest.raises(HelloError, match=reason):
        parse_join_answer(answer)


def test_who_does_not_wait_for_the_answer_is_turned_away(
    healthy: Cluster, tmp_path: Path
) -> None:
    with connected(healthy, Stranger(nothing), tmp_path, {}) as connection:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            connection.sendall(encode_join(b"\xc1") + b"x" * 100_000)
        answer = read_to_the_end(connection)
    if answer:
        with pytest.raises(HelloError):
            parse_join_answer(answer)


def test_the_certificate_of_the_ca_is_for_everybody(
    healthy: Cluster, tmp_path: Path
) -> None:
    with connected(healthy, Stranger(nothing), tmp_path, {}) as connection:
        connection.sendall(encode_join(b""))
        answer = parse_join_answer(read_to_the_end(connection))
    assert answer == (healthy.directory / "ca" / "ca.crt").read_bytes()


def test_silent_and_babbling_strangers_do_not_keep_a_node_from_stopping(
    own: Cluster,
) -> None:
    node = own.nodes[0]
    where = (node.node.peer.host, node.node.peer.port)
    with contextlib.ExitStack() as stack:
        silent = [socket.create_connection(where, DEADLINE_S) for _ in range(20)]
        for connection in silent:
            stack.enter_context(connection)
        for data in (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">BHH", 22, 0x301, 65535)):
            with socket.create_connection(where, DEADLINE_S) as babbling:
                babbling.sendall(data * 100)
                read_to_the_end(babbling)
        assert node.process.stop(DEADLINE_S) == 0
    own.start([node])
