"""Local clusters: their files, and their nodes as processes, played by fake_node."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from quorate.node import pid_file
from quorate.node.certificates import describe
from quorate.node.config import load_config
from quorate.node.identity import identity_from_voters
from quorate.node.launcher import (
    AlreadyRunning,
    ClusterUnusable,
    LocalCluster,
    LocalNode,
    NodeDied,
    NodeProcess,
    PortsTaken,
    check_ports,
    create_cluster,
    free_ports,
    load_cluster,
)
from quorate.node.pid_file import (
    remove_pid,
    running_pid,
    stop_process,
    write_pid,
)
from quorate.node.tls import own_identity

FAKE_NODE = Path(__file__).with_name("fake_node.py")
FAKE = (sys.executable, "-S", "-E", str(FAKE_NODE))


def wait_for(condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> LocalCluster:
    directory = tmp_path_factory.mktemp("local") / "cluster"
    return create_cluster(directory, ["n1", "n2"], client_port=0, peer_port=0)


@pytest.fixture
def node(cluster: LocalCluster) -> Iterator[LocalNode]:
    """A node of a cluster that may be started; whatever runs is stopped after."""
    node = cluster.nodes[0]
    yield node
    node.stop_process(0.0)


@pytest.fixture
def process(node: LocalNode) -> Iterator[NodeProcess]:
    process = NodeProcess(node, command=FAKE)
    yield process
    process.kill()


def by_hand(node: LocalNode, *arguments: str, cwd: Path | None = None) -> int:
    """Start the fake node as a user would in another terminal."""
    child = subprocess.Popen(
        [*FAKE, "node", *(arguments or ("--dir", str(node.directory)))],
        cwd=cwd,
        start_new_session=True,
    )
    write_pid(node.directory, child.pid)
    # Nobody but this test is its parent: reap it when it ends.
    _children.append(child)
    return child.pid


_children: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def reap() -> Iterator[None]:
    yield
    for child in _children:
        child.kill()
        child.wait()
    _children.clear()


def test_a_cluster_has_its_files_where_people_look_for_them(tmp_path: Path) -> None:
    made = create_cluster(
        tmp_path / "c", ["n1", "n2", "n3"], client_port=7400, peer_port=7500
    )
    assert made == load_cluster(tmp_path / "c")
    endpoints = (tmp_path / "c" / "endpoints").read_text()
    assert endpoints == "".join(f"http://127.0.0.1:740{i}\n" for i in range(3))
    for i, node in enumerate(made.nodes):
        config = load_config(tmp_path / "c" / node.name / "quorate.toml", {})
        assert config.client.listen == f"127.0.0.1:740{i}"
        assert config.peer.listen == f"127.0.0.1:750{i}"
        assert config.data_dir == str(tmp_path / "c" / node.name / "data")
        assert list(config.cluster.voters) == ["n1", "n2", "n3"]
    assert describe(tmp_path / "c" / "ca" / "ca.crt")[0].kind == "ca"


def test_every_node_of_a_new_cluster_can_make_its_identity(
    cluster: LocalCluster,
) -> None:
    voters: list[object] = []
    for node in cluster.nodes:
        config = load_config(node.directory / "quorate.toml", {})
        certificate = own_identity(config.peer.cert, config.peer.key, config.peer.ca)
        voters.append(identity_from_voters(config, certificate).voters)
    assert voters[0] == voters[1]


def test_a_node_finds_another_by_its_detour_and_itself_where_it_listens(
    tmp_path: Path,
) -> None:
    detours = {("n1", "n2"): "127.0.0.1:9"}
    made = create_cluster(
        tmp_path / "c", ["n1", "n2"], client_port=0, peer_port=0, detours=detours
    )
    first, second = made.nodes
    plain = {node.name: str(node.peer) for node in made.nodes}
    config = load_config(first.directory / "quorate.toml", {})
    assert config.cluster.voters == plain
    assert config.peer.dial == {"n2": "127.0.0.1:9"}
    config = load_config(second.directory / "quorate.toml", {})
    assert config.cluster.voters == plain
    assert config.peer.dial == {}


def test_the_folder_of_a_first_voter_can_be_for_somebody_who_joins(
    tmp_path: Path,
) -> None:
    """In the first soak with changes of members one was started again as the voter that
    it had been, without its certificate, until the run gave up."""
    cluster = create_cluster(tmp_path / "c", ["n1", "n2"], client_port=0, peer_port=0)
    node = cluster.nodes[1]
    (node.directory / "data").mkdir()
    newcomer = node.emptied()
    assert newcomer.joins
    assert not (node.directory / "certs").exists()
    assert not (node.directory / "data").exists()
    config = load_config(node.directory / "quorate.toml", {})
    assert not config.cluster.voters
    assert (config.client_address, config.peer_address) == (node.client, node.peer)
    assert load_cluster(tmp_path / "c").nodes[1] == newcomer.emptied()


def test_a_cluster_can_be_moved_to_another_folder(tmp_path: Path) -> None:
    create_cluster(tmp_path / "old", ["n1"], client_port=0, peer_port=0)
    (tmp_path / "old").rename(tmp_path / "new")
    config = load_config(tmp_path / "new" / "n1" / "quorate.toml", {})
    assert own_identity(config.peer.cert, config.peer.key, config.peer.ca)


def test_a_used_folder_is_not_made_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ClusterUnusable, match="not empty"):
        create_cluster(tmp_path, ["n1"])
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_cluster_whose_making_was_cut_short_is_not_started(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0)
    (tmp_path / "c" / "endpoints").unlink()
    with pytest.raises(ClusterUnusable, match="not a complete local cluster"):
        load_cluster(tmp_path / "c")


def test_a_damaged_configuration_makes_the_cluster_unusable(tmp_path: Path) -> None:
    create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0)
    (tmp_path / "c" / "n1" / "quorate.toml").write_text("nmae = 1")
    with pytest.raises(ClusterUnusable, match="nmae"):
        load_cluster(tmp_path / "c")


def test_nodes_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(1, 12)]
    create_cluster(tmp_path / "c", names, client_port=0, peer_port=0)
    assert [node.name for node in load_cluster(tmp_path / "c").nodes] == names


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_two_who_look_at_the_same_moment_are_given_other_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One demo of a test run could not start: its port was given to another test."""
    found: list[list[int]] = []
    for pid in (1000, 1001):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        found.append(free_ports(100))
    assert not set(found[0]) & set(found[1])
    assert not set(found[1]) & set(free_ports(100))


