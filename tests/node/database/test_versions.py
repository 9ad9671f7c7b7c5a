"""The cluster's version in the state: raised when all understand it, and not before."""

from typing import get_args

import msgspec
import pytest
from quorate.node.database import (
    Database,
    NotUnderstood,
    Understood,
    layout,
    versions,
)
from quorate.node.database.versions import FOUNDED, SINCE, VersionRecord
from quorate.raft import Configuration
from quorate.storage.engine import VALUE
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    Command,
    ErrorCode,
    MemberCommand,
    MemberRole,
    Raise,
    Reassign,
    Understand,
)
from quorate.wire.sessions import CloseSession, OpenSession

from .support import copy_of, new_database, reopened
from .test_members import configured, told

VOTERS = (1, 2, 3)


class Story:
    """A database of a build that understands three versions."""

    def __init__(self) -> None:
        self.env = MemoryEnv()
        self.database = new_database(env=self.env)
        self.database.understood = Understood(1, 3)
        self.index = 0
        self.founded = self.configures(*VOTERS)

    def _next(self) -> int:
        self.index += 1
        return self.index

    def configures(self, *voters: int) -> str:
        self.database.apply([configured(self._next(), Configuration(voters))])
        return self.database.state_hash()

    def says(self, command: MemberCommand) -> int:
        """The code of what came of it, 0 if it was done."""
        (result,) = self.database.apply([told(self._next(), command)])
        return result.code

    def all_understand(self, highest: int) -> None:
        for member in VOTERS:
            assert self.says(Understand(member, 1, highest)) == 0

    @property
    def record(self) -> VersionRecord:
        return self.database.member_table.versions


def test_a_version_comes_when_all_members_understand_it() -> None:
    story = Story()
    for member in (1, 2):
        assert story.says(Understand(member, 1, 2)) == 0
    assert story.record.waits_for(VOTERS) == [3]
    assert story.says(Raise(2)) == ErrorCode.PRECONDITION_FAILED
    assert story.database.version == FOUNDED
    assert story.says(Understand(3, 2, 2)) == 0
    assert story.says(Raise(2)) == 0
    assert story.database.version == 2


def test_it_comes_once_and_one_after_the_other() -> None:
    story = Story()
    story.all_understand(3)
    assert story.says(Raise(3)) == ErrorCode.PRECONDITION_FAILED
    assert story.says(Raise(2)) == 0
    assert story.says(Raise(2)) == 0
    assert story.says(Raise(3)) == 0
    assert story.says(Raise(2)) == ErrorCode.PRECONDITION_FAILED
    assert story.database.version == 3


def test_who_understands_only_later_ones_does_not_hold_it_back_for_ever() -> None:
    story = Story()
    story.all_understand(2)
    # It could not be part of a cluster of version 2.
    assert story.says(Understand(1, 3, 3)) == 0
    assert story.says(Raise(2)) == ErrorCode.PRECONDITION_FAILED


def test_who_goes_back_to_an_older_build_takes_its_word_back() -> None:
    story = Story()
    story.all_understand(2)
    assert story.says(Understand(2, 1, 1)) == 0
    assert story.says(Raise(2)) == ErrorCode.PRECONDITION_FAILED
    assert story.record.understood_by(2) == Understood(1, 1)
    # As if nobody had ever said anything.
    for member in (1, 3):
        assert story.says(Understand(member, 1, 1)) == 0
    assert story.record == VersionRecord()


def test_nobody_waits_for_who_has_left() -> None:
    story = Story()
    for member in (1, 2):
        story.says(Understand(member, 1, 2))
    assert story.says(Reassign(3, MemberRole.LEAVING, 0)) == 0
    assert story.says(Raise(2)) == ErrorCode.PRECONDITION_FAILED
    story.configures(1, 2)
    assert story.says(Understand(3, 1, 2)) == ErrorCode.MEMBER_NOT_FOUND
    assert story.says(Raise(2)) == 0
    assert [each.member for each in story.record.said] == [1, 2]


