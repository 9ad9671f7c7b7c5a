"""A simulated node's state on its way to peers, and from them.

Law: as node/snapshots and node/node do it, in virtual time. Nothing that was received
counts before all of it was checked on this disk (I-51).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ...node.stable import announced, check_snapshot
from ...raft import InstallSnapshot
from ...storage.engine import Incoming
from ...storage.errors import CorruptionError
from .world import MILLISECOND, SECOND

if TYPE_CHECKING:
    from .node import Node

_PIECE_BYTES = 4096
_TRANSFER_US = 10 * SECOND
# So many transfers take so long that their receiver may have caught up meanwhile.
_SLOW_SHARE = 0.25
Answer = Callable[[bool], None]


class Snapshots:
    """The transfers of one node."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        # The number of the transfer that is under way to each peer.
        self.transfers: dict[int, int] = {}
        self.transfer = 0

    def forget(self) -> None:
        """A new process knows of no transfer."""
        self.transfers.clear()

    def peer_gone(self, member: int) -> None:
        """The connection to a peer broke, and with it the transfer on it."""
        if member in self.transfers:
            self._transfer_ended(member, self.transfers[member])

    def send(self, message: InstallSnapshot) -> None:
        """Transfer the state; it takes a while and may break on the way."""
        assert self.node.replica is not None
        database = self.node.replica.database
        message = announced(message, database)
        try:
            data = b"".join(database.store.pin().pieces())
        except CorruptionError as error:
            self.node.work.found(error)
            self.node.replica.snapshot_finished(message.to, False)
            return
        except OSError as error:
            self.node.die(error)
            return
        self.transfer += 1
        self.transfers[message.to] = self.transfer
        longest = 6000 if self.node.world.chance(_SLOW_SHARE) else 50
        delay = (1 + self.node.world.below(longest)) * MILLISECOND
        self.node.later(delay, self._transferred, message, data, self.transfer)
        self.node.later(_TRANSFER_US, self._transfer_ended, message.to, self.transfer)

    def _transferred(self, message: InstallSnapshot, data: bytes, number: int) -> None:
        pair = (message.sender, message.to)
        muted = self.node.network.mute[InstallSnapshot, *pair]
        cut = muted or not self.node.network.connected(*pair)
        if cut or self.node.world.chance(0.1):
            self._transfer_ended(message.to, number)
        else:
            answer = partial(self._answered, self.node.epoch, message.to, number)
            self.node.cluster.deliver_snapshot(message, data, answer)

    def _answered(self, epoch: int, member: int, number: int, ok: bool) -> None:
        if epoch == self.node.epoch:
            self.node.later(MILLISECOND, self._transfer_ended, member, number, ok)

    def _transfer_ended(self, member: int, number: int, ok: bool = False) -> None:
        """By an answer, a broken connection or a timeout, whichever is first."""
        assert self.node.replica is not None
        if self.transfers.get(member) == number:
            del self.transfers[member]
            self.node.replica.snapshot_finished(member, ok)
            self.node.plan_turn()

    def receive(self, message: InstallSnapshot, data: bytes, answer: Answer) -> None:
        if self.node.up:
            self.node.later(0, self._receive, message, data, answer)

    def _receive(self, message: InstallSnapshot, data: bytes, answer: Answer) -> None:
        node = self.node
        assert node.replica is not None
        incoming = node.replica.database.store.receive("a snapshot")
        try:
            self._store(message, data, incoming)
        except CorruptionError as error:
            incoming.close()
            node.trace("refused", f"snapshot index={message.index}: {error}")
            answer(False)
            return
        except OSError as error:
            answer(False)
            incoming.close()
            node.disk_error(error)
            return
        node.point("snapshot-checked")
        installed = node.replica.install(message, incoming)
        node.trace("snapshot", f"index={message.index} installed={installed}")
        node.checkers.installed(node, message, installed)
        node.point("snapshot-installed")
        if not installed:
            incoming.close()
        answer(True)
        node.plan_turn()

    def _store(self, message: InstallSnapshot, data: bytes, incoming: Incoming) -> None:
        assert self.node.replica is not None
        for offset in range(0, len(data), _PIECE_BYTES):
            incoming.feed(data[offset : offset + _PIECE_BYTES])
        for _ in incoming.check():
            pass
        database = self.node.replica.database
        check_snapshot(database, incoming, message, "a snapshot")
        for _ in database.arrivals.read(incoming):
            pass
