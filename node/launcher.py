"""Local clusters: their files, and their nodes as processes of this machine.

Law: synchronous code for whoever wants real nodes (the demo, the chaos harness, tests);
no asyncio, no threads, none of the cores. A node is steered only in ways that users
have too: files, signals and its client port.

    DIR/endpoints           one client URL per line; written last, so that its presence
                            says that the cluster's files are complete
    DIR/ca/                 the cluster's CA, with its key
    DIR/client/             with TLS: a client's certificate
    DIR/NAME/quorate.toml   and certs/, data/, `pid`, `log`; with TLS client-port/

The lifeline. A node that is started here must not outlive who started it, however that
one ends. It inherits the read end of a pipe, whose number is in QUORATE_LIFELINE; the
write end stays here, is inherited by nobody and never written to. The node watches the
read end and ends itself, cleanly if it can, as soon as it reads the end of the file:
this process closed it, or is gone. Nodes that are started by hand have no lifeline.

    LauncherError
    ├── ClusterUnusable    the directory is in use, incomplete or no cluster's
    ├── PortsTaken         somebody listens where a node should
    ├── AlreadyRunning     the node has a process; two would fight for its data
    └── NodeDied           it ended although it should not, or did not get ready
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from . import ports
from .address import Address, is_name
from .config import (
    CLIENT_PORT_FOLDER,
    CONFIG_FILE,
    IDENTITY_FILE,
    ClientPort,
    Cluster,
    ConfigError,
    NodeConfig,
    PeerPort,
    environment_names,
    load_config,
    to_toml,
    with_tls,
)
from .newcomer import emptied
from .pid_file import (
    LIFELINE,
    has_lifeline,
    remove_pid,
    replace_file,
    running_pid,
    stop_process,
    write_pid,
)
from .probes import http_status

NODES_MAX = 32
ENDPOINTS_FILE = "endpoints"
# What a client shows to nodes with TLS.
CLIENT_FOLDER = "client"
JOIN_TOKEN = "QUORATE_JOIN_TOKEN"
LOG_FILE = "log"
# -P: a file in the current folder must not pass for a module of ours.
COMMAND = (sys.executable, "-P", "-m", "quorate")

_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 2048


class LauncherError(Exception):
    """A local cluster can't be made, started or found as asked."""


class ClusterUnusable(LauncherError):
    """The directory does not hold what it should, or holds too much."""


class PortsTaken(LauncherError):
    """Somebody listens where a node should."""


class AlreadyRunning(LauncherError):
    """The node has a process already."""


class NodeDied(LauncherError):
    """The node ended or did not get ready in time; the message has its last words."""


class LocalNode(msgspec.Struct, frozen=True):
    """One node of a local cluster: its name, its folder and its addresses.

    A `voter` is one of the cluster's first; the others join. `ca` is the certificate by
    which its client port is known, if that speaks TLS.
    """

    name: str
    directory: Path
    client: Address
    peer: Address
    voter: bool = True
    ca: Path | None = None

    @property
    def url(self) -> str:
        """Where its clients dial."""
        return f"{'https' if self.ca else 'http'}://{self.client}"

    @property
    def joins(self) -> bool:
        """Whether it has to become a member first, for which it needs a token."""
        return not self.voter and not (self.directory / "data" / IDENTITY_FILE).exists()

    def emptied(self) -> "LocalNode":
        """The same, for one that has yet to join; what a member had is removed."""
        return emptied(self)

    @property
    def log(self) -> Path:
        """What it said in all its runs."""
        return self.directory / LOG_FILE

    def running_pid(self) -> int | None:
        """Its process, whoever started it."""
        return running_pid(self.directory)

    def wait_for_orphan(self, timeout_seconds: float = 15.0) -> None:
        """Wait until a node whose launcher was killed has ended by its lifeline.

        `AlreadyRunning` when it does not: then its launcher lives.
        """
        deadline = time.monotonic() + timeout_seconds
        while has_lifeline(self.directory):
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"{self.name} was started, and is still held, by another process"
                    f" (its own is {self.running_pid()})"
                )
            time.sleep(_POLL_SECONDS)

    def stop_process(self, timeout_seconds: float = 15.0) -> bool:
        """Stop its process, whoever started it; true when there was one."""
        return stop_process(self.directory, timeout_seconds)

    def http_status(self, path: str, timeout_seconds: float = 1.0) -> int | None:
        """The status of a GET on its client port; None when there is no answer."""
        return http_status(self.client, self.ca, path, timeout_seconds)

    def ready(self, timeout_seconds: float = 1.0) -> bool:
        """Whether it says that it is ready to serve."""
        return self.http_status("/readyz", timeout_seconds) == 200

    def serves(self) -> bool:
        """Whether a linearizable read works: a leader is there and has committed."""
        # Asked without a token, also where everything else needs one.
        path = "/health?exclude=NOSPACE"
        return self.http_status(path, timeout_seconds=3.0) == 200


