"""Tables that a disk has spoilt: never answered from, and replaced by a peer's."""

import http.client
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from quorate import Client

from .harness import DEADLINE_S, QUORATE, Cluster, Running, running_cluster, wait_for

pytestmark = pytest.mark.slow

KEYS = 800


def fill(cluster: Cluster) -> dict[str, bytes]:
    """So much that tables have many blocks, and some values lie beside them."""
    written: dict[str, bytes] = {}
    with Client(cluster.endpoints, timeout=DEADLINE_S) as kv:
        for number in range(KEYS):
            size = 20_000 if number % 200 == 0 else 250
            value = b"%d " % number * (size // 5)
            written[f"key-{number:05}"] = value
        for key, value in written.items():
            kv.put(key, value)
    return written


def tables(node: Running) -> list[Path]:
    return sorted((node.data / "stores/1/engine").glob("*.sst"))


def spoil_blocks(node: Running) -> None:
    """A byte in each 16 KiB of each table, but not of its end, where the index is."""
    for path in tables(node):
        data = bytearray(path.read_bytes())
        for at in range(100, len(data) * 3 // 4, 16 << 10):
            data[at] ^= 0x40
        path.write_bytes(data)


def cut(node: Running) -> None:
    """The end is gone: the table can't even be opened."""
    for path in tables(node):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])


def remove(node: Running) -> None:
    for path in tables(node):
        path.unlink()


def verified(node: Running) -> bool:
    check = subprocess.run(
        [*QUORATE, "storage", "verify", str(node.data / "stores/1/engine")],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return check.returncode == 0


@pytest.mark.parametrize("spoil", [spoil_blocks, cut, remove])
def test_a_node_with_damaged_tables_heals_and_never_tells_anything_wrong(
    own: Cluster, spoil: Callable[[Running], None]
) -> None:
    written = fill(own)
    node = own.followers()[0]
    assert node.process.stop() == 0
    assert tables(node), "a clean stop flushes"
    spoil(node)
    assert not verified(node)
    # Ready again only when it is whole: what the opening found it heals before.
    own.start([node])
    refused = 0
    with node.keep_alive() as ask:
        for key, value in written.items():
            try:
                answer = ask("GET", f"/v1/kv/{key}?consistency=local")
            except http.client.HTTPException:
                refused += 1
                continue
            assert (answer.status, answer.body) == (200, value), key
    wait_for(lambda: node.status().healed > 0, "another copy")
    own.wait_until_equal()
    assert node.status().keys == KEYS
    assert "is damaged at offset" in node.log()
    assert "the damaged state was replaced" in node.log()
    assert node.process.stop() == 0
    assert verified(node)


def test_what_nobody_reads_is_found_and_replaced_too(own: Cluster) -> None:
    fill(own)
    node = own.followers()[0]
    assert node.process.stop() == 0
    spoil_blocks(node)
    own.start([node])
    wait_for(lambda: node.status().healed > 0, "the scrubber's find")
    own.wait_until_equal()
    wait_for(lambda: node.status().scrub_passes > 0, "a whole pass")
    assert node.process.stop() == 0
    assert verified(node)


def test_a_node_alone_goes_on_with_what_is_whole(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "c", count=1) as cluster:
        fill(cluster)
        (node,) = cluster.nodes
        assert node.process.stop() == 0
        spoil_blocks(node)
        cluster.start([node])
        wait_for(lambda: "there is no other copy" in node.log(), "the scrubber's find")
        with Client(cluster.endpoints, timeout=DEADLINE_S) as kv:
            kv.put("new", b"value")
            found = kv.get("new")
        assert found is not None
        assert found.value == b"value"
        assert node.process.alive


def test_a_node_alone_says_what_is_damaged_and_ends(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "c", count=1) as cluster:
        fill(cluster)
        (node,) = cluster.nodes
        assert node.process.stop() == 0
        remove(node)
        node.process.start()
        wait_for(lambda: not node.process.alive, "the end of the process")
        assert "is damaged at offset 0: a table is missing" in node.log()


def table_bytes(node: Running) -> int:
    return sum(path.stat().st_size for path in tables(node))


def test_nodes_that_compress_heal_one_that_does_not(tmp_path: Path) -> None:
    """What it gets is compressed, and it reads that; what it writes itself is not."""
    environment = {"QUORATE_STORAGE_COMPRESSION": "zstd"}
    with running_cluster(tmp_path / "c", environment=environment) as cluster:
        written = fill(cluster)
        node = cluster.followers()[0]
        assert node.process.stop() == 0
        small = sum(map(len, written.values())) / 2
        assert 0 < table_bytes(node) < small
        assert verified(node)
        remove(node)
        plain = cluster.nodes[cluster.nodes.index(node)] = Running(node.node, {})
        cluster.start([plain])
        for key, value in written.items():
            answer = plain.request("GET", f"/v1/kv/{key}?consistency=local")
            assert (answer.status, answer.body) == (200, value), key
        cluster.wait_until_equal()
        assert plain.status().healed > 0
        assert table_bytes(plain) < small
        assert verified(plain)