def test_ports_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PortsTaken, match="overlap"):
        create_cluster(tmp_path / "c", ["a", "b"], client_port=7400, peer_port=7401)
    with pytest.raises(PortsTaken, match="65535"):
        create_cluster(tmp_path / "d", ["a", "b"], client_port=65535, peer_port=1)


def test_a_port_that_somebody_has_is_named(node: LocalNode) -> None:
    check_ports([node.client, node.peer])
    with (
        socket.create_server((node.peer.host, node.peer.port)),
        pytest.raises(PortsTaken, match=f"{node.peer}: somebody"),
    ):
        check_ports([node.client, node.peer])


def test_a_node_starts_gets_ready_and_stops(
    node: LocalNode, process: NodeProcess
) -> None:
    process.start()
    process.wait_ready()
    assert process.alive
    assert node.ready()
    assert node.serves()
    assert node.running_pid() == process.pid
    assert int((node.directory / "pid").read_text()) == process.pid
    assert process.stop() == 0
    assert not process.alive
    assert not node.ready()
    assert node.running_pid() is None
    assert not (node.directory / "pid").exists()


def test_a_killed_node_can_be_started_again(
    node: LocalNode, process: NodeProcess
) -> None:
    process.start()
    first = process.pid
    process.kill()
    assert process.exit_code == -signal.SIGKILL
    process.start()
    process.wait_ready()
    assert process.pid != first
    assert process.exit_code is None


