"""What nobody expected: a node ends of it, or passes it over; it never half goes on."""

import asyncio
import errno
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from quorate.cli.init import make_cluster
from quorate.cli.places import founder
from quorate.node import credentials
from quorate.node.address import Address
from quorate.node.certificates import issue_member, load_authority
from quorate.node.config import NodeConfig, load_config
from quorate.node.inside import ask
from quorate.node.launcher import free_ports
from quorate.node.logs import Sparing
from quorate.node.node import Node
from quorate.node.peer_hello import Stream
from quorate.node.replica import Effects
from quorate.node.tls import TlsError, own_certificate
from quorate.raft import Heartbeat, InstallSnapshot
from quorate.storage.engine import Incoming
from quorate.wire import (
    Admit,
    MakeToken,
    MemberCommand,
    MemberRole,
    Reassign,
    RequestKind,
    encode_member_command,
)

pytestmark = pytest.mark.slow

DEADLINE_S = 60.0
OTHER = 77


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    client, peer = (Address("127.0.0.1", port) for port in free_ports(2))
    make_cluster(tmp_path / "n1", founder("n1", client, peer, None), peer, None)
    return load_config(tmp_path / "n1" / "quorate.toml", {})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def said(node: Node, command: MemberCommand) -> None:
    await until(lambda: node.replica.raft.is_leader)
    await ask(node, RequestKind.WRITE, encode_member_command(command), 10_000)


async def ticks_go_on(node: Node) -> None:
    ticks = node.loop.ticks
    await until(lambda: node.loop.ticks > ticks + 5)


