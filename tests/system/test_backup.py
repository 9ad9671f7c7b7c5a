"""Everything is lost and comes back: backups under load, and what survivors have."""

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from quorate.client import Client, Unknown
from quorate.node.address import Address
from quorate.node.launcher import LocalNode, free_ports

from .harness import QUORATE, Cluster, Running, running_cluster, wait_for
from .test_members import Writer, growing

pytestmark = pytest.mark.slow

ENDED_S = 120.0


def quorate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*QUORATE, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=ENDED_S, check=False
    )


@contextmanager
def founded(
    directory: Path, *arguments: str | Path, at: LocalNode | None = None
) -> Generator[Running]:
    """The first voter of the cluster that a command makes in `directory`.

    It listens where the old node `at` did, or anywhere.
    """
    client, peer = (Address("127.0.0.1", port) for port in free_ports(2))
    if at is not None:
        client, peer = at.client, at.peer
    places = ("--client", str(client), "--peer", str(peer))
    done = quorate(*arguments, *places)
    assert done.returncode == 0, done.stderr
    node = Running(LocalNode("n1", directory, client, peer), {})
    try:
        node.process.start()
        node.process.wait_ready()
        yield node
    finally:
        node.process.stop()


def shows_what_was_written(node: Running, written: list[str]) -> None:
    with Client(str(node.node.client)) as client:
        assert {entry.text for entry in client.range("written/")} >= set(written)
        assert client.get("kept") is not None
        assert client.put("new", "life") > 1_000_000


def saved(cluster: Cluster, file: Path) -> None:
    done = quorate("backup", "save", "--endpoints", cluster.endpoints, file)
    assert done.returncode == 0, done.stderr


def test_a_backup_under_load_brings_everything_back(tmp_path: Path) -> None:
    file = tmp_path / "backup"
    with running_cluster(tmp_path / "c") as cluster:
        with Client(cluster.endpoints) as client, client.lease(60) as lease:
            client.put("kept", "by a lease", lease=lease.id)
            with Writer(cluster.endpoints) as writer:
                writer.goes_on()
                before = list(writer.written)
                saved(cluster, file)
                writer.goes_on()
        # Nothing is overwritten.
        again = quorate("backup", "save", "--endpoints", cluster.endpoints, file)
        assert again.returncode == 1
        assert "nothing is overwritten" in again.stderr
        # What was restored and what it comes from are strangers to each other.
        new = tmp_path / "new"
        with founded(new, "backup", "restore", file, new) as node:
            shows_what_was_written(node, before)
            assert node.status().cluster_id != cluster.nodes[0].status().cluster_id
    assert quorate("backup", "verify", file).returncode == 0


