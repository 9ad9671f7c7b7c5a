"""Certificates end, are renewed, revoked, and their CA is replaced, under load."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from quorate.client import CertificatesStatus, Client, QuorateError
from quorate.node.certificates import describe, issue_member, load_authority
from quorate.node.launcher import create_cluster
from quorate.node.peer_hello import HelloError, parse_welcome
from quorate.node.tls import client_context

from .harness import DEADLINE_S, QUORATE, Cluster, Running, wait_for

pytestmark = pytest.mark.slow

FILES = ("node.crt", "node.key", "ca.crt")
# So soon a revoked certificate is refused, and its open connections are cut
# (docs/security.md).
REFUSED_S = 5.0
CUT_OFF_S = 30.0
# The state of a connection in /proc/net/tcp.
ESTABLISHED = "01"


class Load:
    """A client at each node that writes and reads, and remembers what failed."""

    def __init__(self, cluster: Cluster) -> None:
        self.done = 0
        self.failures: list[str] = []
        self.ending = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(node,)) for node in cluster.nodes
        ]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _run(self, node: Running) -> None:
        # Without a session what may have happened is not asked for again.
        with Client(str(node.node.client), timeout=5.0, sessions=False) as client:
            number = 0
            while not self.ending.is_set():
                number += 1
                try:
                    client.put(f"{node.name}/{number % 100}", str(number))
                    entry = client.get(f"{node.name}/{number % 100}")
                except QuorateError as error:
                    self.failures.append(f"{node.name}: {error!r}")
                    return
                assert entry is not None
                assert entry.text == str(number)
                self.done += 1

    def goes_on(self) -> None:
        before = self.done
        wait_for(lambda: self.done > before + 30 or self.failures, "the load goes on")
        assert not self.failures


class Living(Cluster):
    """`first` are the serial numbers that its nodes began with."""

    first: dict[str, str]


@contextmanager
def living(directory: Path, life_s: int, signed_s: int) -> Generator["Living"]:
    """Three nodes whose certificates live so long, and the next ones so long."""
    local = create_cluster(directory, ["n1", "n2", "n3"], client_port=0, peer_port=0)
    authority = load_authority(directory / "ca")
    for node in local.nodes:
        certs = node.directory / "certs"
        for file in certs.iterdir():
            file.unlink()
        life = timedelta(seconds=life_s)
        issue_member(authority, certs, name=node.name, lifetime=life)
    seconds = {"QUORATE_PEER_CERTIFICATE_SECONDS": str(signed_s)}
    cluster = Living(local, seconds)
    cluster.first = serials(cluster)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def serials(cluster: Cluster) -> dict[str, str]:
    """By the files of the nodes."""
    return {
        each.name: describe(each.node.directory / "certs" / "node.crt")[0].serial
        for each in cluster.nodes
    }


def certs(*given: str, code: int = 0) -> str:
    done = subprocess.run(
        [*QUORATE, "certs", *given],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def told(cluster: Cluster) -> CertificatesStatus:
    with Client(cluster.endpoints) as client:
        return client.members().certificates


def test_certificates_are_renewed_before_they_end_and_nobody_notices(
    tmp_path: Path,
) -> None:
    with living(tmp_path / "c", life_s=15, signed_s=3600) as cluster:
        before, term = cluster.first, cluster.leader().status().term
        with Load(cluster) as load:
            wait_for(
                lambda: not set(before.values()) & set(serials(cluster).values()),
                "all certificates are other ones",
            )
            # Long after the first ones ended, at each node, on new connections too.
            wait_for(
                lambda: all(each.ends_in_s > 3000 for each in told(cluster).shown),
                "all show their new certificates to each other",
            )
            load.goes_on()
        assert cluster.leader().status().term == term
        keys = {
            (each.node.directory / "certs" / "node.key").read_text()
            for each in cluster.nodes
        }
        assert len(keys) == 3


def test_the_ca_is_replaced_under_load_without_a_failure_or_an_election(
    tmp_path: Path,
) -> None:
    with living(tmp_path / "c", life_s=3600, signed_s=3600) as cluster:
        ca = str(tmp_path / "c" / "ca")
        before, term = told(cluster), cluster.leader().status().term
        with Load(cluster) as load:
            certs("rotate", ca, "--endpoints", cluster.endpoints)
            load.goes_on()
            after = told(cluster)
            assert (before.phase, after.phase) == ("settled", "settled")
            assert len(after.roots) == 1
            assert after.roots != before.roots
            wait_for(
                lambda: {each.issuer for each in told(cluster).shown}.isdisjoint(
                    each.issuer for each in before.shown
                ),
                "nobody shows a certificate of the old CA",
            )
            load.goes_on()
        assert cluster.leader().status().term == term
        # It comes back by its own files, and the next one is signed by the new CA.
        node = cluster.nodes[2]
        node.process.stop()
        cluster.start([node])
        certs("renew", str(node.node.directory))
        assert len(list((tmp_path / "c" / "ca").glob("retired-*"))) == 1


def open_links(node: Running, cluster: Cluster) -> int:
    """How many connections between it and other nodes are open, as the system says."""
    fds = Path(f"/proc/{node.process.pid}/fd").iterdir()
    own = {str(fd.readlink()) for fd in fds}
    ports = {each.node.peer.port for each in cluster.nodes}
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = {int(end.partition(":")[2], 16) for end in fields[1:3]}
        is_open = fields[3] == ESTABLISHED and f"socket:[{fields[9]}]" in own
        count += is_open and not ports.isdisjoint(ends)
    return count


def refusal(node: Running, cluster: Cluster, shown: Path) -> str:
    """What `node` says to somebody who shows the certificate in this folder."""
    context = client_context(*(str(shown / name) for name in FILES))
    address = node.node.peer
    raw = socket.create_connection((address.host, address.port), DEADLINE_S)
    with raw, context.wrap_socket(raw) as stream:
        data = b""
        while True:
            try:
                parse_welcome(data)
            except HelloError as error:
                return str(error)
            data += stream.recv(4096)


def test_a_stolen_certificate_is_refused_once_it_is_revoked_and_nobody_notices(
    tmp_path: Path,
) -> None:
    with living(tmp_path / "c", life_s=3600, signed_s=3600) as cluster:
        term, victim = cluster.leader().status().term, cluster.nodes[2]
        stolen = tmp_path / "stolen"
        shutil.copytree(victim.node.directory / "certs", stolen)
        with Load(cluster) as load:
            certs("renew", str(victim.node.directory))
            serial = cluster.first["n3"]
            assert serials(cluster)["n3"] != serial
            certs("revoke", serial, "--endpoints", cluster.endpoints)
            for node in cluster.nodes[:2]:
                assert "was revoked" in wait_for(
                    lambda node=node: refusal(node, cluster, stolen),
                    "a refusal",
                    REFUSED_S,
                )
            load.goes_on()
        assert cluster.leader().status().term == term
        assert [each.serial for each in told(cluster).revoked] == [serial]
        # What was revoked is remembered by whoever starts again.
        cluster.nodes[0].process.stop()
        cluster.start([cluster.nodes[0]])
        assert "was revoked" in refusal(cluster.nodes[0], cluster, stolen)


def test_a_revoked_member_is_cut_off_and_ends_and_does_not_come_back(
    tmp_path: Path,
) -> None:
    with living(tmp_path / "c", life_s=3600, signed_s=3600) as cluster:
        # One that does not lead, and has no key of the CA.
        victim = next(each for each in cluster.followers() if each.name != "n1")
        others = [each for each in cluster.nodes if each is not victim]
        # It stands still, so that who ends its connections is not it.
        victim.process.pause()
        assert open_links(victim, cluster)
        certs("revoke", victim.name, "--endpoints", cluster.endpoints)
        wait_for(lambda: not open_links(victim, cluster), "all are cut", CUT_OFF_S)
        victim.process.resume()
        wait_for(lambda: not victim.process.alive, "the revoked node ends")
        assert "was revoked" in victim.log()

        def alone() -> bool:
            peers = [peer for each in others for peer in each.status().peers]
            return not any(p.connected for p in peers if p.name == victim.name)

        wait_for(alone, "nobody is connected to it")
        for each in others:
            assert each.request("PUT", "/v1/kv/after", b"1").status == 200
        victim.process.start()
        wait_for(lambda: not victim.process.alive, "it ends again")


def test_a_member_that_was_away_learns_that_it_was_revoked(tmp_path: Path) -> None:
    with living(tmp_path / "c", life_s=3600, signed_s=3600) as cluster:
        victim = next(each for each in cluster.followers() if each.name != "n1")
        victim.process.stop()
        serial = serials(cluster)[victim.name]
        certs("revoke", serial, "--endpoints", cluster.endpoints)
        victim.process.start()
        wait_for(lambda: not victim.process.alive, "the revoked node ends")
        assert "another one is made by" in victim.log()
        # As it says: with another certificate it is the member that it was.
        member = describe(victim.node.directory / "certs" / "node.crt")[0].member_id
        assert member is not None
        shutil.rmtree(victim.node.directory / "certs")
        certs(
            *("issue", "--ca", str(tmp_path / "c" / "ca"), "--name", victim.name),
            *("--member-id", member, "--out", str(victim.node.directory / "certs")),
        )
        cluster.start([victim])
        cluster.wait_until_equal()


def test_a_rotation_waits_for_a_node_that_is_down_and_goes_on_with_it(
    tmp_path: Path,
) -> None:
    with living(tmp_path / "c", life_s=3600, signed_s=3600) as cluster:
        ca, away = str(tmp_path / "c" / "ca"), cluster.nodes[2]
        # What was lost can be replaced: to trust another CA takes no signature.
        (tmp_path / "c" / "ca" / "ca.key").unlink()
        rotate = ("rotate", ca, "--endpoints", cluster.endpoints)
        away.process.stop()
        cluster.leader()
        certs(*rotate, "--wait", "2s", code=1)
        assert told(cluster).phase == "trusting"
        certs(*rotate, "--cancel")
        assert told(cluster).phase == "settled"
        certs(*rotate, "--wait", "2s", code=1)
        for each in cluster.nodes[:2]:
            # Those who trust both do so after a start, too.
            each.process.stop()
        cluster.start()
        certs(*rotate)
        assert told(cluster).phase == "settled"
        cluster.wait_until_equal()
