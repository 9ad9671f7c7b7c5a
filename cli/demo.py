"""`quorate demo`: a whole cluster on this machine.

Law: the nodes are ordinary nodes, which users may kill, stop and start by hand while
the demo runs; it only tells them what happens. When it ends, however it ends, its
children end; when it is asked to end, so do all other nodes of its folder.
"""

import os
import select
import shlex
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from click.core import ParameterSource

from ..client import Client, QuorateError
from ..node.address import Address
from ..node.launcher import (
    CLIENT_FOLDER,
    ENDPOINTS_FILE,
    LOG_FILE,
    NODES_MAX,
    LauncherError,
    LocalCluster,
    LocalNode,
    NodeProcess,
    check_ports,
    create_cluster,
    load_cluster,
)
from .output import print_table
from .settings import Failure

HOST = "127.0.0.1"
PEER_PORT_OFFSET = 100
READY_SECONDS_MAX = 60.0
# How long a node that has not come up holds back `ready` when the others serve.
STRAGGLER_SECONDS_MAX = 10.0
# How long a node whose demo was killed may take to end.
ORPHAN_SECONDS_MAX = 15.0
POLL_SECONDS = 0.2
JOIN_SECONDS_MAX = 10.0


class Signals:
    """The wish of users to end this, from SIGINT, SIGTERM or SIGHUP."""

    def __init__(self) -> None:
        self.ending = False
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def wait(self, seconds: float) -> bool:
        """Wait that long at most; true as soon as it should end."""
        if not self.ending:
            select.select([self._reading], [], [], seconds)
        return self.ending

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler: a pipe wakes `wait`, since locks are not safe in handlers."""
        self.ending = True
        try:
            os.write(self._writing, b"!")
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reading)
        os.close(self._writing)


@contextmanager
def caught_signals() -> Generator[Signals, None, None]:
    """Handle the signals that end the demo, and put things back after."""
    signals = Signals()
    before = {
        number: signal.signal(number, signals.note)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # Under nohup a closed terminal is to be ignored.
        if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


class Demo:
    """The nodes of a cluster: those started here, and those started by hand."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.processes: dict[str, NodeProcess] = {}
        self._alive: dict[str, bool] = {}

    def start(self) -> None:
        """Start every node that does not run already, and is a member."""
        resting: list[LocalNode] = []
        for node in self.cluster.nodes:
            # Children of a demo that was killed are about to end: let them.
            node.wait_for_orphan(ORPHAN_SECONDS_MAX)
            if node.running_pid() is None:
                resting.append(node)
        check_ports(address for node in resting for address in (node.client, node.peer))
        try:
            for node in resting:
                self.processes[node.name] = NodeProcess(node)
                if not node.joins:
                    self.processes[node.name].start()
        except LauncherError:
            # Only ours: what others started is theirs until we have begun.
            self._stop_children()
            raise
        self._alive = {node.name: not node.joins for node in self.cluster.nodes}

    @property
    def newcomers(self) -> list[LocalNode]:
        """The replicas that are no members yet."""
        return [node for node in self.cluster.nodes if node.joins]

    def let_in(self, nodes: list[LocalNode]) -> None:
        """Have them join, as read replicas. Raises QuorateError, LauncherError."""
        endpoints = [node.url for node in self.living]
        files = _client_files(self.cluster)
        with Client(
            endpoints,
            timeout=JOIN_SECONDS_MAX,
            sessions=False,
            cafile=files.get("cacert"),
            certfile=files.get("cert"),
            keyfile=files.get("key"),
        ) as client:
            token = client.create_token("replica", uses=len(nodes))
        for node in nodes:
            self.processes[node.name].start(self.living[0].peer, token)
            self._alive[node.name] = True

    def alive(self, node: LocalNode) -> bool:
        """Whether a node runs, as our child or started by hand."""
        process = self.processes.get(node.name)
        started_here = process is not None and process.alive
        return started_here or node.running_pid() is not None

    def changes(self) -> Iterator[tuple[LocalNode, bool]]:
        """The nodes that have died (False) or come back (True) since the last call."""
        for node in self.cluster.nodes:
            alive = self.alive(node)
            if alive != self._alive[node.name]:
                self._alive[node.name] = alive
                yield node, alive

    @property
    def living(self) -> list[LocalNode]:
        """The nodes that lived when `changes` looked."""
        return [node for node in self.cluster.nodes if self._alive[node.name]]

    def stop(self) -> None:
        """Stop all nodes of the folder, and wait until they are gone."""
        self._stop_children()
        for node in self.cluster.nodes:
            node.stop_process()

    def _stop_children(self) -> None:
        # All are asked before any is waited for.
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.stop()


