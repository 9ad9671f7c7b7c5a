"""Found by the simulator (I-7, seed 2804): applied before it was written.

A replica with a damaged table, whose log was whole, asked for a state. The leader's was
of index 345, and it came while that very entry was on its way to this disk. The log had
it, so the state was installed, and the entry was written after it: the state machine
was ahead of the journal, as it never is where entries are written and then applied. No
acknowledged write was at stake: a start begins its log anew where the state is ahead.
Now a state is taken where the disk has the entries that lead to it; another one is
asked for half a second later.
"""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node.replica.core import Replica
from quorate.node.replica.healing import Healing
from quorate.raft import Configuration, Entry, InstallSnapshot
from quorate.raft.log import Log
from quorate.storage.errors import CorruptionError

TERM = 3


def healing(*, stable: int, commit: int) -> Healing:
    """Of a replica with entries 341 to 346, whose state is damaged."""
    log = Log(340, TERM)
    log.append([Entry(index, TERM, 0, b"") for index in range(341, 347)])
    log.stable_index, log.commit_index = stable, commit
    it = Healing(
        cast(Replica, cast(Any, SimpleNamespace(raft=SimpleNamespace(log=log))))
    )
    it.damage = CorruptionError("a.sst", 1904, "block 5 has a wrong checksum")
    return it


@pytest.mark.parametrize(
    ("stable", "commit", "index", "wanted"),
    [
        (344, 345, 345, False),
        (345, 345, 345, True),
        (346, 345, 345, True),
        (346, 344, 345, False),
        (344, 345, 344, True),
        (344, 345, 340, True),
        (344, 345, 339, False),
    ],
)
def test_a_state_is_taken_where_the_disk_has_what_leads_to_it(
    stable: int, commit: int, index: int, wanted: bool
) -> None:
    message = InstallSnapshot(2, 1, TERM, index, TERM, Configuration((1, 2, 3)))
    it = healing(stable=stable, commit=commit)
    assert it.wants(message) is wanted
    it.damage = None
    assert not it.wants(message)
