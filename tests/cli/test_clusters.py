"""certs, init and node: making a cluster by hand and starting one of its nodes."""

import errno
import fcntl
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result
from quorate.cli.init import make_cluster
from quorate.cli.places import founder, write_config
from quorate.cli.settings import Failure
from quorate.node.address import Address
from quorate.node.certificates import describe, load_authority
from quorate.node.client_tls import client_name, load_client_tls
from quorate.node.config import ClientPort, NodeConfig, load_config
from quorate.node.identity import Voter, load_identity, open_identity
from quorate.node.pid_file import write_pid
from quorate.node.tls import meet_in_memory, own_identity
from quorate.storage.env import RealEnv
from quorate.storage.errors import NoSpace
from quorate.wire import JoinToken, encode_join_token

Run = Callable[..., Result]


def identity_in(files: Path) -> str:
    names = ("node.crt", "node.key", "ca.crt")
    return own_identity(*(str(files / name) for name in names)).uri


def test_a_static_start_is_made_of_a_ca_and_a_certificate_for_each_node(
    run: Run, tmp_path: Path
) -> None:
    ca, n1 = tmp_path / "ca", tmp_path / "n1"
    made = run("certs", "init", str(ca))
    assert made.exit_code == 0
    cluster_id = f"{load_authority(ca).cluster_id:016x}"
    assert cluster_id in made.output
    issued = run("certs", "issue", "--ca", str(ca), "--name", "n1", "--out", str(n1))
    assert issued.exit_code == 0
    assert identity_in(n1) in issued.output
    assert identity_in(n1).startswith(f"quorate://{cluster_id}/member/")


def test_a_client_gets_a_certificate_of_its_own(run: Run, tmp_path: Path) -> None:
    ca, out = str(tmp_path / "ca"), tmp_path / "alice"
    run("certs", "init", ca)
    issue = ["certs", "issue", "--ca", ca, "--client", "alice", "--out", str(out)]
    assert run(*issue, "--days", "3").exit_code == 0
    (shown,) = describe(out / "client.crt")
    assert (shown.kind, shown.name) == ("client", "alice")
    assert (shown.not_after - shown.not_before).days == 3


def test_a_client_port_gets_a_certificate_for_its_hosts(
    run: Run, tmp_path: Path
) -> None:
    ca, out = str(tmp_path / "ca"), tmp_path / "port"
    run("certs", "init", ca)
    issue = ["certs", "issue", "--ca", ca, "--server", "n1", "--out", str(out)]
    assert run(*issue).exit_code == 2
    assert run(*issue, "--host", "a", "--client", "alice").exit_code == 2
    assert run(*issue, "--host", "a.example", "--host", "::1").exit_code == 0
    files = {name: str(out / f"server.{name}") for name in ("crt", "key")}
    tls = ClientPort(cert=files["crt"], key=files["key"], ca=str(out / "ca.crt"))
    assert load_client_tls(tls).authority