def test_a_node_is_not_started_twice(node: LocalNode, process: NodeProcess) -> None:
    process.start()
    with pytest.raises(AlreadyRunning, match=str(process.pid)):
        process.start()
    with pytest.raises(AlreadyRunning, match=str(process.pid)):
        NodeProcess(node, command=FAKE).start()


def test_a_node_that_dies_at_once_is_reported_with_its_last_words(
    node: LocalNode,
) -> None:
    process = NodeProcess(node, command=FAKE, environment={"FAKE_NODE": "die"})
    process.start()
    with pytest.raises(NodeDied, match="n1 ended: the fake node dies at once"):
        process.wait_ready()
    assert process.exit_code == 3


def test_last_words_are_those_of_the_last_run(node: LocalNode) -> None:
    dying = NodeProcess(node, command=FAKE, environment={"FAKE_NODE": "die"})
    dying.start()
    wait_for(lambda: not dying.alive)
    with NodeProcess(node, command=FAKE) as process:
        process.start()
        process.wait_ready()
        assert "it said nothing" in process.last_words()
    assert "dies at once" in node.log.read_text()


def test_a_node_that_never_answers_is_given_up(node: LocalNode) -> None:
    process = NodeProcess(node, command=FAKE, environment={"FAKE_NODE": "deaf"})
    process.start()
    try:
        with pytest.raises(NodeDied, match=r"not ready after 0\.01 s"):
            process.wait_ready(0.01)
    finally:
        process.kill()


def test_a_program_that_can_not_be_started_is_an_error(node: LocalNode) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc").is_dir() else 0
    process = NodeProcess(node, command=("/absent/python",))
    with pytest.raises(NodeDied, match="can't be started"):
        process.start()
    assert not process.alive
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_paused_node_is_alive_but_silent_and_can_be_stopped(
    node: LocalNode, process: NodeProcess
) -> None:
    process.start()
    process.wait_ready()
    process.pause()
    assert node.http_status("/readyz", timeout_seconds=0.05) is None
    assert process.alive
    process.resume()
    wait_for(node.ready)
    process.pause()
    assert process.stop() == 0


def test_a_node_that_does_not_run_can_not_be_paused(process: NodeProcess) -> None:
    for act in (process.pause, process.resume):
        with pytest.raises(NodeDied, match="does not run"):
            act()


def test_a_node_that_ignores_the_request_to_stop_is_killed(node: LocalNode) -> None:
    process = NodeProcess(node, command=FAKE, environment={"FAKE_NODE": "stubborn"})
    process.start()
    process.wait_ready()
    assert process.stop(0.01) == -signal.SIGKILL


