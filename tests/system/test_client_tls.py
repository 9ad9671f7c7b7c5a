"""TLS and client certificates on the client ports of real nodes."""

import asyncio
import itertools
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from quorate.client import AsyncClient, Client, TlsFailed, Unauthenticated
from quorate.node.certificates import (
    create_authority,
    issue_client,
    issue_server,
    load_authority,
)
from quorate.node.config import CLIENT_PORT_FOLDER
from quorate.node.launcher import CLIENT_FOLDER

from .harness import (
    QUORATE,
    Cluster,
    Running,
    command_line,
    running_cluster,
    wait_for,
)

pytestmark = pytest.mark.slow

ENDED_S = 60.0
LATER = datetime.now(UTC) - timedelta(days=30)


class TlsStatus(msgspec.Struct):
    """The part of the status that is about TLS."""

    client_handshakes_failed: int
    client_tls_reloads: int
    client_tls_reloads_failed: int
    client_tls_problem: str | None


def tls_status(node: Running) -> TlsStatus:
    return msgspec.json.decode(
        node.request_once("GET", "/v1/status").body, type=TlsStatus
    )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes whose clients have to show certificates."""
    directory = tmp_path_factory.mktemp("secured") / "c"
    with running_cluster(directory, tls=True) as cluster:
        yield cluster


def shown(cluster: Cluster) -> tuple[str, str, str]:
    """CA, certificate and key of a client that is let in."""
    folder = cluster.directory / CLIENT_FOLDER
    ca = str(cluster.directory / "ca" / "ca.crt")
    return ca, str(folder / "client.crt"), str(folder / "client.key")


def another(cluster: Cluster, directory: Path) -> tuple[str, str]:
    """A certificate of another CA, for a client of the same name."""
    stranger = create_authority(directory / "stranger")
    issue_client(stranger, directory / "theirs", name="demo")
    return str(directory / "theirs/client.crt"), str(directory / "theirs/client.key")


def test_all_that_the_port_speaks_is_spoken_by_tls(
    secured: Cluster, tmp_path: Path
) -> None:
    ca, cert, key = shown(secured)
    node = secured.nodes[0]
    assert node.node.url.startswith("https://")
    assert node.node.serves()
    put = node.request("PUT", "/v1/kv/a", b"1")
    assert put.status == 200
    etcd = node.request("POST", "/v3/kv/range", b'{"key": "YQ=="}')
    assert b'"value":"MQ=="' in etcd.body
    # Over each node, followers too, whose forwarded writes go by the peers' port.
    for each in secured.nodes:
        at = str(each.node.client)
        with Client(at, cafile=ca, certfile=cert, keyfile=key, learn=False) as kv:
            kv.put("b", b"2" * 1_000_000)
            entry = kv.get("b")
            assert entry is not None
            assert len(entry.value) == 1_000_000
            with kv.lock("l", ttl=10) as lock, kv.watch("b") as changes:
                kv.put("b", "3", fence=lock.token)
                assert next(changes).key == b"b"

    files = {"QUORATE_CACERT": ca, "QUORATE_CERT": cert, "QUORATE_KEY": key}
    got = command_line(secured, "get", "b", **files)
    assert got.stdout == "b\n3\n", got.stderr
    options = ("--cacert", ca, "--cert", cert, "--key", key)
    assert command_line(secured, "status", *options).returncode == 0
    saved = command_line(secured, "backup", "save", str(tmp_path / "b"), **files)
    assert saved.returncode == 0, saved.stderr
    load = ("--operations", "20", "--keys", "10", "--warmup", "0")
    bench = command_line(secured, "bench", "--processes", "2", *load, **files)
    assert bench.returncode == 0, bench.stderr


def test_the_command_line_says_what_is_wrong_at_once(
    secured: Cluster, tmp_path: Path
) -> None:
    ca, _, _ = shown(secured)
    cert, key = another(secured, tmp_path)
    theirs = str(tmp_path / "stranger/ca.crt")
    for arguments, code, said in (
        ((), 5, "speaks TLS"),
        (("--cacert", ca), 1, "wants a client's certificate"),
        (("--cacert", theirs), 5, "certificate is not trusted"),
        (("--cacert", ca, "--cert", cert, "--key", key), 1, "refuses our certificate"),
    ):
        ended = command_line(secured, "put", "a", "1", "--timeout", "10m", *arguments)
        assert ended.returncode == code, ended.stderr
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


def test_who_has_no_good_certificate_is_not_served(
    secured: Cluster, tmp_path: Path
) -> None:
    ca, _, _ = shown(secured)
    at = str(secured.nodes[0].node.client)
    late = tmp_path / "late"
    authority = load_authority(secured.directory / "ca")
    issue_client(authority, late, name="late", now=LATER, lifetime=timedelta(days=1))
    for pair, reason in (
        ((None, None), "wants a client's certificate"),
        (another(secured, tmp_path), "another authority"),
        ((str(late / "client.crt"), str(late / "client.key")), "expired"),
    ):
        certfile, keyfile = pair
        with (
            Client(
                at, cafile=ca, certfile=certfile, keyfile=keyfile, timeout=600
            ) as kv,
            pytest.raises(Unauthenticated, match=reason),
        ):
            kv.put("a", "x")
    with Client(at, timeout=600) as kv, pytest.raises(TlsFailed, match="speaks TLS"):
        kv.put("a", "x")


def test_garbage_costs_a_node_nothing(secured: Cluster) -> None:
    node = secured.nodes[1]
    address = (node.node.client.host, node.node.client.port)
    hello = ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), hello, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    begun = hello.read()
    pieces = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 4096,
        b"\x16" * 4096,
        begun[: len(begun) // 2],
        begun + os.urandom(4096),
        begun,
        b"",
    ]

    def throw(count: int) -> None:
        for piece in itertools.islice(itertools.cycle(pieces), count):
            with socket.create_connection(address, timeout=ENDED_S) as stranger:
                stranger.sendall(piece)

    throw(200)
    settled = wait_until_alone(node)
    before = node.rss_anon_bytes()
    throw(2000)
    assert wait_until_alone(node) > settled
    assert node.rss_anon_bytes() < before + (16 << 20)
    assert "Traceback" not in node.log()
    assert node.request("PUT", "/v1/kv/healthy", b"x").status == 200


def wait_until_alone(node: Running) -> int:
    """Until no connection but the one that asks is open; how many have failed."""
    wait_for(lambda: node.status().connections <= 1, "strangers are gone")
    return tls_status(node).client_handshakes_failed


def renew(cluster: Cluster, node: Running, directory: Path) -> None:
    """Put a new key and certificate in the place of a node's, as a script would."""
    issue_server(
        load_authority(cluster.directory / "ca"),
        directory,
        name=node.name,
        hosts=["127.0.0.1", "localhost"],
    )
    for name in ("server.crt", "server.key"):
        os.replace(directory / name, node.node.directory / CLIENT_PORT_FOLDER / name)


