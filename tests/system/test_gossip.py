"""Gossip between real nodes: who is dead, who left, and members that moved at once."""

import socket
import ssl
from pathlib import Path

import msgspec
import pytest
from quorate.client import Client, Members
from quorate.node.address import Address
from quorate.node.gossip import Claim, News, State, Vitals, frame
from quorate.node.identity import load_identity
from quorate.node.launcher import LocalNode, NodeProcess, free_ports
from quorate.node.peer_hello import Introduction, Stream, encode_hello, parse_welcome
from quorate.storage.env import RealEnv

from .harness import DEADLINE_S, Cluster, Running, running_cluster, wait_for

pytestmark = pytest.mark.slow


def members(node: Running) -> Members:
    with Client(str(node.node.client)) as client:
        return client.members()


def health(node: Running) -> dict[str, str]:
    """What gossip holds of each member, as JSON over HTTP has it."""
    body = node.request_once("GET", "/v1/members").body
    found = msgspec.json.decode(body, type=Members)
    return {each.name: each.health for each in found.members}


def wait_for_health(node: Running, **wanted: str) -> None:
    wait_for(lambda: health(node) == wanted, f"{node.name} hears {wanted}")


def test_members_hear_who_is_there_who_died_who_left_and_who_is_back(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c", 3) as cluster:
        first, second, third = cluster.nodes
        for node in cluster.nodes:
            wait_for_health(node, n1="alive", n2="alive", n3="alive")
        told = {each.name: each for each in members(first).members}
        wait_for(
            lambda: all(each.applied_index for each in members(first).members),
            "all have said how far they are",
        )
        assert len({each.version for each in told.values()}) == 1
        assert told["n2"].version
        second.process.kill()
        third.process.stop()
        wait_for_health(first, n1="alive", n2="dead", n3="left")
        # What gossip holds takes nobody's vote.
        assert all(each.votes for each in members(first).members)
        cluster.start([second, third])
        for node in cluster.nodes:
            wait_for_health(node, n1="alive", n2="alive", n3="alive")


# -- all addresses changed -------------------------------------------------------------


def move(cluster: Cluster, hinted: str) -> None:
    """New addresses for all; all but `hinted` are told where that one is now."""
    ports = iter(free_ports(2 * len(cluster.nodes)))
    moved = {
        each.name: (
            Address("127.0.0.1", next(ports)),
            Address("127.0.0.1", next(ports)),
        )
        for each in cluster.nodes
    }
    hint = f'dial = {{ {hinted} = "{moved[hinted][1]}" }}'
    for each in cluster.nodes:
        old, (client, peer) = each.node, moved[each.name]
        path = old.directory / "quorate.toml"
        text = path.read_text().replace(f'"{old.client}"', f'"{client}"', 1)
        # The first one under [peer]: the voters of the static start stay as they were.
        head, section, rest = text.partition("[peer]\n")
        rest = rest.replace(f'listen = "{old.peer}"', f'listen = "{peer}"', 1)
        said = "" if each.name == hinted else hint + "\n"
        path.write_text(head + section + said + rest)
        node = LocalNode(each.name, old.directory, client, peer)
        each.node, each.process = node, NodeProcess(node, environment={})


def test_all_addresses_change_and_one_hint_brings_the_cluster_together(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c", 3) as cluster:
        with Client(cluster.endpoints) as client:
            client.put("before", "the move")
        cluster.stop()
        move(cluster, hinted="n1")
        for each in cluster.nodes:
            each.process.start()
        cluster.leader()
        for node in cluster.nodes:
            assert node.request("GET", "/v1/kv/before").body == b"the move"

        def settled() -> bool:
            now = {each.name: str(each.node.peer) for each in cluster.nodes}
            for node in cluster.nodes:
                for each in members(node).members:
                    if each.peer != now[each.name] or not each.connected:
                        return False
            return True

        wait_for(settled, "the log has all new addresses, and all are connected")
        cluster.wait_until_equal()


# -- what does not belong on the stream ------------------------------------------------


def dial_gossip(sender: Running, to: Running) -> ssl.SSLSocket:
    """The stream of gossip as a member that has just been killed would dial it."""
    identity = load_identity(RealEnv(), str(sender.data))
    certs = sender.node.directory / "certs"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certs / "ca.crt")
    context.load_cert_chain(certs / "node.crt", certs / "node.key")
    place = (to.node.peer.host, to.node.peer.port)
    connection = context.wrap_socket(socket.create_connection(place, DEADLINE_S))
    hello = Introduction(
        identity.cluster_id,
        identity.member_id,
        int(to.status().id, 16),
        identity.boot_count,
        identity.boot_nonce,
        sender.name,
        "http://127.0.0.1:1",
        identity.boot_history,
    )
    connection.sendall(encode_hello(Stream.GOSSIP, hello))
    data = b""
    while parse_welcome(data) is None:
        data += connection.recv(65536)
    return connection


class Gossip(msgspec.Struct):
    """The part of the status that these tests read."""

    gossip_refused: int


def refused(node: Running) -> int:
    body = node.request_once("GET", "/v1/status").body
    return msgspec.json.decode(body, type=Gossip).gossip_refused


def test_garbage_and_another_cluster_end_the_stream_and_are_counted(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c", 3) as cluster:
        first, second, _ = cluster.nodes
        wait_for_health(first, n1="alive", n2="alive", n3="alive")
        second.process.kill()
        identity = load_identity(RealEnv(), str(second.data))
        ours, member = identity.cluster_id, identity.member_id
        stranger = Claim(99, 1, State.ALIVE, 0, "x:1", "", "1", Vitals(1, 0, 0, 0))
        for count, data in enumerate(
            (
                frame(News(ours ^ 1, member, (stranger,))),
                frame(News(ours, member ^ 1, (stranger,))),
                b"\xff" * 64,
            ),
            start=1,
        ):
            with dial_gossip(second, first) as connection:
                connection.sendall(data)
                # It says nothing, and ends.
                assert connection.recv(1) == b""
            assert refused(first) == count
        assert first.status().refused_peers >= 3
        wait_for_health(first, n1="alive", n2="dead", n3="alive")
