"""Three machines' start by hand, as docs/operations.md describes it."""

import subprocess
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from quorate.cli import group
from quorate.node.launcher import free_ports

from .harness import DEADLINE_S, QUORATE, wait_for

pytestmark = pytest.mark.slow


def run(*arguments: str) -> Result:
    """`quorate` in this process; only nodes get processes of their own here."""
    result = CliRunner().invoke(group, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def quorate(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def put(endpoints: str, value: str) -> bool:
    """Try to write once; at first nobody listens."""
    return run("put", endpoints, "--timeout=1s", "a", value).exit_code == 0


def test_a_cluster_whose_files_were_written_by_hand_starts_and_starts_again(
    tmp_path: Path,
) -> None:
    ca = tmp_path / "ca"
    quorate("certs", "init", str(ca))
    ports = free_ports(6)
    clients, peers = ports[:3], ports[3:]
    listed = ", ".join(f'n{i + 1} = "127.0.0.1:{peers[i]}"' for i in range(3))
    folders = [tmp_path / f"machine {i + 1}" for i in range(3)]
    for i, folder in enumerate(folders):
        name = f"n{i + 1}"
        quorate("certs", "issue", f"--ca={ca}", "--name", name, f"--out={folder}/certs")
        (folder / "quorate.toml").write_text(
            f'name = "{name}"\n'
            f'[client]\nlisten = "127.0.0.1:{clients[i]}"\n'
            f'[peer]\nlisten = "127.0.0.1:{peers[i]}"\n'
            f"[cluster]\nvoters = {{ {listed} }}\n"
        )
    endpoints = "--endpoints=" + ",".join(f"127.0.0.1:{port}" for port in clients)
    for value in ("at birth", "after a restart"):
        nodes = [
            subprocess.Popen(
                [*QUORATE, "node", "--dir", str(folder)], stderr=subprocess.PIPE
            )
            for folder in folders
        ]
        try:
            wait_for(partial(put, endpoints, value), "a write")
            for port in clients:
                one = f"--endpoints=127.0.0.1:{port}"
                got = quorate("get", one, "--timeout=30s", "--print-value-only", "a")
                assert got == value + "\n"
        finally:
            for node in nodes:
                node.terminate()
            said = [node.communicate(timeout=DEADLINE_S)[1] for node in nodes]
        assert [node.returncode for node in nodes] == [0, 0, 0], said


def test_a_cluster_of_one_is_born_by_init(tmp_path: Path) -> None:
    client, peer = free_ports(2)
    folder = tmp_path / "n1"
    quorate(
        *("init", str(folder), "--name=n1"),
        *(f"--client=127.0.0.1:{client}", f"--peer=127.0.0.1:{peer}"),
    )
    where = f"--endpoints=127.0.0.1:{client}"
    with subprocess.Popen(
        [*QUORATE, "node", "--config", str(folder / "quorate.toml")],
        stderr=subprocess.PIPE,
    ) as node:
        try:
            wait_for(partial(put, where, "b"), "a write")
            assert quorate("get", where, "--print-value-only", "a") == "b\n"
        finally:
            node.terminate()
            said = node.communicate(timeout=DEADLINE_S)[1]
    assert node.returncode == 0, said