@click.command("demo")
@click.option(
    "--nodes", type=click.IntRange(1, NODES_MAX), default=3, show_default=True
)
@click.option("--replicas", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535 - PEER_PORT_OFFSET - NODES_MAX),
    default=7400,
    show_default=True,
    help="Of the first node's clients; 0 takes free ones.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Keep the cluster here; by default a temporary folder, removed at the end.",
)
@click.option(
    "--tls", is_flag=True, help="Clients speak TLS, and have to show a certificate."
)
@click.option(
    "--chaos",
    is_flag=True,
    help="A prompt by which nodes and links are hurt under a small load.",
)
def command(
    *,
    nodes: int,
    replicas: int,
    port: int,
    directory: Path | None,
    tls: bool,
    chaos: bool,
) -> None:
    """Run a cluster of node processes on this machine until Ctrl-C.

    --nodes of them vote; --replicas join them, hold the same data and serve reads.

    Nodes n1, n2, … serve clients at PORT, PORT+1, … and each other, by mutual TLS with
    a CA of their own, at PORT+100, …. With a DIR that holds a cluster, that cluster is
    started again with its data. A node that dies is not restarted.

    With --chaos lines from the terminal, a pipe or a file kill, pause, cut off and slow
    down nodes (`help` lists them), and in the end what the load was told is checked.
    Exit code then: 0 valid, 1 violated, 3 void.
    """
    if nodes + replicas > NODES_MAX:
        raise click.UsageError(f"more than {NODES_MAX} nodes and replicas")
    if tls and chaos:
        raise click.UsageError("--chaos has clients that speak no TLS")
    with caught_signals() as signals:
        try:
            with _folder(directory) as folder:
                cluster = _cluster(folder, nodes, replicas, port, tls)
                if chaos:
                    temporary = None if directory is not None else folder
                    _run_chaos(cluster, temporary, signals)
                else:
                    _run(cluster, signals)
        except (LauncherError, QuorateError) as error:
            raise Failure(str(error)) from error
        except PermissionError as error:
            # A node that another user started can't be stopped from here.
            raise Failure(f"{directory}: {error.strerror}") from error


@contextmanager
def _folder(directory: Path | None) -> Generator[Path]:
    """Where the cluster is: there, or in a folder that goes at the end."""
    if directory is not None:
        yield directory
    else:
        with tempfile.TemporaryDirectory(prefix="quorate-demo-") as temporary:
            yield Path(temporary)


def _run_chaos(cluster: LocalCluster, temporary: Path | None, signals: Signals) -> None:
    """The session with a prompt; exits with its verdict."""
    from .chaos_output import EXIT_CODES
    from .demo_chaos import print_outcome, run_chaos

    def ready() -> None:
        _print_nodes(cluster)
        click.echo("ready")
        _print_hints(cluster)
        click.echo("help lists the commands")

    if signals.ending:
        return
    outcome = run_chaos(cluster, temporary, ready)
    print_outcome(outcome)
    click.get_current_context().exit(EXIT_CODES[outcome.verdict])


