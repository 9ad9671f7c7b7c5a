"""A real node whose client port wants a token, and everybody who has to show one."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from quorate.client import Client, Unauthenticated

from .harness import DEADLINE_S, QUORATE, Cluster, command_line, running_cluster

pytestmark = pytest.mark.slow

OLD = "canary-old-" + "0123456789abcdef" * 2
NEW = "canary-new-" + "0123456789abcdef" * 2


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Cluster]:
    """One node; its file has two tokens, as in the middle of a change."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{OLD}\n{NEW}\n")
    tokens.chmod(0o600)
    environment = {"QUORATE_CLIENT_TOKEN_FILE": str(tokens)}
    with running_cluster(tmp_path / "c", 1, environment) as cluster:
        yield cluster


def test_everybody_has_to_show_a_token_and_none_is_told_to_anybody(
    guarded: Cluster, tmp_path: Path
) -> None:
    node = guarded.nodes[0]
    assert node.node.serves()
    assert node.request_once("GET", "/v1/kv/a").status == 401
    assert node.request_once("GET", "/health").status == 200
    with Client(guarded.endpoints) as client, pytest.raises(Unauthenticated):
        client.put("a", "1")
    for token in (OLD, NEW):
        with Client(guarded.endpoints, token=token) as client:
            client.put("a", token)
            with client.lock("l", ttl=10) as lock, client.watch("a") as changes:
                client.put("a", "2", fence=lock.token)
                assert next(changes).key == b"a"

    # On the command line: from a file, from the environment, or not at all.
    tokens = str(tmp_path / "tokens")
    assert command_line(guarded, "get", "a").returncode == 1
    assert command_line(guarded, "get", "a", "--token-file", tokens).stdout == "a\n2\n"
    assert command_line(guarded, "get", "a", QUORATE_TOKEN_FILE=tokens).returncode == 0
    assert command_line(guarded, "status", QUORATE_TOKEN=NEW).returncode == 0
    wrong = command_line(guarded, "put", "a", "3", QUORATE_TOKEN=NEW + "x")
    assert wrong.returncode == 1
    assert "wants a token" in wrong.stderr
    assert (
        command_line(guarded, "members", "--token-file", str(tmp_path)).returncode == 2
    )
    file = tmp_path / "backup"
    assert command_line(guarded, "backup", "save", str(file)).returncode == 1
    saved = command_line(guarded, "backup", "save", str(file), QUORATE_TOKEN=OLD)
    assert saved.returncode == 0, saved.stderr
    said = "".join((wrong.stdout, wrong.stderr, saved.stdout, saved.stderr))
    assert "canary" not in said + node.log()


def test_a_node_does_not_start_with_tokens_that_others_can_read(
    tmp_path: Path,
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(OLD)
    tokens.chmod(0o644)
    directory = tmp_path / "n1"
    made = subprocess.run(
        [*QUORATE, "init", str(directory), "--name", "n1"],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    ended = subprocess.run(
        [*QUORATE, "node", "--dir", str(directory)],
        env=os.environ | {"QUORATE_CLIENT_TOKEN_FILE": str(tokens)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "others could read or change it" in ended.stderr
    assert "canary" not in ended.stderr
