"""What a seed chooses before anything happens: sizes, options, the load.

Law: drawn once, from the world's dice, and the same for all nodes of a world. Options
are drawn wide on purpose: small limits reach the edges that real ones rarely see.
"""

from random import Random
from typing import Final

from ...node.database import layout
from ...node.replica import ReplicaOptions
from ...node.stable import StableOptions
from ...storage.engine import EngineOptions
from ...storage.journal import JournalOptions
from .world import MILLISECOND, World

CLUSTER_ID: Final = 0xC1
TICK_MS: Final = 20
RESERVE_BYTES: Final = 512 << 10


class Shape:
    """`dense` is the shape whose speed docs/testing.md quotes: five nodes at work."""

    def __init__(self, world: World, dense: bool = False) -> None:
        dice = world.random
        self.voters = 5 if dense else dice.choice([1, 3, 3, 3, 3, 3, 5, 5, 7])
        self.learners = 0 if dense else dice.choice([0, 0, 0, 1, 2])
        election = dice.choice([10, 20, 20, 40])
        self.raft = {
            "election_timeout_ticks": election,
            "heartbeat_ticks": dice.choice(
                [election // 10, election // 8, election // 4]
            ),
            "append_entries_max": dice.choice([1, 4, 64, 4096]),
            "append_bytes_max": dice.choice([200, 4096, 1 << 20]),
            "inflight_messages_max": dice.choice([1, 2, 8]),
            "apply_entries_max": dice.choice([1, 7, 4096]),
            "uncommitted_entries_max": dice.choice([16, 16384, 16384]),
        }
        # Dice of its own, as for repeaters.
        steps = Random(f"steps {world.seed}")
        # As many requests as may wait: never reached with 64, all the time with 4.
        few = 4 if world.seed % 4 == 0 else 64
        self.replica = ReplicaOptions(
            checkpoint_entries=dice.choice([10, 40, 300, 65536]),
            checkpoint_bytes=dice.choice([4096, 16 << 20]),
            log_keep_entries=dice.choice([0, 5, 50]),
            requests_max=(in_flight := dice.choice([few, 16384])),
            queued_max=in_flight,
            history_revisions=dice.choice([0, 0, 30, 200]),
            history_ms=dice.choice([0, 5000]),
            unreadable_ticks=200,
            # In some no step goes on after a few records were read.
            step_read_bytes=16 << 20
            if dense
            else steps.choice([8 << 10, *3 * [16 << 20]]),
            tick_ms=TICK_MS,
        )
        # Segments from so small that every few batches need a new one.
        self.stable = StableOptions(
            JournalOptions(
                segment_bytes=dice.choice([4, 16, 64]) * 4096,
                spares_max=dice.choice([1, 2]),
            ),
            # Values of this world have about 60 bytes: some all go into files of their
            # own, in others a block or a table is full after a few.
            EngineOptions(
                memtable_bytes=dice.choice([8000, 30000, 16 << 20]),
                memtables_max=dice.choice([1, 3]),
                block_bytes=(block := dice.choice([300, 2048])),
                scanned_block_bytes=block,
                table_bytes=dice.choice([2000, 64 << 20]),
                tier_ratio=dice.choice([2, 4]),
                blob_bytes=dice.choice([40, 16 << 10]),
                scanned=layout.SCANNED,
                # So small that what is asked for again is often there, and often not.
                cache_bytes=3000,
            ),
        )
        self.sync_us = (200, dice.choice([1, 5, 20]) * MILLISECOND)
        self.turn_us = dice.choice([100, 1000, 4000])
        self.keys = dice.choice([2, 8, 40])
        self.clients = 19 if dense else dice.randint(4, 10)
        self.tenants = 1 if dense else dice.randint(1, 3)
        self.watchers = 3 if dense else dice.randint(2, 5)
        # Of a third of the worlds; dice of their own, so that the others stay as they
        # were when the seeds of tests and mutants were found.
        own = Random(f"repeaters {world.seed}")
        self.repeaters = 1 if dense else own.choice([0, 0, 0, 0, 1, 2])
        self.pause_us = (210 if dense else dice.choice([150, 300, 500])) * MILLISECOND

    @property
    def election_timeout_us(self) -> int:
        """The longest time between two elections that one node calls."""
        ticks = self.raft["election_timeout_ticks"]
        return 2 * ticks * TICK_MS * MILLISECOND

    def describe(self) -> str:
        """One line for the timeline: what was drawn."""
        raft = " ".join(f"{name}={value}" for name, value in self.raft.items())
        return (
            f"voters={self.voters} learners={self.learners} {raft}"
            f" checkpoint={self.replica.checkpoint_entries}"
            f" keep={self.replica.log_keep_entries}"
            f" segment={self.stable.journal.segment_bytes}"
            f" memtable={self.stable.engine.memtable_bytes} keys={self.keys}"
            f" clients={self.clients}"
        )