async def test_a_member_that_is_nowhere_stops_nobody(
    config: NodeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Story: its address could not be read in the tick that was to dial it. There were
    no ticks after that one, and no start, since the log has it for ever.
    """
    async with Node(config) as node:
        await said(node, MakeToken(9, b"d" * 32, 60_000, 1, MemberRole.REPLICA))
        await said(node, Admit(9, OTHER, b"k" * 32, "n2", "nonsense", "nonsense"))
        await until(lambda: "can't be dialled" in caplog.text)
        await ticks_go_on(node)
        assert OTHER not in node.transport.known()
    async with Node(config) as node:
        await ticks_go_on(node)
        assert OTHER in node.replica.database.member_table.members


async def test_a_member_whose_host_no_resolver_could_have_stops_nobody(
    config: NodeConfig,
) -> None:
    """Story: the links to it died without a word; closing them, when it was removed,
    ended every node of the cluster at the same moment.
    """
    async with Node(config) as node:
        await said(node, MakeToken(9, b"d" * 32, 60_000, 1, MemberRole.REPLICA))
        place = "n2..lan:7500"
        await said(node, Admit(9, OTHER, b"k" * 32, "n2", place, f"http://{place}"))
        await until(lambda: OTHER in node.transport.known())
        link = node.transport.links[OTHER, Stream.RAFT]
        await until(lambda: link.failures > 1)
        await said(node, Reassign(OTHER, MemberRole.LEAVING, 0))
        await until(lambda: OTHER not in node.transport.known())
        await ticks_go_on(node)


def of_a_tick(node: Node, error: Exception) -> None:
    def ticked() -> None:
        raise error

    node.loop.ticked = ticked


def of_a_turn(node: Node, error: Exception) -> None:
    def turn(can_persist: bool) -> Effects:
        raise error

    node.replica.turn = turn
    node.loop.plan_turn()
    node.replica.has_work = lambda can_persist: True


def of_a_message(node: Node, error: Exception) -> None:
    def step(message: object) -> None:
        raise error

    node.replica.step = step
    with pytest.raises(KeyError):
        # It goes to the connection, which ends, too.
        node.received(OTHER, Heartbeat(OTHER, node.member_id, 1, 0, 0))


@pytest.mark.parametrize("of", [of_a_tick, of_a_turn, of_a_message])
async def test_an_error_that_nobody_expected_ends_the_node(
    config: NodeConfig, of: Callable[[Node, Exception], None]
) -> None:
    """Story: the loop logged it, and the node went on without ticks: it neither led nor
    followed, and answered from what it had.
    """
    async with Node(config) as node:
        await until(lambda: node.replica.raft.is_leader)
        error = KeyError("nobody expected this")
        of(node, error)
        assert node.failed is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await node.failed is error


async def test_what_had_no_room_and_is_owed_no_more_refuses_no_writes(
    config: NodeConfig,
) -> None:
    """Story: a flush had no room, and then a state came in the place of what was to be
    flushed. The node said for ever that its disk was full: what would have shown that
    it is not was the next flush, and there were no writes that could make one.
    """
    async with Node(config) as node:
        await said(node, MakeToken(9, b"d" * 32, 60_000, 1, MemberRole.REPLICA))
        store = node.replica.database.store
        work = store.work

        def work_without_room(budget_bytes: int = 1 << 20) -> bool:
            if store._frozen:
                raise OSError(errno.ENOSPC, "no space left on device")
            return work(budget_bytes)

        store.work = work_without_room
        store.freeze()
        await until(lambda: node.replica.no_space)
        # As each state does that takes the place of one.
        store._forget()
        await until(lambda: not node.replica.no_space)
        assert not node.troubles()


async def test_a_flush_that_finds_no_room_again_and_again_is_told_once(
    config: NodeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Story: while it was tried there seemed to be space, and both were logged, and
    writes taken in between, twice a second.
    """
    async with Node(config) as node:
        await said(node, MakeToken(9, b"d" * 32, 60_000, 1, MemberRole.REPLICA))
        store, tries = node.replica.database.store, [0]

        def work(budget_bytes: int = 0) -> bool:
            tries[0] += 1
            if tries[0] % 40 == 1:
                raise OSError(errno.ENOSPC, "no space left on device")
            return True

        store.work = work
        store.freeze()
        await until(lambda: tries[0] > 300)
        assert node.replica.no_space
        del store.work
    told = [r.getMessage() for r in caplog.records if "full" in r.getMessage()]
    assert len(told) == 1


async def test_files_of_another_member_are_not_taken(
    config: NodeConfig, tmp_path: Path
) -> None:
    """Its certificate was copied over ours: all others would turn us away with it."""
    authority = load_authority(tmp_path / "n1" / "ca")
    issue_member(authority, tmp_path / "other", name="n9")
    async with Node(config) as node:
        before = node.credentials.shown
        for ours in map(Path, (config.peer.cert, config.peer.key)):
            shutil.copy(tmp_path / "other" / ours.name, ours)
        node.credentials.renew()
        await until(lambda: bool(node.credentials.waits_for))
        assert config.peer.cert in node.credentials.waits_for
        assert node.credentials.shown == before


async def test_files_that_cannot_be_read_again_are_taken_later(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: they were read once more for the connections, and when somebody copied
    files just then, or there was no descriptor, that ended the node.
    """
    async with Node(config) as node:
        await until(lambda: node.replica.raft.is_leader)
        ours, using = node.credentials, node.transport.client_context
        before = ours.shown

        def unreadable(cert: str, key: str, ca: str) -> ssl.SSLContext:
            if own_certificate(cert, key, ca) != before:
                raise TlsError(f"{ca}: too many open files")
            return using

        with monkeypatch.context() as patched:
            patched.setattr(credentials, "client_context", unreadable)
            ours.renew()
            await until(lambda: "too many open files" in ours.waits_for)
            assert ours.shown == before
            assert node.transport.client_context is using
        # What was made then is taken, and no other one made.
        made = own_certificate(config.peer.cert, config.peer.key, config.peer.ca)
        assert made != before
        ours.retry_at_s = 0.0
        await until(lambda: node.transport.client_context is not using)
        assert ours.shown == made
        await ticks_go_on(node)


async def test_what_is_shown_and_what_connections_are_made_by_change_at_once(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: the thread that read the files put down what is shown, and the loop could
    tell of it before connections were made by it.
    """
    async with Node(config) as node:
        await until(lambda: node.replica.raft.is_leader)
        ours = node.credentials
        seen: list[bool] = []

        async def looked_at(work: Callable[[], object]) -> object:
            before = ours.shown, ours.roots
            found = await asyncio.get_running_loop().run_in_executor(None, work)
            seen.append((ours.shown, ours.roots) == before)
            return found

        monkeypatch.setattr(credentials, "_in_thread", looked_at)
        ours.renew()
        await until(lambda: ours.renewals == 1)
        assert all(seen)
        assert node.transport.client_context is ours.contexts[1]


def trust_what_is_no_ca(config: NodeConfig) -> None:
    with Path(config.peer.ca).open("a") as file:
        file.write(Path(config.peer.cert).read_text())


async def test_roots_of_which_one_is_none_are_not_taken_by_half(
    config: NodeConfig,
) -> None:
    """Story: the certificate beside them counted, and was told to the others."""
    async with Node(config) as node:
        await until(lambda: node.replica.raft.is_leader)
        ours = node.credentials
        before = ours.shown, ours.roots, ours.trusted
        trust_what_is_no_ca(config)
        ours.renew()
        await until(lambda: bool(ours.waits_for))
        assert (ours.shown, ours.roots, ours.trusted) == before


def test_lines_that_strangers_make_are_few() -> None:
    sparing = Sparing(100)
    assert sum(sparing.passes(100.0 + i / 1000) for i in range(5000)) == 100
    assert sparing.passes(110.0)


async def test_a_state_that_cannot_be_put_in_place_ends_the_node_at_once(
    config: NodeConfig,
) -> None:
    """Story: its error came to the node a step of the loop later. In between a tick
    wrote a log that began behind the state which was not there, and no start came
    past that.
    """
    async with Node(config) as node:
        await until(lambda: node.replica.raft.is_leader)

        def install(message: InstallSnapshot, incoming: Incoming) -> bool:
            raise OSError(errno.EIO, "a disk that fails")

        node.replica.install = install  # type: ignore[method-assign]
        message = InstallSnapshot(1, 1, 1, 5, 1, node.replica.raft.configuration)
        with pytest.raises(OSError, match="a disk that fails"):
            node.loop.install(message, node.replica.database.store.receive("a test"))
        assert node.loop.stopped
        assert node.failed is not None
        assert isinstance(node.failed.result(), OSError)
