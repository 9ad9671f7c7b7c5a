"""A replica whose state machine is damaged on its disk gets its leader's.

Law: pure. Its log is whole, so it goes on to vote, to append and to acknowledge; it
neither applies nor answers reads until it has a state again, and has applied what it
had applied before (I-28, I-43), and leads only to hand its log over. What is damaged is
never answered from. A replica without peers ends instead: nobody has another copy. So
does one whose disk does not read, when no state comes: all disks of a cluster may be
away for a while, and then a start is what finds the data again (decision 0038).

    whole -- damage found --> damaged -- state installed --> behind -- applied --> whole
                                 └---- unreadable, and no state comes ----> given up
"""

from typing import TYPE_CHECKING, Final

from ...raft import InstallSnapshot
from ...storage.errors import CorruptionError, Unreadable
from ...wire import ErrorCode
from . import rules
from .messages import StateRequest

if TYPE_CHECKING:
    from .core import Replica

_ASK_TICKS: Final = 50


class Healing:
    """`damage` is what was found; None: the state machine can be used.

    `healed` counts what was replaced.
    """

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.damage: CorruptionError | None = None
        # What must be applied again before anybody may read.
        self.until_index = 0
        self.ticks = 0
        self.healed = 0
        # A state is on its way to here; the shell says so.
        self.arriving = False
        self.waited_ticks = 0
        # Peers to which a state is on its way from here.
        self.sending: set[int] = set()

    def found(self, damage: CorruptionError, *, lasting: bool = False) -> None:
        """Damage was met. Raises it again when there is nobody to heal from.

        As the `OSError` it was, where the disk does not read.

        `lasting`: its files do not show it, and it must not be forgotten by a restart.
        """
        replica = self.replica
        raft = replica.raft
        if self.damage is not None:
            return
        if len(raft.configuration.members()) == 1:
            raise damage.error if isinstance(damage, Unreadable) else damage
        self.damage, self.waited_ticks = damage, 0
        self.until_index = max(self.until_index, raft.log.applied_index)
        self.ticks = _ASK_TICKS
        # First of all, whatever becomes of the rest: nothing more is answered.
        raft.barred = True
        replica.reads.barred = "the data of this node is damaged; it is being replaced"
        replica.reads.refuse_all(ErrorCode.DAMAGED, replica.reads.barred)
        replica.database.store.condemn(damage, lasting=lasting)

    def tick(self) -> None:
        """Ask the leader now and then: requests and transfers may be lost."""
        self.ticks += 1
        self.waited_ticks += not self.arriving
        raft = self.replica.raft
        if self.ticks >= _ASK_TICKS and raft.leader_id not in (0, raft.id):
            self.ticks = 0
            self.replica.messages.append(
                StateRequest(raft.id, raft.leader_id, raft.log.base_index)
            )

    @property
    def given_up(self) -> OSError | None:
        """Why the process should end and start again, if it should."""
        patience_ticks = self.replica.options.unreadable_ticks
        if isinstance(self.damage, Unreadable) and rules.waits_in_vain(
            self.waited_ticks, patience_ticks
        ):
            return self.damage.error
        return None

    def asked(self, message: StateRequest) -> None:
        """A peer needs a state; the first one that reaches its log is sent to it."""
        raft, store = self.replica.raft, self.replica.database.store
        if not raft.is_leader or raft.barred or message.sender in self.sending:
            return
        if store.applied_index < message.index:
            store.freeze()
            return
        self.sending.add(message.sender)
        mark = raft.snapshot
        self.replica.messages.append(
            InstallSnapshot(
                *(raft.id, message.sender, raft.term),
                *(mark.index, mark.term, mark.configuration),
            )
        )

    def sent(self, member: int) -> None:
        """A transfer to `member` ended, well or not."""
        self.sending.discard(member)

    def wants(self, message: InstallSnapshot) -> bool:
        """A state came that is no news to Raft: does the log go on from it?

        It does where the disk has it. A state of entries that are still on their way
        there would be applied before they are written; another one is asked for.
        """
        log = self.replica.raft.log
        return (
            self.damage is not None
            and log.base_index <= message.index
            and rules.leads_to(message.index, log.commit_index, log.stable_index)
            and log.term(message.index) == message.snapshot_term
        )

    def installed(self, index: int) -> None:
        """Another state is in place, that of `index`."""
        raft = self.replica.raft
        if self.damage is not None:
            self.damage = None
            self.healed += 1
            if raft.log.applied_index != index:
                raft.state_replaced(index)
        damage = self.replica.database.store.damage
        if damage is not None:
            # What was installed could not be read again: its disk is no better.
            self.found(damage)

    def applied(self) -> None:
        """Once as much is applied as was before, everything is as it was."""
        replica = self.replica
        if not replica.reads.barred or self.damage is not None:
            return
        if rules.caught_up(replica.database.applied_index, self.until_index):
            replica.reads.barred = ""
            replica.raft.barred = False