def test_what_leaves_takes_with_it_what_it_said() -> None:
    story = Story()
    story.all_understand(2)
    story.says(Reassign(3, MemberRole.LEAVING, 0))
    story.configures(1, 2)
    assert [each.member for each in story.record.said] == [1, 2]


def test_a_stranger_says_nothing() -> None:
    story = Story()
    assert story.says(Understand(9, 1, 2)) == ErrorCode.MEMBER_NOT_FOUND
    assert story.record == VersionRecord()


def test_it_is_there_again_after_a_restart_and_in_a_copy() -> None:
    story = Story()
    story.all_understand(2)
    story.says(Raise(2))
    story.database.store.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "UNDERSTOOD", Understood(1, 2))
        copy = copy_of(story.database)
        assert copy.member_table.versions == story.record
        assert copy.state_hash() == story.database.state_hash()
        again = reopened(story.database, story.env)
        assert again.member_table.versions == story.record


def test_a_build_that_does_not_understand_the_version_does_not_open_the_state() -> None:
    story = Story()
    story.all_understand(2)
    story.says(Raise(2))
    with pytest.raises(NotUnderstood, match="the cluster has version 2"):
        copy_of(story.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "UNDERSTOOD", Understood(3, 4))
        with pytest.raises(NotUnderstood, match="understands versions 3 to 4"):
            copy_of(story.database)


@pytest.mark.parametrize("place", [layout.member(1), layout.token(1), layout.VERSION])
def test_records_of_a_form_that_comes_later_are_not_looked_at_first(
    place: bytes,
) -> None:
    """Story: a build that went back met a member with one item more, and died of that
    with a traceback, before it came to the version that explains it.
    """
    story = Story()
    story.all_understand(2)
    story.says(Raise(2))
    story.database.store.flush()
    later = msgspec.msgpack.encode([2, [], "what", ["nobody", "knows"], {}, 5, 6, 7, 8])
    store = story.database.store
    effects = {place: VALUE + later}
    store.write_records(effects, store.applied_index + 1, store.meta)
    store.flush()
    with pytest.raises(NotUnderstood, match="the cluster has version 2"):
        reopened(story.database, story.env)


def test_a_record_that_is_not_understood_though_the_version_is_ends_the_start() -> None:
    story = Story()
    store = story.database.store
    store.flush()
    effects = {layout.member(1): VALUE + msgspec.msgpack.encode([1])}
    store.write_records(effects, store.applied_index + 1, store.meta)
    store.flush()
    with pytest.raises(NotUnderstood, match="a record of members"):
        reopened(story.database, story.env)


def test_a_build_that_meets_a_newer_version_in_the_log_stops_there() -> None:
    """One that went back after it had said that it understands more."""
    story = Story()
    story.all_understand(2)
    story.database.store.flush()
    before = story.database.store.last_index
    old = reopened(story.database, story.env)
    with pytest.raises(NotUnderstood, match="understands version 1"):
        old.apply([told(story.index + 1, Raise(2))])
    assert old.store.last_index == before


def test_a_founded_state_has_nothing_of_versions_in_it() -> None:
    story, other = Story(), Story()
    assert story.says(Raise(2)) == ErrorCode.PRECONDITION_FAILED
    assert other.says(Understand(9, 1, 2)) == ErrorCode.MEMBER_NOT_FOUND
    assert story.record is other.record


def test_each_command_has_a_version_since_which_it_may_be_written() -> None:
    commands: set[object] = set()
    waiting: list[object] = [Command]
    while waiting:
        one = waiting.pop()
        waiting += get_args(one)
        if isinstance(one, type):
            commands.add(one)
    assert commands >= {OpenSession, CloseSession, Raise}
    assert commands == set(SINCE)
    assert set(SINCE.values()) <= set(
        range(versions.UNDERSTOOD.lowest, versions.UNDERSTOOD.highest + 1)
    )


def test_this_build_can_be_part_of_a_cluster_that_it_founds() -> None:
    database: Database = new_database()
    assert database.version in database.understood
    versions.check(database.version, database.understood)
