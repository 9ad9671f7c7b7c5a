"""A disk that does not read: another state is fetched; where none comes, a start helps.

Story: each read of a sector that was gone ended the node, and the next start met it
again, while its peers had the bytes. But all disks of a cluster may be away for a
minute, and then nobody has a state to send, though nothing is lost.
"""

import errno

import msgspec
import pytest
from quorate.raft import InstallSnapshot
from quorate.storage.env import os_error
from quorate.storage.errors import CorruptionError, Unreadable
from quorate.wire import ErrorCode

from .compared import Compared

PATIENCE_TICKS = 100
LOST = Unreadable("/engine/a.sst", 4096, os_error(errno.EIO, ""))


def _together(members: int = 3) -> Compared:
    together = Compared(members)
    for replica in together.replicas.values():
        replica.options = msgspec.structs.replace(
            replica.options, unreadable_ticks=PATIENCE_TICKS
        )
    together.write(b"one")
    return together


def test_what_one_disk_does_not_read_comes_from_another() -> None:
    together = _together()
    member = together.follower
    replica = together.replicas[member]
    together.transfers = False
    replica.healing.found(LOST)
    together.run(PATIENCE_TICKS // 2)
    assert together.read(member) is ErrorCode.DAMAGED
    together.transfers = True
    together.wait_for(lambda: not together.damaged())
    together.run(2 * PATIENCE_TICKS)
    assert replica.healing.given_up is None
    assert together.read(member) == b"one"


def test_where_no_disk_reads_all_give_up_and_say_why() -> None:
    together = _together()
    for replica in together.replicas.values():
        replica.healing.found(LOST)
    together.run(PATIENCE_TICKS - 1)
    assert not any(r.healing.given_up for r in together.replicas.values())
    together.run(1)
    for replica in together.replicas.values():
        error = replica.healing.given_up
        assert error is not None
        assert (error.errno, error.filename) == (errno.EIO, LOST.path)


def test_nobody_gives_up_while_a_state_is_on_its_way() -> None:
    together = _together()
    together.loses = lambda message: isinstance(message, InstallSnapshot)
    together.transfers = False
    healing = together.replicas[together.follower].healing
    healing.found(LOST)
    healing.arriving = True
    together.run(3 * PATIENCE_TICKS)
    assert healing.given_up is None
    healing.arriving = False
    together.run(PATIENCE_TICKS)
    assert healing.given_up is not None


def test_what_is_read_wrong_is_no_better_after_a_start() -> None:
    together = _together()
    together.transfers = False
    healing = together.replicas[together.follower].healing
    healing.found(CorruptionError("/engine/a.sst", 0, "a wrong checksum"))
    together.run(3 * PATIENCE_TICKS)
    assert healing.given_up is None


def test_a_replica_alone_ends_with_what_the_disk_said() -> None:
    together = _together(1)
    with pytest.raises(OSError, match="error") as caught:
        together.replicas[1].healing.found(LOST)
    assert caught.value.filename == LOST.path
