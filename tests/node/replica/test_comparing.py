"""States are compared all the time: what differs is found, fenced and replaced (I-38).

A byte that flips in memory between the decoding of an entry and its writing is the
story: checksums see nothing of it.
"""

import errno
from collections.abc import Callable

import pytest
from quorate.node.replica import StateHash
from quorate.node.replica.comparing import PERIOD_MS
from quorate.storage.engine import Engine
from quorate.storage.errors import CorruptionError
from quorate.wire import (
    ErrorCode,
    OpenSession,
    Place,
    encode_in_session,
    encode_put,
    encode_session_command,
)

from .compared import Compared
from .together import TICK_MS

FOUND_MS = 2000


def test_damage_that_can_not_be_marked_is_not_answered_from_either() -> None:
    """Story: on a full disk the mark could not be written. Nothing was barred then, and
    the replica went on answering from a state that was not the others'.
    """
    together = Compared()
    together.write(b"one")
    member = together.follower
    replica = together.replicas[member]

    def condemn(damage: CorruptionError, *, lasting: bool) -> None:
        raise OSError(errno.ENOSPC, "no space")

    replica.database.store.condemn = condemn  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space"):
        replica.healing.found(CorruptionError("a state", 0, "differs"), lasting=True)
    assert together.read(member) is ErrorCode.DAMAGED


def test_states_that_are_equal_are_found_to_be_so() -> None:
    together = Compared()
    together.write(b"x")
    together.run_ms(PERIOD_MS + 100)
    equal = {r.comparing.equal_index for r in together.replicas.values()}
    assert len(equal) == 1
    assert equal.pop() > 0


def test_nothing_is_written_where_nothing_happens() -> None:
    together = Compared()
    together.write(b"x")
    together.run_ms(3 * PERIOD_MS)
    last = together.replicas[1].raft.log.last_index
    together.run_ms(10 * PERIOD_MS)
    assert together.replicas[1].raft.log.last_index == last


@pytest.mark.parametrize("leads", [False, True])
def test_a_replica_whose_state_differs_is_found_fenced_and_healed(
    leads: bool,
) -> None:
    together = Compared()
    together.write(b"first")
    together.run_ms(PERIOD_MS)
    spoilt = together.leader if leads else together.follower
    together.transfers = False
    together.flip_at(spoilt)
    together.write(b"value")
    began = together.now_ms
    together.wait_for(lambda: together.damaged() == [spoilt])
    assert together.now_ms - began <= FOUND_MS
    assert together.read(spoilt) == ErrorCode.DAMAGED
    # Nothing that it has is believed any more, by whoever opens it either.
    together.other_leader(spoilt) if leads else None
    together.write(b"later")
    assert together.read(spoilt) == ErrorCode.DAMAGED
    together.transfers = True
    together.wait_for(lambda: not together.damaged())
    together.wait_for(lambda: together.read(spoilt) == b"later")
    together.run_ms(2 * PERIOD_MS)
    assert not together.damaged()
    assert len({r.database.state_hash() for r in together.replicas.values()}) == 1


@pytest.mark.parametrize("payload", ["put", "in a session", "opening"])
def test_whatever_is_flipped_is_found(payload: str) -> None:
    together = Compared()
    number = b"0123456789abcdef"
    if payload == "in a session":
        together.done(encode_session_command(OpenSession(number)))
    together.run_ms(PERIOD_MS)
    spoilt = together.follower
    table = together.replicas[together.leader].database.session_table
    command = {
        "put": lambda: encode_put(b"other", b"1234"),
        "in a session": lambda: encode_in_session(
            Place(number, table.sessions[number].since, 1, 1), encode_put(b"k", b"v")
        ),
        "opening": lambda: encode_session_command(OpenSession(number)),
    }[payload]()
    together.flip_at(spoilt)
    together.done(command)
    together.wait_for(lambda: together.damaged() == [spoilt])
    assert together.replicas[spoilt].watching.watches.disowned


def test_where_no_state_has_a_majority_all_refuse() -> None:
    together = Compared()
    together.write(b"first")
    together.run_ms(PERIOD_MS)
    one, other = [m for m in together.replicas if m != together.leader]
    together.flip_at(one, other)
    together.write(b"value")
    together.wait_for(lambda: together.damaged() == [1, 2, 3])
    assert {together.read(m) for m in together.replicas} == {ErrorCode.DAMAGED}


def test_two_replicas_that_differ_both_refuse() -> None:
    together = Compared(2)
    together.write(b"first")
    together.run_ms(PERIOD_MS)
    together.flip_at(together.follower)
    together.write(b"value")
    together.wait_for(lambda: together.damaged() == [1, 2])


def test_one_who_was_away_is_compared_when_he_comes_back() -> None:
    together = Compared()
    together.write(b"first")
    together.run_ms(PERIOD_MS)
    away = together.follower
    together.cut.add(away)
    together.write(b"value")
    together.run_ms(3 * PERIOD_MS)
    together.flip_at(away)
    together.heal()
    together.wait_for(lambda: together.damaged() == [away])


def test_what_strangers_tell_counts_for_nothing_and_costs_nothing() -> None:
    together = Compared()
    together.write(b"x")
    together.run_ms(PERIOD_MS)
    replica = together.replicas[1]
    for index in range(1, 500):
        for sender in (2, 9, 10):
            replica.step(StateHash(sender, 1, index, 7, 7, 7))
    together.run_ms(2 * PERIOD_MS)
    assert not together.damaged()


def test_a_store_that_differs_is_not_believed_by_its_next_process() -> None:
    together = Compared()
    together.write(b"first")
    together.run_ms(PERIOD_MS)
    spoilt = together.follower
    together.transfers = False
    together.flip_at(spoilt)
    together.write(b"value")
    together.wait_for(lambda: together.damaged() == [spoilt])
    store = together.replicas[spoilt].database.store
    env = store._env  # pyright: ignore[reportPrivateUsage]
    store.close()
    ids: Callable[[], bytes] = iter([bytes([n]) * 16 for n in range(200, 250)]).__next__
    with pytest.raises(CorruptionError, match="not the one of a majority"):
        Engine(env, "/engine", ids)
    again = Engine(env, "/engine", ids, even_damaged=True)
    assert again.damage is not None
    healthy = together.replicas[together.leader].database.store
    healthy.flush()
    incoming = again.receive("a test")
    for piece in healthy.pin().pieces():
        incoming.feed(piece)
    for _ in incoming.check():
        pass
    again.install(incoming)
    again.close()
    Engine(env, "/engine", ids).close()


def test_a_period_is_a_matter_of_ticks() -> None:
    assert PERIOD_MS % TICK_MS == 0
    assert 2 * PERIOD_MS <= FOUND_MS
