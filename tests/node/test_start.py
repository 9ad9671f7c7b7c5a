"""A node that can't start: what is left of the try."""

import shutil
import socket
import threading
from pathlib import Path

import pytest
from quorate.cli.init import make_cluster
from quorate.cli.places import founder
from quorate.node.address import Address
from quorate.node.api.service import SHUTTING_DOWN
from quorate.node.config import NodeConfig, load_config
from quorate.node.identity import load_identity
from quorate.node.launcher import free_ports
from quorate.node.node import Node
from quorate.node.peers_file import write_pairs
from quorate.node.stable import NotBootstrapped
from quorate.storage.env import RealEnv
from quorate.storage.errors import CorruptionError
from quorate.storage.journal_newest import decode_marks, encode_mark, newest_path

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    client, peer = (Address("127.0.0.1", port) for port in free_ports(2))
    make_cluster(tmp_path / "n1", founder("n1", client, peer, None), peer, None)
    return load_config(tmp_path / "n1" / "quorate.toml", {})


def boots(config: NodeConfig) -> int:
    return load_identity(RealEnv(), config.data_dir).boot_count


def node_threads() -> set[threading.Thread]:
    """Of nodes in this process; the one that closes files is nobody's own."""
    names = ("quorate-journal", "quorate-files", "quorate-engine")
    return {t for t in threading.enumerate() if t.name.startswith(names)}


async def fails(node: Node) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await node.start()


@pytest.mark.parametrize("taken", ["client_listen", "peer_listen"])
async def test_a_start_that_fails_before_anybody_hears_of_it_counts_no_boot(
    config: NodeConfig, taken: str
) -> None:
    """After 8,192 of them, a night, its peers took it for an old copy for ever."""
    place: Address = getattr(config, taken)
    with socket.create_server((place.host, place.port)):
        for _ in range(3):
            await fails(Node(config))
    assert boots(config) == 0
    async with Node(config):
        assert boots(config) == 1
    assert boots(config) == 1


async def test_it_is_said_which_address_could_not_be_had(config: NodeConfig) -> None:
    place = config.peer_listen
    with socket.create_server((place.host, place.port)):
        node = Node(config)
        with pytest.raises(OSError, match=f"{place}: address already in use"):
            await node.start()


async def test_a_boot_that_was_told_counts(config: NodeConfig) -> None:
    place = config.client_listen
    with socket.create_server((place.host, place.port)):
        node = Node(config)
        node.introduced = True
        await fails(node)
    assert boots(config) == 1


async def test_a_start_that_failed_is_in_no_other_ones_way(config: NodeConfig) -> None:
    """Story: its engine and its journal's thread stayed, and with them their locks."""
    before = node_threads()
    place = config.client_listen
    with socket.create_server((place.host, place.port)):
        await fails(Node(config))
    assert not node_threads() - before
    async with Node(config) as node:
        assert SHUTTING_DOWN not in node.troubles()


async def test_a_node_that_failed_leaves_no_thread(config: NodeConfig) -> None:
    """Story: the journal's waited for its next batch for as long as the process was."""
    before = node_threads()
    async with Node(config) as node:
        node.fail(OSError("as of a disk"))
    assert not node_threads() - before
    async with Node(config) as node:
        assert SHUTTING_DOWN not in node.troubles()


@pytest.mark.parametrize("others", [{}, {7: (1, 1)}])
async def test_a_member_without_its_store_does_not_begin_a_new_one(
    config: NodeConfig, others: dict[int, tuple[int, int]]
) -> None:
    """Story: its store was on a disk that was not mounted. It began at term 1, without
    its votes and its entries, and its peers knew it well (I-25).
    """
    async with Node(config):
        pass
    if others:
        write_pairs(RealEnv(), config.data_dir, others)
    stores = Path(config.data_dir) / "stores"
    stores.rename(stores.with_name("elsewhere"))
    node = Node(config)
    with pytest.raises(NotBootstrapped, match="is its disk mounted"):
        await node.start()
    shutil.rmtree(stores)
    stores.with_name("elsewhere").rename(stores)
    async with Node(config) as node:
        assert node.replica.database.revision >= 1


def change_owner(journal: Path) -> int:
    """Whose journal it was."""
    path = Path(newest_path(str(journal)))
    mark = decode_marks(path.read_bytes())
    path.write_bytes(encode_mark(mark._replace(owner=mark.owner ^ 1)) * 2)
    return mark.owner


async def test_a_journal_of_another_member_keeps_a_node_from_starting(
    config: NodeConfig, tmp_path: Path
) -> None:
    """Story: two disks were taken for each other, and votes and writes were lost."""
    async with Node(config):
        pass
    stores = Path(config.data_dir) / "stores"
    shutil.copytree(stores, tmp_path / "copy")
    member_id = load_identity(RealEnv(), config.data_dir).member_id
    assert change_owner(stores / "1" / "journal") == member_id
    with pytest.raises(CorruptionError, match="the journal is that of"):
        await Node(config).start()
    shutil.rmtree(stores)
    shutil.move(tmp_path / "copy", stores)
    async with Node(config):
        pass
