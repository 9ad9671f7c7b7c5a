"""What a simulated node's engine owes: flushed and compacted a step at a time.

Law: as node/loop does it, in virtual time and without a worker process: each step is an
event of its own, so that everything else happens in between.
"""

from typing import TYPE_CHECKING

from ...storage.errors import CorruptionError
from .world import MILLISECOND

if TYPE_CHECKING:
    from .node import Node

_RETRY_US = 100 * MILLISECOND


class EngineWork:
    """Of one node."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.planned = False
        self.damage: CorruptionError | None = None
        # Its disk has failed reads: then it may take a table for unreadable.
        self.unread = False

    def forget(self) -> None:
        """A new process has nothing planned, and has met no damage."""
        self.planned = False
        self.damage = None

    def plan(self) -> None:
        """Do a step in a while."""
        node = self.node
        low, high = node.shape.sync_us
        self._later((low + node.world.below(high - low)) * node.slow)

    def _later(self, delay_us: int) -> None:
        self.planned = True
        self.node.later(delay_us, self._step)

    def _step(self) -> None:
        node = self.node
        assert node.replica is not None
        store = node.replica.database.store
        self.planned = False
        before = store.manifest
        try:
            store.work(1)
        except CorruptionError as error:
            self.found(error)
            return
        except OSError as error:
            node.disk_error(error)
            if node.up:
                self._later(_RETRY_US)
            return
        node.point("engine-worked")
        if store.manifest is not before:
            self._edited(before.applied_index)
        if store.owed:
            self.plan()
        node.plan_turn()

    def _edited(self, index: int) -> None:
        node = self.node
        assert node.replica is not None
        store = node.replica.database.store
        if store.applied_index > index:
            node.trace("flushed", f"index={store.applied_index}")
            node.checkers.flushed()
        else:
            node.trace("compacted", f"runs={len(store.levels())}")
            node.checkers.compacted()
        node.checkers.edited(node)

    def found(self, damage: CorruptionError) -> None:
        """Damage was met beside a turn. Raises it when nobody could help."""
        assert self.node.replica is not None
        self.node.replica.healing.found(damage)
        self.node.plan_turn()

    def tick(self) -> None:
        """The process ends where it waits in vain for what its disk does not read."""
        assert self.node.replica is not None
        error = self.node.replica.healing.given_up
        if error is not None:
            self.node.die(error)

    def look_at_damage(self, damage: CorruptionError | None) -> None:
        """The replica says something else of its state than before."""
        self.damage = damage
        if damage is None:
            self.node.trace("healed", "")
            self.node.checkers.healed()
        else:
            self.node.trace("damaged", str(damage))
            self.node.checkers.refused(self.node, damage)