def serial(cluster: Cluster, node: Running) -> object:
    """Of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(cluster.directory / "ca/ca.crt"))
    address = (node.node.client.host, node.node.client.port)
    with (
        socket.create_connection(address, timeout=ENDED_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        certificate = secure.getpeercert()
    assert certificate is not None
    return certificate["serialNumber"]


async def test_new_certificates_are_taken_under_load_and_broken_ones_are_not(
    secured: Cluster, tmp_path: Path
) -> None:
    ca, cert, key = shown(secured)
    stop = asyncio.Event()
    done: list[int] = []

    async def steady(number: int) -> None:
        """Writes on one connection; a failure fails the test."""
        at = str(secured.nodes[number].node.client)
        async with AsyncClient(at, cafile=ca, certfile=cert, keyfile=key) as kv:
            for count in itertools.count(1):
                if stop.is_set():
                    break
                await kv.put(f"steady/{number}", str(count))
                done.append(number)

    async def coming_and_going(number: int) -> None:
        """Each read on a connection of its own."""
        at = str(secured.nodes[number].node.client)
        while not stop.is_set():
            async with AsyncClient(
                at, cafile=ca, certfile=cert, keyfile=key, learn=False
            ) as kv:
                await kv.get(f"steady/{number}")
                done.append(number)

    def replace_all() -> None:
        for each in secured.nodes:
            before, was = tls_status(each), serial(secured, each)
            renew(secured, each, tmp_path / f"new-{each.name}")
            wait_for(
                lambda each=each, before=before: (
                    tls_status(each).client_tls_reloads > before.client_tls_reloads
                ),
                "the new certificate is in use",
            )
            assert serial(secured, each) != was
        node = secured.nodes[0]
        was = serial(secured, node)
        path = node.node.directory / CLIENT_PORT_FOLDER / "server.key"
        good = path.read_bytes()
        path.write_bytes(b"nonsense")
        wait_for(lambda: tls_status(node).client_tls_problem, "the problem is told")
        assert serial(secured, node) == was
        assert "keeps its old certificate" in node.log()
        path.write_bytes(good)
        wait_for(lambda: not tls_status(node).client_tls_problem, "it is mended")

    async with asyncio.TaskGroup() as load:
        for number in range(3):
            load.create_task(steady(number))
            load.create_task(coming_and_going(number))
        await asyncio.to_thread(replace_all)
        stop.set()
    assert set(done) == {0, 1, 2}


def test_a_demo_says_what_clients_have_to_show(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    options = ("--nodes", "1", "--replicas", "1", "--port", "0", "--tls")
    demo = subprocess.Popen(
        [*QUORATE, "demo", "--dir", str(directory), *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        lines = iter(demo.stdout.readline, "")
        exported = dict(
            line.removeprefix("export ").rstrip().split("=", 1)
            for line in itertools.takewhile(lambda one: "curl" not in one, lines)
            if line.startswith("export ")
        )
        asked = next(lines)
        assert asked.startswith(
            'curl --cacert "$QUORATE_CACERT" --cert "$QUORATE_CERT"'
        )
        assert " https://" in asked
        got = subprocess.run(
            [*QUORATE, "put", "greeting", "hello"],
            env=os.environ | exported,
            capture_output=True,
            timeout=ENDED_S,
            check=False,
        )
        assert got.returncode == 0, got.stderr
    finally:
        demo.terminate()
        demo.communicate(timeout=ENDED_S)
    assert demo.returncode == 0


def test_a_node_does_not_start_with_files_that_can_not_be_used(tmp_path: Path) -> None:
    directory = tmp_path / "n1"
    made = subprocess.run(
        [*QUORATE, "init", str(directory), "--name", "n1"],
        capture_output=True,
        timeout=ENDED_S,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    authority = load_authority(directory / "ca")
    for name, now in (("good", None), ("late", LATER)):
        issue_server(
            authority,
            tmp_path / name,
            name="n1",
            hosts=["localhost"],
            now=now,
            lifetime=timedelta(days=1),
        )
    good, late = tmp_path / "good", tmp_path / "late"
    for cert, key, reason in (
        (good / "server.crt", good / "missing", f"{good}/missing: No such file"),
        (good / "server.crt", late / "server.key", "key values mismatch"),
        (late / "server.crt", late / "server.key", "certificate has expired"),
    ):
        files = {"QUORATE_CLIENT_CERT": str(cert), "QUORATE_CLIENT_KEY": str(key)}
        ended = subprocess.run(
            [*QUORATE, "node", "--dir", str(directory)],
            env=os.environ | files,
            capture_output=True,
            text=True,
            timeout=ENDED_S,
            check=False,
        )
        assert ended.returncode == 1
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr
