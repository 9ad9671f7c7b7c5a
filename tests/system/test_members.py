"""Members come and go, as real processes: by token, under load, and for good."""

import asyncio
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from quorate.client import AsyncClient, Client, ReadLevel, Unavailable, Unknown
from quorate.node.address import Address
from quorate.node.launcher import LocalNode, free_ports
from quorate.wire import JoinRole

from .harness import Cluster, Running, running_cluster, surely, wait_for

pytestmark = pytest.mark.slow

_WRITES_PER_CLIENT = 50
LEVELS: list[tuple[ReadLevel, float | None]] = [
    ("linearizable", None),
    ("bounded", 5.0),
    ("local", None),
]


class Growing(Cluster):
    """A cluster that others join."""

    def newcomer(self, name: str) -> Running:
        """A folder for one more node, without anything in it."""
        client, peer = (Address("127.0.0.1", port) for port in free_ports(2))
        directory = self.directory / name
        directory.mkdir()
        (directory / "quorate.toml").write_text(
            f'name = "{name}"\n[client]\nlisten = "{client}"\n'
            f'[peer]\nlisten = "{peer}"\n'
        )
        node = Running(LocalNode(name, directory, client, peer, voter=False), {})
        self.nodes.append(node)
        return node

    def token(self, role: JoinRole = "voter", uses: int = 1) -> str:
        with Client(self.endpoints) as client:
            return client.create_token(role, uses=uses)

    def joins(self, name: str, role: JoinRole = "voter", at: int = 0) -> Running:
        """One more member, once it serves."""
        node = self.newcomer(name)
        node.process.start(self.nodes[at].node.peer, self.token(role))
        node.process.wait_ready()
        return node

    def voters(self) -> set[str]:
        """Who votes, as the leader knows it."""
        with Client(self.endpoints) as client:
            return {each.name for each in client.members().members if each.votes}

    def wait_for_voters(self, *names: str) -> None:
        wait_for(lambda: self.voters() == set(names), f"the voters are {names}")


@contextmanager
def growing(directory: Path, count: int) -> Generator[Growing]:
    with running_cluster(directory, count) as cluster:
        cluster.__class__ = Growing
        assert isinstance(cluster, Growing)
        try:
            yield cluster
        finally:
            cluster.stop()


class Writer:
    """Writes one key after the other, and knows which are there for sure."""

    def __init__(self, endpoints: str) -> None:
        self.endpoints = endpoints
        self.written: list[str] = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.thread.join()

    def _run(self) -> None:
        number = 0
        while not self.ending.is_set():
            # A client learns of others when it connects, and every half a minute.
            with Client(self.endpoints, timeout=1.0) as client:
                for _ in range(_WRITES_PER_CLIENT):
                    number += 1
                    key = f"written/{number}"
                    try:
                        client.put(key, key)
                    except (Unavailable, Unknown):
                        break
                    self.written.append(key)

    def goes_on(self) -> None:
        """Wait until more has been written."""
        before = len(self.written)
        wait_for(lambda: len(self.written) > before, "writes go on")

    def nothing_is_lost(self, node: Running) -> None:
        written = set(self.written)
        with Client(str(node.node.client)) as client:
            found = {entry.text for entry in client.range("written/")}
        assert found >= written


def test_a_cluster_grows_and_every_first_member_goes_under_load(
    tmp_path: Path,
) -> None:
    with growing(tmp_path / "c", 1) as cluster, Writer(cluster.endpoints) as writer:
        second = cluster.joins("n2")
        third = cluster.joins("n3")
        cluster.wait_for_voters("n1", "n2", "n3")
        writer.endpoints = cluster.endpoints
        writer.goes_on()
        with Client(cluster.endpoints) as client:
            client.remove_member("n1")
        first = cluster.nodes.pop(0)
        cluster.wait_for_voters("n2", "n3")
        # It is told, and ends by itself; and never comes back.
        wait_for(lambda: first.process.exit_code == 1, "the removed node ends")
        assert "was removed from the cluster" in first.log()
        # In good order: it dials nobody again, to hear the same from everybody. (That
        # the third was refused while it joined, by one who had not heard of it yet, is
        # another matter: a log may tell of it.)
        for node in (second, third):
            assert "was removed from the cluster" not in node.log()
        first.process.start()
        wait_for(lambda: not first.process.alive, "the removed node ends again")
        assert first.process.exit_code == 1
        writer.goes_on()
        for node in (second, third):
            writer.nothing_is_lost(node)
        cluster.wait_until_equal()


