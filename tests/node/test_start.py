"""A node that can't start: what is left of the try."""

import socket
from pathlib import Path

import pytest
from quorate.cli.init import make_cluster
from quorate.cli.places import founder
from quorate.node.address import Address
from quorate.node.config import NodeConfig, load_config
from quorate.node.identity import load_identity
from quorate.node.launcher import free_ports
from quorate.node.node import Node
from quorate.storage.env import RealEnv

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    client, peer = (Address("127.0.0.1", port) for port in free_ports(2))
    make_cluster(tmp_path / "n1", founder("n1", client, peer, None), peer, None)
    return load_config(tmp_path / "n1" / "quorate.toml", {})


def boots(config: NodeConfig) -> int:
    return load_identity(RealEnv(), config.data_dir).boot_count


async def fails(node: Node) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await node.start()
    # The process would end now.
    node.stable.close()


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
        node.stable.close()


async def test_a_boot_that_was_told_counts(config: NodeConfig) -> None:
    place = config.client_listen
    with socket.create_server((place.host, place.port)):
        node = Node(config)
        node.introduced = True
        await fails(node)
    assert boots(config) == 1
