"""Members and tokens in the state: the same in memory, on the disk and in the hash."""

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.node.database import Database, layout
from quorate.node.database.caretaking import DECISIONS_MAX, CaretakerRecord
from quorate.node.database.member_records import AS_FOUNDED, NOTHING_SAID, digest_of
from quorate.node.database.members import GONE_MAX, MEMBERS_MAX
from quorate.raft import CONFIGURATION, Configuration, Entry, encode_configuration
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    Action,
    Admit,
    Announce,
    Decide,
    DropToken,
    ErrorCode,
    MakeToken,
    MemberCommand,
    MemberRole,
    Present,
    Reassign,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    Step,
    encode_member_command,
)

from .support import (
    BEGIN,
    command,
    copy_of,
    digests_of,
    entry,
    new_database,
    put,
    range_of,
    reopened,
)

IDS = st.integers(1, 6)
TOKENS = st.integers(1, 3)
NAMES = st.sampled_from(["n1", "n2", "n3"])
KEYS = st.sampled_from([b"k" * 32, b"l" * 32])
DIGESTS = st.sampled_from([sha256(b"old").digest(), sha256(b"new").digest()])
PLACE = ("host:1", "http://host:2")
COMMANDS: st.SearchStrategy[MemberCommand] = st.one_of(
    st.builds(
        MakeToken,
        *(TOKENS, st.just(b"d" * 32), st.integers(1, 50), st.integers(1, 2)),
        st.sampled_from([MemberRole.VOTER, MemberRole.REPLICA, MemberRole.SPARE]),
    ),
    st.builds(DropToken, TOKENS),
    st.builds(Admit, TOKENS, IDS, KEYS, NAMES, *map(st.just, PLACE)),
    st.builds(Announce, IDS, NAMES, *map(st.just, PLACE)),
    st.builds(Reassign, IDS, st.sampled_from(MemberRole), st.integers(0, 6)).filter(
        lambda command: command.member != command.successor
    ),
    st.builds(SetCaretaker, st.booleans(), st.sampled_from([None, 1, 3, 5])),
    st.builds(Decide, st.just(Action.REPLACE), IDS, IDS, st.just("why")).filter(
        lambda command: command.member != command.successor
    ),
    st.builds(
        Decide,
        st.sampled_from([Action.PROMOTE, Action.KEEP, Action.MOVE_LEADER]),
        *(IDS, st.just(0), st.just("why")),
    ),
    st.builds(Rotate, st.sampled_from(Step), st.just(b"old"), st.just(b"new")),
    st.builds(Present, IDS, st.just(b"s"), DIGESTS, st.tuples(DIGESTS)),
    st.builds(RevokeCertificate, IDS, st.just(b"")),
    st.builds(RevokeCertificate, st.just(0), st.sampled_from([b"1", b"2"])),
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
    return table.members, table.gone, table.tokens, table.caretaker, table.trust


def sum_of(database: Database) -> int:
    """What the state hash's sum has to be."""
    table = database.member_table
    number = digests_of(database)
    for member, record in [*table.members.items(), *table.gone.items()]:
        number += digest_of(layout.member(member), record)
    for token, known in table.tokens.items():
        number += digest_of(layout.token(token), known)
    if table.caretaker is not NOTHING_SAID:
        number += digest_of(layout.CARETAKER, table.caretaker)
    if table.trust is not AS_FOUNDED:
        number += digest_of(layout.TRUST, table.trust)
    return number % (1 << 128)


@pytest.mark.slow
@settings(max_examples=150)
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
    assert not range_of(database, b"", None, records_max=9, bytes_max=99)[1]


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


# -- the caretaker -----------------------------------------------------------------

VOTER, REPLICA, LEAVING, SPARE = MemberRole
THREE = Configuration((1, 2, 3), (), (4, 5))


def with_spares() -> Database:
    """Members 1 to 3 vote, 4 and 5 are spares."""
    database = new_database()
    said: list[MemberCommand] = [
        *(Announce(member, f"n{member}", *PLACE) for member in (1, 2, 3, 4, 5)),
        *(Reassign(member, SPARE, 0) for member in (4, 5)),
    ]
    entries = [configured(1, THREE)]
    entries += [told(index, each) for index, each in enumerate(said, 2)]
    assert {result.code for result in database.apply(entries)} == {0}
    return database


def codes(database: Database, *said: MemberCommand | Configuration) -> list[int]:
    first = database.applied_index + 1 - BEGIN
    entries = [
        configured(index, each)
        if isinstance(each, Configuration)
        else told(index, each, index)
        for index, each in enumerate(said, first)
    ]
    found = [result.code for result in database.apply(entries)]
    assert database.digest_sum == sum_of(database)
    return found


def roles(database: Database) -> dict[int, tuple[MemberRole | None, int]]:
    members = database.member_table.members
    return {number: (each.role, each.successor) for number, each in members.items()}


REFUSED = ErrorCode.PRECONDITION_FAILED
REPLACE = Decide(Action.REPLACE, 2, 4, "n2 not heard for 61 s, replaced by n4")
KEEP = Decide(Action.KEEP, 2, 0, "n2 is heard again")


def test_a_spare_takes_the_place_of_a_voter_which_becomes_a_spare() -> None:
    database = with_spares()
    assert codes(database, REPLACE) == [0]
    assert roles(database)[2] == (SPARE, 4)
    assert roles(database)[4] == (VOTER, 0)
    joint = Configuration((1, 3, 4), (1, 2, 3), (5,), (2, 5))
    assert codes(database, joint) == [0]
    assert roles(database)[2] == (SPARE, 4)
    assert codes(database, Configuration((1, 3, 4), (), (2, 5))) == [0]
    # Its place is taken: whatever becomes of the successor, that is over.
    assert roles(database)[2] == (SPARE, 0)
    assert codes(database, Reassign(4, LEAVING, 0)) == [0]
    assert codes(database, Configuration((1, 3), (), (2, 5))) == [0]
    assert roles(database)[2] == (SPARE, 0)
    (made,) = database.member_table.caretaker.decisions
    assert (made.action, made.member, made.successor) == (Action.REPLACE, 2, 4)
    assert made.reason == "n2 not heard for 61 s, replaced by n4"


def test_a_decision_is_not_carried_out_once_all_is_different() -> None:
    database = with_spares()
    for said in (
        # Nobody's vote is taken for one who was not meant to vote, or is no member.
        Decide(Action.REPLACE, 2, 3, "why"),
        Decide(Action.REPLACE, 2, 6, "why"),
        Decide(Action.REPLACE, 4, 5, "why"),
        Decide(Action.PROMOTE, 3, 0, "why"),
        Decide(Action.PROMOTE, 6, 0, "why"),
        # Nothing to be undone.
        Decide(Action.KEEP, 4, 0, "why"),
        KEEP,
    ):
        before = roles(database)
        assert codes(database, said) == [REFUSED]
        assert roles(database) == before
    assert database.member_table.caretaker is NOTHING_SAID


def test_who_shall_leave_is_not_kept_by_a_decision_that_came_late() -> None:
    """Story: somebody replaced n2 by n5 while the leader decided on n4. The decision
    was carried out: n5 was a spare again, and n2 stayed.
    """
    database = with_spares()
    late = Decide(Action.REPLACE, 2, 4, "n2 not heard for 61 s, replaced by n4")
    assert codes(database, Reassign(2, LEAVING, 5)) == [0]
    before = roles(database)
    assert before[2] == (LEAVING, 5)
    assert codes(database, late) == [REFUSED]
    assert roles(database) == before


def test_nobody_joins_as_a_first_voter_that_has_not_said_who_it_is() -> None:
    """It would be certified as that one, and the two shut each other out."""
    database = new_database()
    token = MakeToken(9, b"d" * 32, 1000, 2, REPLICA)
    assert codes(database, THREE, token) == [0, 0]
    as_three = Admit(9, 3, b"k" * 32, "n9", *PLACE)
    assert codes(database, as_three) == [ErrorCode.MEMBER_EXISTS]
    assert codes(database, Announce(3, "n3", *PLACE)) == [0]
    assert codes(database, msgspec.structs.replace(as_three, member=9)) == [0]


def test_what_a_paused_caretaker_had_decided_is_not_done() -> None:
    database = with_spares()
    said = (SetCaretaker(paused=True), REPLACE, SetCaretaker(paused=False), REPLACE)
    assert codes(database, *said) == [0, REFUSED, 0, 0]


def test_another_spare_or_nobody_takes_the_place_after_all() -> None:
    database = with_spares()
    other = Decide(Action.REPLACE, 2, 5, "why")
    assert codes(database, REPLACE, other) == [0, 0]
    expected = {1: (VOTER, 0), 2: (SPARE, 5), 3: (VOTER, 0), 4: (SPARE, 0)}
    assert roles(database) == {**expected, 5: (VOTER, 0)}
    assert codes(database, KEEP) == [0]
    assert roles(database) == {**expected, 2: (VOTER, 0), 5: (SPARE, 0)}


def test_who_takes_two_places_gives_one_back() -> None:
    database = with_spares()
    assert codes(database, Reassign(2, LEAVING, 4), Reassign(3, LEAVING, 4)) == [0, 0]
    assert roles(database)[2] == (VOTER, 0)
    assert roles(database)[3] == (LEAVING, 4)


def test_who_shall_not_vote_any_more_takes_nobodys_place() -> None:
    database = with_spares()
    assert codes(database, Reassign(2, LEAVING, 4), Reassign(4, REPLICA, 0)) == [0, 0]
    assert roles(database)[2] == (VOTER, 0)


@pytest.mark.parametrize("member", [2, 5])
def test_who_leaves_together_with_its_successor_is_gone(member: int) -> None:
    """Story: the simulator's model kept the one that it looked at last (seed 11211)."""
    database = with_spares()
    joint = Configuration((1, 3, 4), (1, 2, 3), (5,), (2, 5))
    said = (Reassign(member, LEAVING, 4), joint, Reassign(4, LEAVING, 0))
    assert codes(database, *said) == [0, 0, 0]
    assert roles(database)[member] == (LEAVING, 4)
    rest = {1, 2, 3, 5} - {member}
    votes = tuple(sorted(rest - {5}))
    last = Configuration(votes, (), (5,) if 5 in rest else ())
    assert codes(database, last) == [0]
    assert set(roles(database)) == rest
    assert set(database.member_table.gone) == {4, member}


def test_the_caretaker_is_told_some_things_and_keeps_the_others() -> None:
    database = with_spares()
    said = (SetCaretaker(voters=5, silence_ms=7000), SetCaretaker(lag_ms=0))
    assert codes(database, *said) == [0, 0]
    expected = CaretakerRecord(voters=5, silence_ms=7000, lag_ms=0)
    assert database.member_table.caretaker == expected


def test_the_last_decisions_are_remembered() -> None:
    database = with_spares()
    moves = [Decide(Action.MOVE_LEADER, 1, 0, f"why {n}") for n in range(12)]
    assert set(codes(database, *moves)) == {0}
    kept = [each.reason for each in database.member_table.caretaker.decisions]
    assert kept == [f"why {n}" for n in range(12 - DECISIONS_MAX, 12)]
