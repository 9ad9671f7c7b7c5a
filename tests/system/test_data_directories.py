"""A data directory belongs to one process of one member, and is never an old copy."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .harness import DEADLINE_S, QUORATE, Cluster, Running, wait_for

pytestmark = pytest.mark.slow

HERE = "127.0.0.1:0"


def foreground(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`quorate node …`, which is expected to end by itself."""
    return subprocess.run(
        [*QUORATE, "node", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_two_processes_can_not_open_one_data_directory(
    healthy: Cluster, tmp_path: Path
) -> None:
    """Not from the same folder, and not from a second one that names the same data."""
    node = healthy.nodes[1]
    same = foreground("--dir", str(node.node.directory))
    assert same.returncode == 1
    assert f"runs already: process {node.pid}" in same.stderr
    twin = tmp_path / "twin"
    twin.mkdir()
    text = (node.node.directory / "quorate.toml").read_text()
    text = text.replace('"data"', f'"{node.data}"')
    text = text.replace('"certs/', f'"{node.node.directory}/certs/')
    (twin / "quorate.toml").write_text(text)
    second = foreground("--config", str(twin / "quorate.toml"))
    assert second.returncode == 1
    last = second.stderr.splitlines()[-1]
    assert f"n2 can't start: {node.data}/lock is locked by another holder" in last
    assert node.process.alive


def test_an_empty_data_directory_without_voters_does_not_start(
    shared: Cluster, tmp_path: Path
) -> None:
    """Else a lost disk, or a wrong path, would be the birth of a second cluster."""
    node = shared.nodes[0].node
    text = (node.directory / "quorate.toml").read_text()
    head, _, _ = text.partition("[cluster]")
    head = head.replace('"certs/', f'"{node.directory}/certs/')
    (tmp_path / "quorate.toml").write_text(head)
    for _ in range(2):
        done = foreground("--dir", str(tmp_path))
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert f"{tmp_path}/data: has no identity" in last
        assert "quorate init" in last
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["lock"]


def test_a_member_whose_data_was_lost_does_not_begin_anew_with_its_old_voters(
    own: Cluster,
) -> None:
    """Its empty directory has the configuration's voters, as at the very first start.

    It would have forgotten its votes. Its boot count tells on it: it is 1 again.
    """
    node = own.nodes[2]
    node.process.stop()
    shutil.rmtree(node.data)
    node.process.start()
    wait_for(
        lambda: all("is an old copy" in each.log() for each in own.nodes[:2]),
        "the peers' refusals",
    )
    assert own.nodes[0].request("PUT", "/v1/kv/a", b"by two").status == 200
    # Its peers may have met it before it serves.
    status = wait_for(node.try_status, "it serves")
    assert (status.leader, status.keys) == (None, 0)


def stop_and_copy(node: Running, copy: Path) -> None:
    assert node.process.stop() == 0
    shutil.copytree(node.data, copy)
    node.process.start()
    node.process.wait_ready(DEADLINE_S)


def test_an_old_copy_of_a_data_directory_is_refused(
    own: Cluster, tmp_path: Path
) -> None:
    n1, n2, n3 = own.nodes
    own.leader()
    stop_and_copy(n3, tmp_path / "copy")
    wait_for(
        lambda: all(peer.connected for peer in n2.status().peers),
        "n2 to have met n3's second boot",
    )
    assert n1.request("PUT", "/v1/kv/a", b"acknowledged").status == 200
    own.wait_until_equal()

    n1.process.kill()
    n3.process.kill()
    shutil.rmtree(n3.data)
    shutil.copytree(tmp_path / "copy", n3.data)
    before = len(n2.log())
    n3.process.start()

    def pre_votes() -> int:
        return n2.log()[before:].count("pre_candidate in term")

    # n2 alone has the write. With the copy's vote it would lead and lose nothing; but
    # the copy could as well vote for somebody who lacks what n3 had acknowledged.
    wait_for(lambda: n2.log().count("is an old copy") >= 3, "refusals in n2's log")
    wait_for(lambda: pre_votes() >= 3, "n2's attempts to be elected")
    assert n2.status().role != "leader"
    assert n3.status().role != "leader"
    for node in (n2, n3):
        refused = node.request_once("PUT", "/v1/kv/a?timeout=300ms", b"unheard")
        assert refused.status == 503
        assert refused.problem == ("no_leader", "not_applied")

    n1.process.start()
    n1.process.wait_ready(DEADLINE_S)
    assert n2.request("GET", "/v1/kv/a").body == b"acknowledged"
    assert n3.status().leader is None


def test_a_copy_that_is_started_beside_its_member_does_not_take_its_place(
    own: Cluster, tmp_path: Path
) -> None:
    """Story: a copy of a running member's folder was welcomed, as its next start.

    From the member's own next start on it was the member that was refused, for ever.
    """
    n1, n2, n3 = own.nodes
    own.wait_until_equal()
    shutil.copytree(n3.node.directory, tmp_path / "copy")
    (tmp_path / "copy/pid").unlink()
    # Where the others are the folder says itself.
    elsewhere = dict.fromkeys(("QUORATE_CLIENT_LISTEN", "QUORATE_PEER_LISTEN"), HERE)
    with subprocess.Popen(
        [*QUORATE, "node", "--dir", str(tmp_path / "copy")],
        stderr=subprocess.DEVNULL,
        env={**os.environ, **elsewhere},
    ) as copy:
        try:
            wait_for(
                lambda: all("has to wait: boot 1" in n.log() for n in (n1, n2)),
                "the refusals",
            )
        finally:
            copy.kill()
    assert n3.process.stop() == 0
    n3.process.start()
    n3.process.wait_ready(DEADLINE_S)
    assert n1.request("PUT", "/v1/kv/a", b"by three").status == 200
    own.wait_until_equal()


def test_the_real_member_is_taken_back_where_its_copy_was_refused(
    own: Cluster, tmp_path: Path
) -> None:
    n1, n2, n3 = own.nodes
    stop_and_copy(n3, tmp_path / "copy")
    wait_for(
        lambda: all(peer.connected for peer in n2.status().peers), "n2 to have met n3"
    )
    n3.process.stop()
    n3.data.rename(tmp_path / "real")
    shutil.copytree(tmp_path / "copy", n3.data)
    n3.process.start()
    wait_for(lambda: "is an old copy" in n2.log(), "the refusal")
    n3.process.stop()
    shutil.rmtree(n3.data)
    (tmp_path / "real").rename(n3.data)
    assert n1.request("PUT", "/v1/kv/a", b"meanwhile").status == 200
    n3.process.start()
    n3.process.wait_ready(DEADLINE_S)
    own.wait_until_equal()
