"""A simulated node's checkpoints: written, pruned, sent to peers, received from them.

Law: as node/snapshots and node/node do it, in virtual time. Nothing that was received
counts before its hash was right and its name durable (I-51).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ...node.database import CheckpointReader, DamagedCheckpoint, Database
from ...node.database.checkpoint import header_of, write_checkpoint
from ...node.replica import CheckpointJob
from ...raft import InstallSnapshot, encode_configuration
from .shape import CLUSTER_ID
from .world import MILLISECOND, SECOND

if TYPE_CHECKING:
    from .node import Node

_PIECE_BYTES = 4096
_TRANSFER_US = 10 * SECOND
# So many transfers take so long that their receiver may have caught up meanwhile.
_SLOW_SHARE = 0.25
Answer = Callable[[bool], None]


class Checkpoints:
    """What a node does with files that hold the whole state."""

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

    def begin(self, job: CheckpointJob) -> None:
        header = header_of(
            CLUSTER_ID,
            encode_configuration(job.mark.configuration),
            job.meta,
            job.count,
        )
        pieces = b"".join(write_checkpoint(header, job.view))
        low, high = self.node.shape.sync_us
        delay = (low + self.node.world.below(high - low)) * self.node.slow * 2
        self.node.later(delay, self._write, job, pieces)

    def _write(self, job: CheckpointJob, pieces: bytes) -> None:
        stable, replica = self.node.stable, self.node.replica
        assert stable is not None
        assert replica is not None
        try:
            file = stable.begin_checkpoint(job.mark.index, "write")
            try:
                for offset in range(0, len(pieces), _PIECE_BYTES):
                    file.write(pieces[offset : offset + _PIECE_BYTES])
                file.commit()
            except OSError:
                file.abandon()
                raise
        except OSError as error:
            self.node.disk_error(error)
            replica.checkpoint_failed()
            return
        self.node.point("checkpoint-durable")
        replica.checkpointed(job.mark)
        self.node.point("checkpoint-announced")
        self.node.trace("checkpoint", f"index={job.mark.index}")
        self.node.checkers.checkpointed()
        self._prune()
        if self.node.up:
            self.node.plan_turn()

    def _prune(self, discard: int = 0) -> None:
        replica = self.node.replica
        assert self.node.stable is not None
        assert replica is not None
        try:
            if discard and replica.unneeded(discard):
                self.node.stable.discard(discard)
            self.node.stable.prune(self.node.raft.snapshot.index)
        except OSError as error:
            self.node.disk_error(error)
        else:
            self.node.checkers.pruned(self.node)
            self.node.point("checkpoints-pruned")

    def send(self, message: InstallSnapshot) -> None:
        """Transfer the checkpoint; it takes a while and may break on the way."""
        assert self.node.stable is not None
        try:
            file = self.node.stable.open_checkpoint(message.index)
            data = file.read_at(0, file.size())
            file.close()
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
        try:
            database = self._store(message, data)
        except DamagedCheckpoint as error:
            self.node.trace("refused", f"snapshot index={message.index}: {error}")
            answer(False)
            return
        except OSError as error:
            answer(False)
            self.node.disk_error(error)
            return
        self.node.point("snapshot-durable")
        assert self.node.replica is not None
        installed = self.node.replica.install(message, database)
        self.node.trace("snapshot", f"index={message.index} installed={installed}")
        self.node.checkers.installed(self.node, message, installed)
        self.node.point("snapshot-installed")
        self._prune(discard=0 if installed else message.index)
        answer(True)
        if self.node.up:
            self.node.plan_turn()

    def _store(self, message: InstallSnapshot, data: bytes) -> Database:
        assert self.node.stable is not None
        reader = CheckpointReader(CLUSTER_ID)
        file = self.node.stable.begin_checkpoint(message.index, "received")
        try:
            for offset in range(0, len(data), _PIECE_BYTES):
                piece = data[offset : offset + _PIECE_BYTES]
                file.write(piece)
                reader.feed(piece)
            database = reader.finish()
            if database.applied_index != message.index:
                raise DamagedCheckpoint("its index is not the announced one")
            file.commit()
        except (OSError, DamagedCheckpoint):
            file.abandon()
            raise
        return database