class LocalCluster(msgspec.Struct, frozen=True):
    """All the nodes that have a folder in `directory`."""

    directory: Path
    nodes: tuple[LocalNode, ...]


def create_cluster(
    directory: Path,
    names: Sequence[str],
    *,
    replicas: Sequence[str] = (),
    client_port: int = 7400,
    peer_port: int = 7500,
    host: str = "127.0.0.1",
    detours: Mapping[tuple[str, str], str] | None = None,
    tls: bool = False,
) -> LocalCluster:
    """Write the files of a new cluster: CA, certificates and configurations.

    Node i serves clients at `client_port` + i and peers at `peer_port` + i; a port of 0
    takes free ones. The nodes of `names` are voters of a static start; the `replicas`
    have a configuration and nothing else, and join when they are first started.
    `detours` has addresses at which one node (the first name) dials another, in the
    place of where that listens. With `tls` clients have to show a certificate of the
    cluster's CA; DIR/CLIENT_FOLDER has one.
    """
    # Imported here: who only starts and stops nodes needs no cryptography.
    from . import certificates

    everybody = [*names, *replicas]
    assert names
    assert len(everybody) <= NODES_MAX
    assert len(set(everybody)) == len(everybody)
    assert all(map(is_name, everybody))
    assert not {"ca", CLIENT_FOLDER, ENDPOINTS_FILE} & set(everybody)
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ClusterUnusable(f"{directory}: not empty")
        nodes = _plan(directory, names, replicas, client_port, peer_port, host)
        if tls:
            known = directory / "ca" / "ca.crt"
            nodes = tuple(msgspec.structs.replace(node, ca=known) for node in nodes)
        voters = {node.name: str(node.peer) for node in nodes if node.voter}
        authority = certificates.create_authority(directory / "ca")
        for node in nodes:
            node.directory.mkdir(mode=0o700)
            if node.voter:
                certs = node.directory / "certs"
                certificates.issue_member(authority, certs, name=node.name)
            client = ClientPort(listen=str(node.client))
            if tls:
                folder = node.directory / CLIENT_PORT_FOLDER
                hosts = (host, "localhost")
                certificates.issue_server(
                    authority, folder, name=node.name, hosts=hosts
                )
                client = with_tls(client)
            config = NodeConfig(
                name=node.name,
                client=client,
                # The first one signs the certificates of those who join.
                peer=PeerPort(
                    listen=str(node.peer),
                    authority="../ca" if node is nodes[0] else "",
                    dial=_dialled_by(node.name, detours or {}),
                ),
                cluster=Cluster(voters=voters if node.voter else {}),
            )
            replace_file(node.directory / CONFIG_FILE, to_toml(config))
        if tls:
            certificates.issue_client(authority, directory / CLIENT_FOLDER, name="demo")
        urls = "".join(f"{node.url}\n" for node in nodes)
        replace_file(directory / ENDPOINTS_FILE, urls)
    except (OSError, certificates.CertificateError) as error:
        raise ClusterUnusable(str(error)) from error
    return LocalCluster(directory, nodes)