def test_init_makes_all_that_tls_takes(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "n1"
    options = ("--name", "n1", "--client", "n1.lan:7400", "--tls")
    made = run("init", str(directory), *options)
    assert made.exit_code == 0
    assert f"--cert {directory}/client/client.crt" in made.output
    config = load_config(directory / "quorate.toml", {})
    assert config.client_url == "https://n1.lan:7400"
    context = load_client_tls(config.client).context
    client = ssl.create_default_context(cafile=directory / "client" / "ca.crt")
    pair = directory / "client" / "client.crt", directory / "client" / "client.key"
    client.load_cert_chain(*pair)
    met, _ = meet_in_memory(context, client, "n1.lan")
    certificate = met.getpeercert()
    assert certificate is not None
    cluster_id = load_authority(directory / "ca").cluster_id
    assert client_name(certificate, cluster_id) == "first"


def test_certificates_are_shown_to_people_and_to_programs(
    run: Run, tmp_path: Path
) -> None:
    run("certs", "init", str(tmp_path / "ca"))
    path = str(tmp_path / "ca" / "ca.crt")
    shown = run("certs", "show", path).output
    assert "uri:         quorate://" in shown
    assert "NOT VALID NOW" not in shown
    (parsed,) = json.loads(run("certs", "show", path, "-o", "json").output)
    assert parsed["kind"] == "ca"
    assert parsed["cluster_id"] in shown


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    ca = str(tmp_path / "ca")
    run("certs", "init", ca)
    before = (tmp_path / "ca" / "ca.key").read_bytes()
    again = run("certs", "init", ca)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert (tmp_path / "ca" / "ca.key").read_bytes() == before


def test_a_passphrase_is_read_from_a_file(run: Run, tmp_path: Path) -> None:
    ca, secret = str(tmp_path / "ca"), tmp_path / "secret"
    secret.write_text("correct horse\n")
    with_secret = ["--passphrase-file", str(secret)]
    assert run("certs", "init", ca, *with_secret).exit_code == 0
    issue = ["certs", "issue", "--ca", ca, "--name", "n1", "--out", str(tmp_path / "n")]
    refused = run(*issue)
    assert refused.exit_code == 1
    assert "is encrypted" in refused.stderr
    assert run(*issue, *with_secret).exit_code == 0


@pytest.mark.parametrize("content", [None, b"", b"\nx", b"\xff", b"x" * 1024])
def test_a_file_without_a_usable_passphrase_is_an_error(
    run: Run, tmp_path: Path, content: bytes | None
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    ca = tmp_path / "ca"
    result = run("certs", "init", str(ca), "--passphrase-file", str(secret))
    assert result.exit_code == 1
    assert "secret" in result.stderr
    assert not ca.exists()


@pytest.mark.parametrize("who", [[], ["--name", "a", "--client", "b"]])
def test_a_certificate_is_for_a_node_or_for_a_client(
    run: Run, tmp_path: Path, who: list[str]
) -> None:
    result = run("certs", "issue", "--ca", "x", "--out", str(tmp_path), *who)
    assert result.exit_code == 2


def test_init_makes_a_cluster_whose_only_voter_can_start(
    run: Run, tmp_path: Path
) -> None:
    directory = tmp_path / "n1"
    result = run("init", str(directory), "--name", "n1", "--peer", "127.0.0.1:7777")
    assert result.exit_code == 0
    assert f"quorate node --dir {directory}" in result.output
    config = load_config(directory / "quorate.toml", {})
    certificate = own_identity(config.peer.cert, config.peer.key, config.peer.ca)
    assert f"{certificate.cluster_id:016x}" in result.output
    identity = open_identity(RealEnv(), config, certificate)
    assert identity.boot_count == 0
    assert identity.voters == {identity.member_id: Voter("n1", "127.0.0.1:7777")}
    assert load_authority(directory / "ca").cluster_id == identity.cluster_id


def test_two_clusters_have_nothing_in_common(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("init", str(tmp_path / name), "--name", "n1")
    a, b = (load_identity(RealEnv(), str(tmp_path / n / "data")) for n in ("a", "b"))
    assert a.cluster_id != b.cluster_id
    assert a.member_id != b.member_id


def test_init_leaves_a_used_folder_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    result = run("init", str(tmp_path), "--name", "n1")
    assert result.exit_code == 1
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("error", [NoSpace("data", 1), KeyboardInterrupt()])
def test_what_was_not_made_to_the_end_is_taken_away_and_can_be_made_again(
    tmp_path: Path, error: BaseException
) -> None:
    """Half a folder could neither start nor be made again."""
    here = Address("127.0.0.1", 7500)
    config = founder("n1", here, here, None)
    directory = tmp_path / "a" / "n1"

    def fill(data_dir: str, cluster_id: int, member_id: int) -> None:
        (Path(data_dir) / "half").touch()
        raise error

    with pytest.raises((Failure, KeyboardInterrupt)):
        make_cluster(directory, config, here, None, fill)
    assert list(directory.iterdir()) == []
    assert make_cluster(directory, config, here, None)


def test_two_commands_do_not_make_a_node_in_the_same_folder(
    run: Run, tmp_path: Path
) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    refused = run("init", str(tmp_path), "--name", "n1")
    os.close(descriptor)
    assert refused.exit_code == 1
    assert "another command" in refused.stderr
    assert run("init", str(tmp_path), "--name", "n1").exit_code == 0


def test_the_names_of_new_folders_are_durable(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()

    def sync(env: RealEnv, path: str) -> None:
        synced.add(path)

    monkeypatch.setattr(RealEnv, "sync_directory", sync)
    assert run("init", str(tmp_path / "a" / "n1"), "--name", "n1").exit_code == 0
    assert synced >= {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "n1")}


def test_a_configuration_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one would keep `node --join` from ever writing it."""
    here = Address("127.0.0.1", 7500)
    config = founder("n1", here, here, None)

    def killed(env: RealEnv, src: str, dst: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RealEnv, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            write_config(tmp_path, config)
    assert not (tmp_path / "quorate.toml").exists()
    write_config(tmp_path, config)
    with pytest.raises(FileExistsError):
        write_config(tmp_path, config)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name", "a/b"], "not a usable name"),
        (["--name", "n1", "--client", "nowhere"], "not host:port"),
        (["--name", "n1", "--peer", "0.0.0.0:7500"], "that others will dial"),
        (["--name", "n1", "--peer", "n1:0"], "that others will dial"),
        (["--name", "n1", "--client", "n1.lan:7400"], "insecure_listen_without_tls"),
    ],
)
def test_init_refuses_what_could_not_start_before_it_writes(
    run: Run, tmp_path: Path, options: list[str], words: str
) -> None:
    result = run("init", str(tmp_path / "n1"), *options)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "n1").exists()


def test_init_opens_the_client_port_when_it_is_told_to(
    run: Run, tmp_path: Path
) -> None:
    options = ["--client", "n1.lan:7400", "--insecure-listen-without-tls"]
    run("init", str(tmp_path / "n1"), "--name", "n1", *options)
    config = load_config(tmp_path / "n1" / "quorate.toml", {})
    assert str(config.client_listen) == "n1.lan:7400"


class FakeProcess(ModuleType):
    """Stands for quorate.node.process: notes what it was started with."""

    def __init__(self) -> None:
        super().__init__("quorate.node.process")
        self.started: list[NodeConfig] = []
        self.pid_files: list[str | None] = []
        self.exit_code = 0
        self.error: Exception | None = None

    def run_node(self, config: NodeConfig) -> int:
        self.started.append(config)
        pid_file = Path(config.data_dir).parent / "pid"
        self.pid_files.append(pid_file.read_text() if pid_file.exists() else None)
        if self.error is not None:
            raise self.error
        return self.exit_code


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    import quorate.node

    process = FakeProcess()
    monkeypatch.setitem(sys.modules, "quorate.node.process", process)
    monkeypatch.setattr(quorate.node, "process", process, raising=False)
    return process


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "quorate.toml").write_text('name = "n1"')
    return tmp_path


def test_a_node_is_started_with_its_configuration_and_a_pid_file(
    run: Run, home: Path, process: FakeProcess
) -> None:
    assert run("node", "--dir", str(home)).exit_code == 0
    assert run("node", "--config", str(home / "quorate.toml")).exit_code == 0
    assert [config.data_dir for config in process.started] == [str(home / "data")] * 2
    assert process.pid_files == [f"{os.getpid()}\n"] * 2
    assert not (home / "pid").exists()


def test_the_exit_code_is_the_nodes_and_the_pid_file_goes_with_it(
    run: Run, home: Path, process: FakeProcess
) -> None:
    process.exit_code = 7
    assert run("node", "--dir", str(home)).exit_code == 7
    process.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        run("node", "--dir", str(home))
    assert not (home / "pid").exists()


def test_the_environment_wins_over_the_file(
    run: Run, home: Path, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_LOG_LEVEL", "debug")
    run("node", "--dir", str(home))
    assert process.started[0].log.level == "debug"


def test_a_folder_that_takes_no_pid_file_does_not_hinder_a_start(
    run: Run, home: Path, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may be full, and the data be on another one."""

    def full(path: Path, text: str) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(home.iterdir())
    monkeypatch.setattr(Path, "write_text", full)
    started = run("node", "--dir", str(home))
    assert started.exit_code == 0
    assert "no pid file: No space left on device" in started.stderr
    assert process.pid_files == [None]
    assert set(home.iterdir()) == before


def test_a_stale_pid_file_does_not_hinder_a_start(
    run: Run, home: Path, process: FakeProcess
) -> None:
    # Init lives, but is no node of this folder.
    write_pid(home, 1)
    assert run("node", "--dir", str(home)).exit_code == 0
    assert process.pid_files == [f"{os.getpid()}\n"]


def test_a_configuration_error_names_file_and_key(
    run: Run, home: Path, process: FakeProcess
) -> None:
    (home / "quorate.toml").write_text('name = "n1"\nnmae = "x"')
    result = run("node", "--dir", str(home))
    assert result.exit_code == 1
    assert f"{home}/quorate.toml: nmae: no such key" in result.stderr
    assert process.started == []
    assert run("node", "--dir", str(home / "absent")).exit_code == 1


@pytest.mark.parametrize("options", [[], ["--dir", "a", "--config", "b"]])
def test_a_node_needs_one_configuration(run: Run, options: list[str]) -> None:
    assert run("node", *options).exit_code == 2


@pytest.mark.parametrize(
    ("option", "given", "says"),
    [
        ("--name", "n2", "n1"),
        ("--peer", "10.0.0.2:7500", "127.0.0.1:7500"),
        ("--client", "10.0.0.2:7400", "127.0.0.1:7400"),
    ],
)
def test_what_an_earlier_try_to_join_has_left_is_not_silently_used(
    run: Run, home: Path, process: FakeProcess, option: str, given: str, says: str
) -> None:
    """Story: the first try was without --peer, and failed. The second one named it, and
    the member was written down where only its own machine finds it.
    """
    token = encode_join_token(JoinToken(b"d" * 32, 1, b"secret of 16 byt"))
    join = ("node", "--dir", str(home), "--join", "127.0.0.1:1", "--token", token)
    refused = run(*join, option, given)
    assert refused.exit_code == 1
    assert f"quorate.toml says {says}, {option} {given}" in refused.stderr
    assert process.started == []
    agreed = run(*join, option, says)
    assert "quorate.toml says" not in agreed.stderr
    assert agreed.exit_code == 1, "nobody is there"


def test_a_new_member_whose_address_is_taken_may_be_given_another_one(
    run: Run, tmp_path: Path, process: FakeProcess
) -> None:
    """Story: the line of `quorate token create`, on the machine of the others. It was
    let in at an address of theirs, did not start, and ignored what named another one.
    """
    token = encode_join_token(JoinToken(b"d" * 32, 1, b"secret of 16 byt"))
    directory = tmp_path / "n4"
    join = ("node", "--dir", str(directory), "--join", "127.0.0.1:1", "--token", token)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        refused = run(*join, "--peer", taken, "--client", "127.0.0.1:0")
        assert refused.exit_code == 2
        free = socket.create_server(("127.0.0.1", 0))
        client = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        refused = run(*join, "--peer", taken, "--client", client)
        assert refused.exit_code == 1
        assert f"peer.listen, {taken}: address already in use" in refused.stderr
        assert "give --peer HOST:PORT" in refused.stderr
        refused = run(*join, "--peer", client, "--client", taken)
        assert "give --client HOST:PORT" in refused.stderr
    asked = run(*join, "--peer", client, "--client", taken)
    assert "127.0.0.1:1: " in asked.stderr, "nobody is there"
    assert process.started == []


def test_a_member_says_which_addresses_it_ignores(
    run: Run, tmp_path: Path, process: FakeProcess
) -> None:
    directory = tmp_path / "n1"
    run("init", str(directory), "--name", "n1")
    join = ("node", "--dir", str(directory), "--join", "127.0.0.1:1", "--token", "q1")
    assert run(*join, "--peer", "127.0.0.1:7500").stderr == ""
    started = run(*join, "--peer", "127.0.0.1:7510")
    assert started.exit_code == 0
    assert "says 127.0.0.1:7500, --peer 127.0.0.1:7510 is ignored" in started.stderr
    assert len(process.started) == 2


@pytest.mark.parametrize("token", [[], ["--token", "q1-mistyped"]])
def test_a_new_member_without_a_token_leaves_nothing_behind(
    run: Run, tmp_path: Path, process: FakeProcess, token: list[str]
) -> None:
    """Story: --token and --client were forgotten. The next try named both, and was
    refused for the file that the first had left.
    """
    directory = tmp_path / "n4"
    refused = run("node", "--dir", str(directory), "--join", "127.0.0.1:1", *token)
    assert refused.exit_code == 2
    assert "--token" in refused.stderr
    assert not directory.exists()
    assert process.started == []


@pytest.mark.parametrize(
    "options",
    [["--name", "n1"], ["--client", "h:1"], ["--peer", "h:1"], ["--tls"]],
    ids=lambda options: options[0],
)
def test_what_is_for_a_new_member_alone_is_refused_without_join(
    run: Run, home: Path, process: FakeProcess, options: list[str]
) -> None:
    """It changed nothing, and nobody was told."""
    refused = run("node", "--dir", str(home), *options)
    assert refused.exit_code == 2
    assert f"{options[0]} is for a new member, with --join" in refused.stderr
    assert process.started == []


def test_a_folder_without_a_configuration_says_what_makes_one(
    run: Run, tmp_path: Path
) -> None:
    refused = run("node", "--dir", str(tmp_path))
    assert refused.exit_code == 1
    assert "quorate.toml: No such file or directory; `quorate init`" in refused.stderr