def test_a_dead_member_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    with growing(tmp_path / "c", 3) as cluster, Writer(cluster.endpoints) as writer:
        # Not the first one, which signs the certificate of the new one.
        dead = next(node for node in cluster.followers() if node.name != "n1")
        dead.process.kill()
        alive = next(n for n in cluster.nodes if n.process.alive)
        fourth = cluster.joins("n4", "replica", at=cluster.nodes.index(alive))
        with Client(cluster.endpoints) as client:
            client.replace_member(dead.name, "n4")
        cluster.nodes.remove(dead)
        cluster.wait_for_voters(*(node.name for node in cluster.nodes))
        writer.goes_on()
        writer.nothing_is_lost(fourth)
        # Its folder is an old member's: the others tell it so.
        dead.process.start()
        wait_for(lambda: dead.process.exit_code == 1, "the dead one is refused")
        assert "was removed from the cluster" in dead.log()


def test_a_replica_has_everything_and_answers_at_every_level(tmp_path: Path) -> None:
    with growing(tmp_path / "c", 1) as cluster:
        # So much that its log begins behind the first entry: it needs a snapshot.
        asyncio.run(_fill(cluster.endpoints))
        wait_for(lambda: cluster.nodes[0].status().checkpoint_index > 1, "a checkpoint")
        replica = cluster.joins("n2", "replica")
        assert cluster.voters() == {"n1"}
        wait_for(lambda: replica.status().role == "learner", "it learns")
        with Client(str(replica.node.client)) as client:
            revision = client.put("a", "b")
            for level, staleness in LEVELS:
                entry = client.get(
                    "a",
                    level=level,
                    max_staleness=staleness,
                    min_revision=revision,
                )
                assert entry is not None
                assert entry.text == "b"
            with client.watch(key="a", revision=revision) as changes:
                told = next(changes).kv
                assert told is not None
                assert told.text == "b"
        cluster.wait_until_equal()
        with Client(cluster.endpoints) as client:
            client.promote_member("n2")
        cluster.wait_for_voters("n1", "n2")


async def _fill(endpoints: str) -> None:
    value = b"x" * 4096
    async with AsyncClient(endpoints) as client:
        for first in range(0, 5000, 250):
            await asyncio.gather(
                *(
                    surely(lambda key=f"fill/{number}": client.put(key, value))
                    for number in range(first, first + 250)
                )
            )


def test_who_asks_twice_is_let_in_once(tmp_path: Path) -> None:
    with growing(tmp_path / "c", 1) as cluster:
        token = cluster.token()
        contact = cluster.nodes[0].node.peer
        second = cluster.newcomer("n2")
        second.process.start(contact, token)
        second.process.wait_ready()
        cluster.wait_for_voters("n1", "n2")
        # A member that starts again needs no token, and minds none.
        second.process.stop()
        second.process.start(contact, token)
        second.process.wait_ready()
        # The token was for one.
        third = cluster.newcomer("n3")
        third.process.start(contact, token)
        wait_for(lambda: not third.process.alive, "the third one is refused")
        assert "there is no such token" in third.log()
        # Who asks again as the same member, and had been one, has forgotten it all.
        third.process.start(contact, cluster.token("replica"))
        third.process.wait_ready()
        third.process.kill()
        shutil.rmtree(third.data / "stores")
        (third.data / "peers").unlink()
        number = (third.data / "member_id").read_bytes()
        (third.data / "identity").unlink()
        (third.data / "lock").unlink()
        third.process.start(contact, token)
        wait_for(lambda: not third.process.alive, "who has forgotten is refused")
        assert "has lost its data" in third.log()
        assert (third.data / "member_id").read_bytes() == number


@pytest.mark.parametrize("change", ["secret", "cluster"])
def test_a_wrong_token_opens_nothing(tmp_path: Path, change: str) -> None:
    with growing(tmp_path / "c", 1) as cluster:
        token = cluster.token()
        if change == "secret":
            token = token[:-1] + ("A" if token[-1] != "A" else "Q")
        else:
            token = token[:3] + ("A" if token[3] != "A" else "B") + token[4:]
        node = cluster.newcomer("n2")
        node.process.start(cluster.nodes[0].node.peer, token)
        wait_for(lambda: not node.process.alive, "it is refused")
        reason = {
            "secret": "there is no such token",
            "cluster": "is not of the cluster that made the token",
        }[change]
        assert reason in node.log()
        assert not (node.data / "identity").exists()
        with Client(cluster.endpoints) as client:
            assert [each.name for each in client.members().members] == ["n1"]