def load_cluster(directory: Path) -> LocalCluster:
    """Find the nodes of an existing cluster, in the order of their numbers."""
    directory = directory.absolute()
    if not (directory / ENDPOINTS_FILE).is_file():
        raise ClusterUnusable(f"{directory}: not a complete local cluster")
    nodes: list[LocalNode] = []
    for path in sorted(directory.glob(f"*/{CONFIG_FILE}"), key=_by_number):
        try:
            config = load_config(path, {})
        except ConfigError as error:
            raise ClusterUnusable(str(error)) from error
        client, peer = config.client_address, config.peer_address
        voter = bool(config.cluster.voters)
        known = path.parent / CLIENT_PORT_FOLDER / "ca.crt"
        ca = known if config.client.cert else None
        nodes.append(LocalNode(config.name, path.parent, client, peer, voter, ca))
    if not nodes:
        raise ClusterUnusable(f"{directory}: holds no nodes")
    return LocalCluster(directory, tuple(nodes))


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on. Raises PortsTaken when there are not so many."""
    found = ports.free(count, host)
    if len(found) < count:
        raise PortsTaken(f"no {count} free ports at {host}")
    return found


def check_ports(addresses: Iterable[Address]) -> None:
    """Refuse addresses where somebody listens, before anything is started."""
    taken = ports.taken(addresses)
    if taken is not None:
        raise PortsTaken(f"{taken}: somebody listens there already")


class NodeProcess:
    """A node as a child of this process, holding its lifeline.

    `command` is what stands before `node --dir DIRECTORY`. The child inherits the
    environment without the variables that are keys of the configuration (one value
    can't be right for several nodes), and then gets `environment`.
    """

    def __init__(
        self,
        node: LocalNode,
        *,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.node = node
        self.command = (*command, "node", "--dir", str(node.directory))
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._log_offset = 0
        self._asked_to_end = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    @property
    def pid(self) -> int | None:
        """The child's process id; of the last one when it has ended."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the child runs (also when paused)."""
        return self._process is not None and self._ended() is None

    @property
    def exit_code(self) -> int | None:
        """How the last child ended: negative for a signal, None while it runs."""
        return self._ended()

    def start(self, contact: Address | None = None, token: str = "") -> None:
        """Start the node, with its output appended to its log; does not wait.

        With `contact` it joins that member's cluster first, by `token`.
        """
        command, environment = self.command, self.environment
        if contact is not None:
            # Not as an argument: everybody on this machine can read those.
            command = (*command, "--join", str(contact))
            environment = {**environment, JOIN_TOKEN: token}
        running = self._process.pid if self.alive and self._process else None
        running = running or self.node.running_pid()
        if running is not None:
            raise AlreadyRunning(f"{self.node.name} runs already: process {running}")
        reading, writing = os.pipe()
        try:
            with open(self.node.log, "ab", opener=_private) as log:
                self._log_offset = log.tell()
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_child_environment(environment, reading),
                    pass_fds=(reading,),
                    # A Ctrl-C at the terminal is for us; we stop our nodes in order.
                    start_new_session=True,
                )
        except OSError as error:
            os.close(writing)
            raise NodeDied(f"{self.node.name} can't be started: {error}") from error
        finally:
            os.close(reading)
        self._lifeline = writing
        self._asked_to_end = False
        write_pid(self.node.directory, self._process.pid)

    def wait_ready(self, timeout_seconds: float = 15.0) -> None:
        """Wait until the node says that it serves; `NodeDied` when it won't."""
        deadline = time.monotonic() + timeout_seconds
        left = timeout_seconds
        while not self.node.ready(min(1.0, max(left, _POLL_SECONDS))):
            if not self.alive:
                raise NodeDied(f"{self.node.name} ended: {self.last_words()}")
            left = deadline - time.monotonic()
            if left < 0:
                raise NodeDied(
                    f"{self.node.name} is not ready after {timeout_seconds:g} s:"
                    f" {self.last_words()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, timeout_seconds: float = 15.0) -> int | None:
        """End the node cleanly (SIGTERM), or by force after `timeout_seconds`."""
        self.terminate()
        if self.alive and self._process:
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._ended()

    def terminate(self) -> None:
        """Ask the node to end (SIGTERM), once, without waiting; `stop` waits."""
        if self.alive and self._process and not self._asked_to_end:
            self._asked_to_end = True
            self._process.send_signal(signal.SIGTERM)
            # A paused process takes the signal only when it is resumed.
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the node as a crash would (SIGKILL), and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._ended()

    def pause(self) -> None:
        """Freeze the node (SIGSTOP), as a long stall of its machine would."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._send(signal.SIGCONT)

    def last_words(self) -> str:
        """The end of what the last child wrote to the log."""
        with self.node.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, size - _LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace").strip()
        return text or f"it said nothing (exit code {self._ended()})"

    def _send(self, number: signal.Signals) -> None:
        if not self.alive or self._process is None:
            raise NodeDied(f"{self.node.name} does not run")
        self._process.send_signal(number)

    def _ended(self) -> int | None:
        """Reap the child if it has ended, and tidy up after it."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None and self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
            remove_pid(self.node.directory, self._process.pid)
        return code


def _child_environment(own: Mapping[str, str], lifeline: int) -> dict[str, str]:
    keys = environment_names()
    inherited = {k: v for k, v in os.environ.items() if k not in keys}
    return {**inherited, **own, LIFELINE: str(lifeline)}


def _plan(
    directory: Path,
    voters: Sequence[str],
    replicas: Sequence[str],
    client_port: int,
    peer_port: int,
    host: str,
) -> tuple[LocalNode, ...]:
    """Give each node its folder and ports."""
    names = [*voters, *replicas]
    count = len(names)
    clients = list(range(client_port, client_port + count))
    peers = list(range(peer_port, peer_port + count))
    free = free_ports(count * ((not client_port) + (not peer_port)), host)
    if not client_port:
        clients, free = free[:count], free[count:]
    if not peer_port:
        peers = free
    if len({*clients, *peers}) != 2 * count or max(clients + peers) > 65535:
        raise PortsTaken(
            f"{count} nodes from ports {client_port} and {peer_port} overlap or exceed"
            " 65535"
        )
    return tuple(
        LocalNode(
            *(name, directory / name, Address(host, client), Address(host, peer)),
            voter=name in voters,
        )
        for name, client, peer in zip(names, clients, peers, strict=True)
    )


def _dialled_by(dialler: str, detours: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Where `dialler` dials others, if not where they listen."""
    return {name: at for (by, name), at in detours.items() if by == dialler}


def _by_number(path: Path) -> tuple[str, int]:
    """Order n2 before n10."""
    match = re.fullmatch(r"(.*?)([0-9]{0,9})", path.parent.name, re.DOTALL)
    assert match is not None
    return match[1], int(match[2] or 0)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
