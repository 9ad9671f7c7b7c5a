"""A cluster of two builds: which version it has, and what may be written meanwhile."""

import pytest
from quorate.node.database import NotUnderstood, Understood, versions
from quorate.raft import Configuration
from quorate.wire import (
    DEFAULT_LIMITS,
    Compact,
    ErrorCode,
    Raise,
    SetCaretaker,
    Understand,
    decode_error,
    encode_compact,
    encode_put,
)

from .test_steward import asks, cluster, configuration, done
from .together import Together

OLD, NEW = Understood(1, 1), Understood(1, 2)


@pytest.fixture(autouse=True)
def next_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its version 2 clusters begin to be compacted."""
    monkeypatch.setattr(versions, "SINCE", {**versions.SINCE, Compact: 2})


def runs(together: Together, member: int, build: Understood) -> None:
    """The member runs this build, and has said so."""
    together.replicas[member].database.understood = build
    done(together, Understand(member, build.lowest, build.highest))


def versions_of(together: Together) -> set[int]:
    return {each.database.version for each in together.replicas.values()}


def compacts(together: Together) -> ErrorCode | None:
    together.done(encode_put(b"a", b"b"))
    revision = together.replicas[together.leader].database.revision
    return together.code(together.ask(encode_compact(revision)))


def test_the_version_is_raised_when_the_last_member_runs_the_new_build() -> None:
    together = cluster()
    for member in (1, 2):
        runs(together, member, NEW)
    together.run(300)
    assert versions_of(together) == {1}
    assert compacts(together) == ErrorCode.UNSUPPORTED
    runs(together, 3, NEW)
    together.wait_for(lambda: versions_of(together) == {2})
    assert compacts(together) is None
    together.run(300)
    assert versions_of(together) == {2}
    hashes = {each.database.state_hash() for each in together.replicas.values()}
    assert len(hashes) == 1


def test_all_may_go_back_until_it_is_raised() -> None:
    together = cluster()
    runs(together, 1, NEW)
    runs(together, 2, NEW)
    runs(together, 1, OLD)
    runs(together, 3, NEW)
    together.run(300)
    assert versions_of(together) == {1}
    runs(together, 1, NEW)
    together.wait_for(lambda: versions_of(together) == {2})


def test_a_member_that_is_away_is_waited_for() -> None:
    together = cluster()
    away = next(m for m in together.replicas if m != together.leader)
    for member in together.replicas:
        if member != away:
            runs(together, member, NEW)
    together.paused.add(away)
    together.run(300)
    leader = together.replicas[together.leader]
    assert leader.database.version == 1
    assert leader.steward.upgrades.waits_for == [away]


def test_nothing_is_raised_while_the_caretaker_is_paused() -> None:
    together = cluster()
    done(together, SetCaretaker(paused=True))
    for member in together.replicas:
        runs(together, member, NEW)
    together.run(300)
    assert versions_of(together) == {1}
    done(together, SetCaretaker(paused=False))
    together.wait_for(lambda: versions_of(together) == {2})


def test_a_leader_of_the_old_build_raises_nothing() -> None:
    """It could not go on itself."""
    together = cluster()
    leader = together.leader
    for member in together.replicas:
        runs(together, member, NEW)
        if member == leader:
            together.replicas[member].database.understood = OLD
    together.run(100)
    assert together.leader == leader
    assert versions_of(together) == {1}


def test_nobody_else_asks_for_a_version() -> None:
    together = cluster()
    for member in together.replicas:
        done(together, Understand(member, 1, 1))
    refused = asks(together, Raise(2))
    _, _, body = together.caller.replies[refused]
    error = decode_error(body, DEFAULT_LIMITS)
    assert error.code is ErrorCode.INVALID_REQUEST
    # It was told that the caretaker decides by itself.
    assert "version" in error.message


def test_who_went_back_without_saying_so_stops_when_the_version_comes() -> None:
    together = cluster()
    for member in together.replicas:
        runs(together, member, NEW)
        if member != together.leader:
            together.replicas[member].database.understood = OLD
    assert configuration(together) == Configuration((1, 2, 3))
    with pytest.raises(NotUnderstood, match="the cluster has version 2"):
        together.run(300)