def test_a_child_gets_no_configuration_from_our_environment(
    node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_CLIENT_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("QUORATE_LIFELINE", "0")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    extras = {"QUORATE_LOG_LEVEL": "debug"}
    with NodeProcess(node, command=FAKE, environment=extras) as process:
        process.start()
        process.wait_ready()
        environment = (node.directory / "environment").read_text().splitlines()
    assert "SOMETHING_ELSE=kept" in environment
    assert "QUORATE_LOG_LEVEL=debug" in environment
    assert not [line for line in environment if line.startswith("QUORATE_CLIENT")]
    assert "QUORATE_LIFELINE=0" not in environment


STARTER = """
import sys
from pathlib import Path
from quorate.node.launcher import NodeProcess, load_cluster

nodes = load_cluster(Path(sys.argv[1])).nodes
processes = [NodeProcess(node, command=sys.argv[2:]) for node in nodes]
for process in processes:
    process.start()
for process in processes:
    process.wait_ready()
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_when_who_started_them_is_killed(
    cluster: LocalCluster, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(cluster.directory), *FAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        pids = [node.running_pid() for node in cluster.nodes]
        assert None not in pids
        starter.send_signal(number)
        starter.wait()
        wait_for(lambda: not any(node.running_pid() for node in cluster.nodes))


def test_the_launcher_loads_no_core_and_no_heavy_library() -> None:
    heavy = ["asyncio", "cryptography", "aiohttp", "uvloop", "click"]
    cores = ["raft", "storage", "wire", "client", "node.replica", "node.database"]
    code = (
        "import sys, quorate.node.launcher\n"
        f"names = {heavy} + ['quorate.' + name for name in {cores}]\n"
        "print([name for name in names if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"


def test_a_node_started_by_hand_is_found_and_stopped(node: LocalNode) -> None:
    pid = by_hand(node)
    assert node.running_pid() == pid
    wait_for(node.ready)
    assert node.stop_process()
    assert node.running_pid() is None
    assert not node.stop_process()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dir", "n1"),
        ("--dir=n1",),
        ("--dir", "./n2/../n1/"),
    ],
)
def test_a_node_started_with_a_relative_path_is_found(
    node: LocalNode, arguments: tuple[str, ...]
) -> None:
    pid = by_hand(node, *arguments, cwd=node.directory.parent)
    assert node.running_pid() == pid


@pytest.mark.parametrize("form", [("--config", "{}"), ("--config={}",)])
def test_a_node_started_with_its_configuration_file_is_found(
    node: LocalNode, form: tuple[str, ...]
) -> None:
    path = str(node.directory / "quorate.toml")
    pid = by_hand(node, *(part.format(path) for part in form))
    assert node.running_pid() == pid


def test_a_paused_stubborn_node_started_by_hand_is_killed_in_the_end(
    node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NODE", "stubborn")
    pid = by_hand(node)
    wait_for(node.ready)
    os.kill(pid, signal.SIGSTOP)
    assert stop_process(node.directory, 0.01)
    assert running_pid(node.directory) is None


def test_a_node_that_is_held_by_another_launcher_is_told_from_one_started_by_hand(
    node: LocalNode, process: NodeProcess
) -> None:
    by_hand(node)
    node.wait_for_orphan(0.0)
    node.stop_process(0.0)
    process.start()
    process.wait_ready()
    with pytest.raises(AlreadyRunning, match=str(process.pid)):
        node.wait_for_orphan(0.0)
    process.kill()
    node.wait_for_orphan(0.0)


def test_a_stale_pid_file_never_counts(cluster: LocalCluster, node: LocalNode) -> None:
    # Ours is a living process and no node; the other node is one, of another folder.
    other = by_hand(cluster.nodes[1])
    for pid in (os.getpid(), other, 1, 2**22 + 1):
        write_pid(node.directory, pid)
        assert running_pid(node.directory) is None
        assert not stop_process(node.directory, 0.0)
    assert cluster.nodes[1].running_pid() == other


def test_a_zombie_is_no_running_node(node: LocalNode) -> None:
    pid = by_hand(node)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert node.running_pid() is None


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1 2", "9" * 40, "\0", "\xff"])
def test_garbage_in_a_pid_file_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_bytes(text.encode("latin-1"))
    assert running_pid(tmp_path) is None


def test_a_pid_file_is_removed_by_its_own_process_only(tmp_path: Path) -> None:
    write_pid(tmp_path, 17)
    remove_pid(tmp_path, 18)
    assert (tmp_path / "pid").read_text() == "17\n"
    remove_pid(tmp_path, 17)
    remove_pid(tmp_path, 17)
    assert not (tmp_path / "pid").exists()


def test_processes_are_told_by_ps_where_there_is_no_proc(
    node: LocalNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pid_file, "_PROC", tmp_path / "absent")
    pid = by_hand(node)
    assert node.running_pid() == pid
    write_pid(node.directory, os.getpid())
    assert node.running_pid() is None