def test_a_backup_that_was_altered_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    file, new = tmp_path / "backup", tmp_path / "new"
    with running_cluster(tmp_path / "c", 1) as cluster:
        with Client(cluster.endpoints) as client:
            client.put("a", "b" * 50_000)
        saved(cluster, file)
    whole = file.read_bytes()
    for data, reason in (
        (whole[:-1], "cut off"),
        (whole[: len(whole) // 2], "cut off"),
        (whole[:30_000] + b"\xff" + whole[30_001:], "altered"),
        (whole + b"x", "more follows"),
        (b"hello", "cut off"),
        (b"not a backup at all", "not a backup"),
    ):
        file.write_bytes(data)
        for command in (("verify", file), ("restore", file, new)):
            done = quorate("backup", *command)
            assert done.returncode == 1
            assert reason in done.stderr
        assert not new.exists()


def test_one_survivor_of_three_becomes_a_new_cluster(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "c") as cluster:
        with Client(cluster.endpoints) as client:
            client.put("kept", "by all")
        with Writer(cluster.endpoints) as writer:
            writer.goes_on()
        cluster.wait_until_equal()
        cluster.kill()
        survivors = [node.node.directory for node in cluster.nodes[1:]]
        shown = quorate("recover", *survivors)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count("best") == 1
        new = tmp_path / "new"
        # Of one that can't be read nobody knows whether it would be the best.
        damaged = tmp_path / "damaged"
        shutil.copytree(survivors[0], damaged)
        next(damaged.rglob("MANIFEST")).write_bytes(b"no manifest")
        partly = quorate("recover", damaged, *survivors, "--into", new, "--yes")
        assert partly.returncode == 1
        assert partly.stdout == shown.stdout
        assert str(damaged) in partly.stderr
        assert not new.exists()
        made = ("recover", survivors[1], "--into", new, "--yes")
        with founded(new, *made) as node:
            shows_what_was_written(node, writer.written)
            # The old ones come back, and are strangers.
            cluster.start()
            old = cluster.nodes[0].status()
            assert old.cluster_id != node.status().cluster_id
            with Client(cluster.endpoints) as client:
                assert client.get("new") is None
        # A node that runs is nobody's to recover from.
        refused = quorate("recover", survivors[0])
        assert refused.returncode == 1
    # Nothing is left of the copies that were looked at.
    wait_for(
        lambda: not list((tmp_path / "c").rglob(".quorate-recover-*")), "no copies"
    )


def test_what_one_leader_alone_has_written_comes_true_with_it_and_not_without(
    tmp_path: Path,
) -> None:
    """Its client never heard whether that is written, and nobody else has it."""
    with running_cluster(tmp_path / "c") as cluster:
        with Client(cluster.endpoints) as client:
            client.put("kept", "by all")
        cluster.wait_until_equal()
        leader, followers = cluster.leader(), cluster.followers()
        with Client(str(leader.node.client), timeout=2.0) as client:
            client.put("seen", "by a majority")
            for node in followers:
                node.process.pause()
            with pytest.raises(Unknown):
                client.put("written/alone", "written/alone")
        cluster.kill()
        survivors = [followers[0].node.directory, leader.node.directory]
        shown = quorate("recover", *survivors)
        (best,) = (line for line in shown.stdout.splitlines() if "best" in line)
        cells = [cell.strip() for cell in best.split("|")]
        assert cells[2] == leader.name
        assert int(cells[6]) >= 1, "it has what it does not know to be committed"
        new = tmp_path / "with"
        with founded(new, "recover", *survivors, "--into", new, "--yes") as node:
            shows_what_was_written(node, ["written/alone"])
        new = tmp_path / "without"
        with founded(new, "recover", survivors[0], "--into", new, "--yes") as node:
            shows_what_was_written(node, [])
            with Client(str(node.node.client)) as client:
                assert client.get("written/alone") is None


def test_a_replica_alone_becomes_a_new_cluster(tmp_path: Path) -> None:
    """It never had a vote in the old one, and has one of its own in the new one."""
    with growing(tmp_path / "c", 1) as cluster:
        replica = cluster.joins("n2", "replica")
        with Client(cluster.endpoints) as client:
            client.put("kept", "by both")
        with Writer(cluster.endpoints) as writer:
            writer.goes_on()
        cluster.wait_until_equal()
        cluster.kill()
        left, new = replica.node.directory, tmp_path / "new"
        with founded(new, "recover", left, "--into", new, "--yes") as node:
            shows_what_was_written(node, writer.written)


def test_the_old_ones_are_refused_where_the_new_one_took_an_old_ones_place(
    tmp_path: Path,
) -> None:
    """Two of three come back: a majority, that dials the third where it always was."""
    with running_cluster(tmp_path / "c") as cluster:
        with Client(cluster.endpoints) as client:
            client.put("kept", "by all")
        cluster.wait_until_equal()
        cluster.kill()
        left, *others = cluster.nodes
        new = tmp_path / "new"
        made = ("recover", left.node.directory, "--into", new, "--yes")
        with founded(new, *made, at=left.node) as node:
            shows_what_was_written(node, [])
            cluster.nodes = others
            cluster.start()
            wait_for(lambda: node.log().count("refused a peer") > 3, "they are refused")
            assert "the TLS handshake: \n" not in node.log(), "with a reason"
            with Client(cluster.endpoints) as client:
                client.put("old", "life")
                assert client.get("new") is None
            with Client(str(node.node.client)) as client:
                assert client.get("old") is None
                assert [each.name for each in client.members().members] == ["n1"]


def test_folders_of_two_clusters_are_not_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with running_cluster(tmp_path / name, 1):
            pass
    refused = quorate("recover", tmp_path / "a" / "n1", tmp_path / "b" / "n1")
    assert refused.returncode == 1
    assert "different clusters" in refused.stderr
    nothing = quorate("recover", tmp_path)
    assert nothing.returncode == 1
