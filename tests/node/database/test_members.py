"""Members and tokens in the state: the same in memory, on the disk and in the hash."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.node.database import Database, layout
from quorate.node.database.members import GONE_MAX, MEMBERS_MAX, digest_of
from quorate.raft import CONFIGURATION, Configuration, Entry, encode_configuration
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    Admit,
    Announce,
    DropToken,
    ErrorCode,
    MakeToken,
    MemberCommand,
    MemberRole,
    Reassign,
    encode_member_command,
)

from .support import (
    command,
    copy_of,
    digests_of,
    entry,
    new_database,
    put,
    reopened,
)

IDS = st.integers(1, 6)
TOKENS = st.integers(1, 3)
NAMES = st.sampled_from(["n1", "n2", "n3"])
KEYS = st.sampled_from([b"k" * 32, b"l" * 32])
PLACE = ("host:1", "http://host:2")
COMMANDS: st.SearchStrategy[MemberCommand] = st.one_of(
    st.builds(
        MakeToken,
        *(TOKENS, st.just(b"d" * 32), st.integers(1, 50), st.integers(1, 2)),
        st.sampled_from([MemberRole.VOTER, MemberRole.REPLICA]),
    ),
    st.builds(DropToken, TOKENS),
    st.builds(Admit, TOKENS, IDS, KEYS, NAMES, *map(st.just, PLACE)),
    st.builds(Announce, IDS, NAMES, *map(st.just, PLACE)),
    st.builds(Reassign, IDS, st.sampled_from(MemberRole), st.integers(0, 6)).filter(
        lambda command: command.member != command.successor
    ),
)


def _configuration(voters: frozenset[int], learners: frozenset[int]) -> Configuration:
    return Configuration(tuple(sorted(voters)), (), tuple(sorted(learners - voters)))


CONFIGURATIONS = st.builds(
    _configuration, st.frozensets(IDS, min_size=1), st.frozensets(IDS)
)


def told(index: int, said: MemberCommand, time_ms: int = 0) -> Entry:
    return command(index, encode_member_command(said), time_ms=time_ms)


def configured(index: int, configuration: Configuration) -> Entry:
    return entry(index, 1, CONFIGURATION, encode_configuration(configuration))


def tables_of(database: Database) -> tuple[object, ...]:
    table = database.member_table
    return table.members, table.gone, table.tokens


def sum_of(database: Database) -> int:
    """What the state hash's sum has to be."""
    table = database.member_table
    number = digests_of(database)
    for member, record in [*table.members.items(), *table.gone.items()]:
        number += digest_of(layout.member(member), record)
    for token, known in table.tokens.items():
        number += digest_of(layout.token(token), known)
    return number % (1 << 128)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.lists(COMMANDS | CONFIGURATIONS, max_size=40), st.data())
def test_what_is_in_memory_is_what_is_stored_and_hashed(
    steps: list[MemberCommand | Configuration], data: st.DataObject
) -> None:
    env = MemoryEnv()
    database = new_database(env=env)
    entries = [
        configured(index, step)
        if isinstance(step, Configuration)
        else told(index, step, index)
        for index, step in enumerate(steps, 1)
    ]
    cut = data.draw(st.integers(0, len(entries)))
    database.apply(entries[:cut])
    database.apply(entries[cut:])
    assert database.digest_sum == sum_of(database)
    names = [record.name for record in database.member_table.members.values()]
    assert len(names) == len(set(names))
    assert not set(database.member_table.members) & set(database.member_table.gone)
    for other in (copy_of(database), reopened(database, env)):
        if other.applied_index == database.applied_index:
            assert tables_of(other) == tables_of(database)
            assert other.state_hash() == database.state_hash()


def test_members_and_keys_share_one_state() -> None:
    database = new_database()
    database.apply([told(1, Announce(1, "n1", *PLACE)), put(2, b"a", b"b")])
    assert database.digest_sum == sum_of(database)
    assert database.get(b"a") is not None
    assert not database.range(b"", None, records_max=9, bytes_max=99)[1]


def test_the_cluster_has_a_size_that_it_does_not_exceed() -> None:
    database = new_database()
    token = MakeToken(1, b"d" * 32, 1000, 100, MemberRole.REPLICA)
    entries = [told(1, token)]
    for number in range(MEMBERS_MAX + 1):
        admit = Admit(1, 10 + number, b"k" * 32, f"m{number}", *PLACE)
        entries.append(told(2 + number, admit))
    results = database.apply(entries)
    assert [result.code for result in results[:-1]] == [0] * (MEMBERS_MAX + 1)
    assert results[-1].code == ErrorCode.TOO_MANY_MEMBERS


@pytest.mark.slow
def test_of_those_who_left_the_last_are_remembered() -> None:
    database = new_database()
    index = 0
    for number in range(GONE_MAX + 2):
        member = 10 + number
        token = MakeToken(1, b"d" * 32, 1000, 1, MemberRole.REPLICA)
        admit = Admit(1, member, b"k" * 32, "m", *PLACE)
        leaves = Reassign(member, MemberRole.LEAVING, 0)
        entries = [
            told(index + each, said)
            for each, said in enumerate((token, admit, leaves), 1)
        ]
        index += 3
        assert {result.code for result in database.apply(entries)} == {0}
    gone = database.member_table.gone
    assert len(gone) == GONE_MAX
    assert min(gone) == 12
    assert database.digest_sum == sum_of(database)