def _cluster(
    directory: Path, nodes: int, replicas: int, port: int, tls: bool
) -> LocalCluster:
    """The cluster in `directory`; a new one when it is empty."""
    if not (directory / ENDPOINTS_FILE).exists():
        first_peer = port + PEER_PORT_OFFSET if port else 0
        if port:
            # Before anything is written: else the folder would keep these ports.
            check_ports(
                Address(HOST, first + i)
                for first in (port, first_peer)
                for i in range(nodes + replicas)
            )
        names = [f"n{i}" for i in range(1, nodes + replicas + 1)]
        return create_cluster(
            directory,
            names[:nodes],
            replicas=names[nodes:],
            client_port=port,
            peer_port=first_peer,
            host=HOST,
            tls=tls,
        )
    cluster = load_cluster(directory)
    voters = sum(node.voter for node in cluster.nodes)
    others, first = len(cluster.nodes) - voters, cluster.nodes[0].client.port
    context = click.get_current_context()
    given = {
        name
        for name in ("nodes", "replicas", "port")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if "nodes" in given and nodes != voters:
        raise Failure(f"{directory}: holds a cluster of {voters} nodes, not {nodes}")
    if "replicas" in given and replicas != others:
        raise Failure(f"{directory}: holds {others} replicas, not {replicas}")
    if "port" in given and port not in (0, first):
        raise Failure(f"{directory}: holds a cluster whose first port is {first}")
    if tls and not all(node.ca for node in cluster.nodes):
        raise Failure(f"{directory}: holds a cluster whose clients speak no TLS")
    return cluster


def _run(cluster: LocalCluster, signals: Signals) -> None:
    """Start the nodes, tell what happens until a signal comes, stop the nodes."""
    demo = Demo(cluster)
    demo.start()
    try:
        newcomers = demo.newcomers
        if newcomers and _wait_until_ready(demo, signals):
            demo.let_in(newcomers)
        _print_nodes(cluster)
        if _wait_until_ready(demo, signals):
            click.echo("ready")
            _print_hints(cluster)
            while not signals.wait(POLL_SECONDS):
                _tell_changes(demo)
    finally:
        demo.stop()


def _wait_until_ready(demo: Demo, signals: Signals) -> bool:
    """Wait until reads work on all nodes that live; False when a signal came first."""
    began = time.monotonic()
    voters = [node for node in demo.cluster.nodes if node.voter]
    while not signals.wait(0.0):
        _tell_changes(demo)
        waited = time.monotonic() - began
        if sum(node in demo.living for node in voters) <= len(voters) // 2:
            raise Failure(f"no majority of nodes is left.\n{_last_words(demo)}")
        serving = [node.serves() for node in demo.living]
        if all(serving) or (any(serving) and waited > STRAGGLER_SECONDS_MAX):
            return True
        if waited > READY_SECONDS_MAX:
            raise Failure(
                f"no leader after {READY_SECONDS_MAX:g} s.\n{_last_words(demo)}"
            )
        signals.wait(POLL_SECONDS / 4)
    return False


def _last_words(demo: Demo) -> str:
    return "\n".join(
        f"{name}: {process.last_words()}" for name, process in demo.processes.items()
    )


def _print_nodes(cluster: LocalCluster) -> None:
    rows = [
        [
            node.name,
            node.url,
            str(node.peer),
            str(node.running_pid() or "-"),
            click.format_filename(node.directory),
        ]
        for node in cluster.nodes
    ]
    print_table(["NODE", "CLIENTS", "PEERS", "PID", "FOLDER"], rows)


def _print_hints(cluster: LocalCluster) -> None:
    first, last = cluster.nodes[0], cluster.nodes[-1]
    endpoints = ",".join(str(node.client) for node in cluster.nodes)
    click.echo(f"export QUORATE_ENDPOINTS={endpoints}")
    files = _client_files(cluster)
    for name, path in files.items():
        click.echo(f"export QUORATE_{name.upper()}={shlex.quote(path)}")
    options = "".join(f' --{name} "$QUORATE_{name.upper()}"' for name in files)
    click.echo(f"curl{options} -X PUT --data-binary hello {first.url}/v1/kv/greeting")
    click.echo(f"curl{options} {last.url}/v1/kv/greeting")


def _client_files(cluster: LocalCluster) -> dict[str, str]:
    """What a client needs for TLS, as options are named; nothing without TLS."""
    known = cluster.nodes[0].ca
    if known is None:
        return {}
    folder = cluster.directory / CLIENT_FOLDER
    return {
        "cacert": str(known),
        "cert": str(folder / "client.crt"),
        "key": str(folder / "client.key"),
    }


def _tell_changes(demo: Demo) -> None:
    for node, alive in demo.changes():
        if alive:
            click.echo(f"{node.name} is back (process {node.running_pid()})")
            continue
        process = demo.processes.get(node.name)
        code = process.exit_code if process else None
        folder = shlex.quote(click.format_filename(node.directory))
        how = "" if code is None else f" ({_how_it_ended(code, folder)})"
        click.echo(
            f"{node.name} has ended{how} and is not restarted; to start it again:\n"
            f"  quorate node --dir {folder}"
        )
        if not any(map(demo.alive, demo.cluster.nodes)):
            click.echo("no node is left; Ctrl-C ends the demo")


def _how_it_ended(code: int, folder: str) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}; {folder}/{LOG_FILE} says why"
