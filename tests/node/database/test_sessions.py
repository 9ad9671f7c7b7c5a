"""Sessions: what comes again is answered again, and what is over is refused.

The model beside the database is plain: it remembers every answer for ever, and does
nothing a second time.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from quorate.node.database import Applied, Database, layout, sessions
from quorate.raft import Entry
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    SESSION_IDLE_MS,
    SESSION_REPLY_BYTES_MAX,
    SESSION_SILENT_MS,
    SESSION_WINDOW,
    CloseSession,
    Compare,
    ErrorCode,
    OpenSession,
    Place,
    Relation,
    Target,
    Transaction,
    TxnGet,
    TxnPut,
    decode_session_opened,
    decode_txn_reply,
    encode_delete,
    encode_in_session,
    encode_put,
    encode_session_command,
    encode_transaction,
)

from .support import BEGIN, command, copy_of, new_database, put, reopened

ONE, OTHER = b"1" * 16, b"2" * 16
LOST = Applied(ErrorCode.SESSION_NOT_FOUND, 0, 0)


def opened(index: int, session: bytes = ONE, time_ms: int = 0) -> Entry:
    return command(index, encode_session_command(OpenSession(session)), time_ms=time_ms)


def closed(index: int, since: int, session: bytes = ONE) -> Entry:
    asked = CloseSession(session, BEGIN + since)
    return command(index, encode_session_command(asked))


def said(
    index: int,
    payload: bytes,
    sequence: int,
    lowest: int = 1,
    *,
    since: int = 1,
    session: bytes = ONE,
    time_ms: int = 0,
) -> Entry:
    """`since` as tests count."""
    place = Place(session, BEGIN + since, sequence, lowest)
    return command(index, encode_in_session(place, payload), time_ms=time_ms)


def with_a_session() -> Database:
    database = new_database()
    database.apply([opened(1)])
    return database


def once(database: Database, entry: Entry) -> Applied:
    (result,) = database.apply([entry])
    return result


def get_of(key: bytes) -> bytes:
    return encode_transaction(Transaction((), (TxnGet(key),), ()))


def test_a_number_that_comes_again_gets_its_answer_and_does_nothing() -> None:
    database = with_a_session()
    first = once(database, said(2, encode_put(b"a", b"1"), 1))
    assert first == Applied(0, 2, 1)
    once(database, put(3, b"a", b"of another client"))
    again = once(database, said(4, encode_put(b"a", b"1"), 1))
    assert again == first
    record = database.get(b"a")
    assert record is not None
    assert (record.value, database.revision) == (b"of another client", 3)


def test_what_comes_again_in_the_same_step_is_done_once() -> None:
    database = with_a_session()
    text = encode_transaction(Transaction((), (TxnPut(b"a", b"1"), TxnGet(b"a")), ()))
    first, again = database.apply([said(2, text, 1), said(3, text, 1)])
    assert first == again
    assert decode_txn_reply(again.reply).revision == database.revision == 2


def test_a_refusal_is_an_answer_too() -> None:
    database = with_a_session()
    conditional = encode_put(b"a", b"1", 7)
    first = once(database, said(2, conditional, 1))
    assert first == Applied(ErrorCode.PRECONDITION_FAILED, 0, 0)
    # By now the condition would hold.
    for index in range(3, 9):
        once(database, put(index, b"a", b"x"))
    assert once(database, said(9, conditional, 1)) == first


def test_two_sessions_count_for_themselves() -> None:
    database = with_a_session()
    once(database, opened(2, OTHER))
    once(database, said(3, encode_put(b"a", b"1"), 1))
    result = once(database, said(4, encode_put(b"b", b"1"), 1, since=2, session=OTHER))
    assert result == Applied(0, 3, 1)


@pytest.mark.parametrize(
    "entry",
    [
        said(2, encode_put(b"a", b"1"), 1, session=OTHER),
        said(2, encode_put(b"a", b"1"), 1, since=2),
    ],
    ids=["no such session", "opened at another index"],
)
def test_nothing_is_done_in_a_session_that_is_not_there(entry: Entry) -> None:
    database = with_a_session()
    assert once(database, entry) == LOST
    assert database.keys == 0


def test_a_session_that_was_opened_again_takes_nothing_of_the_one_before() -> None:
    database = with_a_session()
    late = encode_put(b"a", b"late")
    once(database, said(2, late, 1))
    once(database, closed(3, 1))
    once(database, opened(4))
    assert once(database, said(5, late, 1)) == LOST
    assert once(database, said(6, late, 1, since=4)) == Applied(0, 3, 1)


def test_opening_an_open_session_finds_it() -> None:
    database = with_a_session()
    again = once(database, opened(2))
    assert decode_session_opened(again.reply).since == BEGIN + 1


def test_a_late_closing_does_not_close_the_next_session_of_the_id() -> None:
    database = with_a_session()
    once(database, closed(2, 1))
    once(database, opened(3))
    assert once(database, closed(4, 1)) == Applied(0, 1, 0)
    assert once(database, said(5, encode_put(b"a", b"1"), 1, since=3)).code == 0


def test_finished_numbers_are_let_go_of_and_never_done_again() -> None:
    database = with_a_session()
    for number in range(1, 11):
        once(database, said(1 + number, encode_put(b"a", b"%d" % number), number))
    once(database, said(12, encode_put(b"b", b"1"), 12, 11))
    kept = database.session_table.sessions[ONE].kept
    assert list(kept) == [12]
    assert once(database, said(13, encode_put(b"a", b"5"), 5)) == LOST
    # What was never seen, but is finished: its client does not wait any more.
    assert once(database, said(14, encode_put(b"c", b"1"), 10)) == LOST


def test_what_is_kept_stays_within_the_window_however_far_numbers_jump() -> None:
    database = with_a_session()
    index, high = 2, 0
    for high in (1000, 2**40, 2**63, 2**64 - 1):
        for number in range(high, max(0, high - 30), -7):
            place = said(index, encode_put(b"a", b"1"), number, max(1, number - 1023))
            once(database, place)
            index += 1
    session = database.session_table.sessions[ONE]
    assert max(session.kept) == high
    assert max(session.kept) - min(session.kept) < SESSION_WINDOW
    assert session.lowest == high - 1023


def test_a_session_that_was_silent_too_long_is_over() -> None:
    database = with_a_session()
    alive = said(2, encode_put(b"a", b"1"), 1, time_ms=SESSION_IDLE_MS)
    assert once(database, alive).code == 0
    over = said(3, encode_put(b"a", b"2"), 2, time_ms=2 * SESSION_IDLE_MS + 1)
    assert once(database, over) == LOST
    assert not database.session_table.sessions
    assert not list(database.store.scan(*layout.session_bounds()))


def test_an_opening_clears_away_what_is_over() -> None:
    database = with_a_session()
    once(database, said(2, get_of(b"a"), 1))
    once(database, opened(3, OTHER, time_ms=SESSION_IDLE_MS))
    assert set(database.session_table.sessions) == {ONE, OTHER}
    once(database, opened(4, b"3" * 16, time_ms=SESSION_IDLE_MS + 1))
    assert set(database.session_table.sessions) == {OTHER, b"3" * 16}
    assert not list(database.store.scan(layout.REPLY, b"r"))


def test_there_is_an_end_to_the_number_of_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 1)
    database = with_a_session()
    assert once(database, opened(2, OTHER)) == Applied(ErrorCode.TOO_BUSY, 1, 0)
    assert once(database, opened(3)).code == 0
    early = opened(4, OTHER, time_ms=SESSION_SILENT_MS - 1)
    assert once(database, early).code == ErrorCode.TOO_BUSY
    # Whoever was silent for a minute makes room, and opens another one if need be.
    later = opened(5, OTHER, time_ms=SESSION_SILENT_MS)
    assert once(database, later).code == 0
    assert list(database.session_table.sessions) == [OTHER]


@pytest.mark.slow
def test_an_answer_that_is_too_large_to_keep_is_told_as_unknown() -> None:
    database = with_a_session()
    once(database, put(2, b"a", b"x" * (SESSION_REPLY_BYTES_MAX // 2)))
    first, second, third = (
        once(database, said(3 + n, get_of(b"a"), 1 + n)) for n in range(3)
    )
    assert first == second == third
    again = [once(database, said(6 + n, get_of(b"a"), 1 + n)) for n in range(3)]
    lost = Applied(ErrorCode.UNKNOWN_OUTCOME, first.revision, 0)
    assert again == [first, lost, lost]
    # Once the first is finished there is room again.
    once(database, said(9, get_of(b"a"), 4, 2))
    assert once(database, said(10, get_of(b"a"), 4, 2)).reply == first.reply


def test_a_copy_and_a_reopened_store_answer_again() -> None:
    env = MemoryEnv()
    database = new_database(env=env)
    text = encode_transaction(
        Transaction(
            (Compare(b"a", Target.VERSION, Relation.EQUAL, 0),),
            (TxnPut(b"a", b"1"),),
            (),
        )
    )
    database.apply([opened(1), said(2, text, 1), said(3, encode_delete(b"a"), 2)])
    answers = database.apply([said(4, text, 1), said(5, encode_delete(b"a"), 2)])
    copy = copy_of(database)
    database.store.flush()
    for other in (copy, reopened(database, env)):
        assert other.state_hash() == database.state_hash()
        again = [said(6, text, 1), said(7, encode_delete(b"a"), 2)]
        assert other.apply(again) == answers


def test_damaged_sessions_condemn_the_store() -> None:
    env = MemoryEnv()
    database = new_database(env=env)
    database.apply([opened(1), put(2, b"a", b"x" * 500)])
    database.store.flush()
    (path,) = [
        f"/engine/{name}" for name in env.list("/engine") if name.endswith(".sst")
    ][-1:]
    env.flip_bit(path, 30, 3)
    again = reopened(database, env)
    assert isinstance(again.store.damage, CorruptionError)
    assert again.session_table.sessions == {}


PAYLOADS = (
    encode_put(b"a", b"1"),
    encode_put(b"a", b"2", 3),
    encode_delete(b"a"),
    get_of(b"a"),
)


@pytest.mark.parametrize("cut", range(6))
@pytest.mark.parametrize("restarts", [False, True])
def test_which_session_makes_room_depends_on_nothing_but_the_log(
    monkeypatch: pytest.MonkeyPatch, cut: int, restarts: bool
) -> None:
    """Story: of several that were silent for as long, the one that stood first went.
    How they stood depended on where a step ended, and on restarts: replicas differed.
    """
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 3)
    third, last = b"3" * 16, b"4" * 16
    entries = [
        opened(1, OTHER),
        opened(2, ONE),
        said(3, encode_put(b"k", b"v"), 1, session=OTHER),
        opened(4, third, 1),
        opened(5, last, SESSION_SILENT_MS),
    ]
    whole = new_database()
    whole.apply(entries)
    # The one that was opened first.
    assert set(whole.session_table.sessions) == {ONE, third, last}
    env = MemoryEnv()
    other = new_database(env=env)
    other.apply(entries[:cut])
    if restarts:
        other.store.flush()
        other = reopened(other, env)
    other.apply(entries[cut:])
    assert other.state_hash() == whole.state_hash()
    assert set(other.session_table.sessions) == set(whole.session_table.sessions)


class SessionsMachine(RuleBasedStateMachine):
    """One client sends, sends again, finishes; steps, copies and reopenings between."""

    def __init__(self) -> None:
        super().__init__()
        self.env = MemoryEnv()
        self.database = new_database(env=self.env)
        self.index = 0
        self.time_ms = 0
        self.since: dict[bytes, int] = {}
        self.active: dict[bytes, int] = {}
        self.lowest: dict[bytes, int] = {}
        self.answers: dict[tuple[int, int], Applied] = {}
        self.waiting: list[Entry] = []

    def _entry(self, payload: bytes) -> Entry:
        self.index += 1
        return command(self.index, payload, time_ms=self.time_ms)

    @rule(session=st.sampled_from([ONE, OTHER]))
    def open(self, session: bytes) -> None:
        result = once(self.database, self._entry(_opening(session)))
        self._end_idle()
        if session not in self.since:
            self.since[session] = BEGIN + self.index
            self.lowest[session] = 1
        self.active[session] = self.time_ms
        assert decode_session_opened(result.reply).since == self.since[session]

    @rule(session=st.sampled_from([ONE, OTHER]), late=st.integers(0, 2))
    def close(self, session: bytes, late: int) -> None:
        since = self.since.get(session, 1) + late
        payload = encode_session_command(CloseSession(session, since))
        once(self.database, self._entry(payload))
        if self.since.get(session) == since:
            self._forget(session)

    @rule(ms=st.sampled_from([1, SESSION_IDLE_MS // 2, SESSION_IDLE_MS + 1]))
    def wait(self, ms: int) -> None:
        self.time_ms += ms

    @rule(
        session=st.sampled_from([ONE, OTHER]),
        sequence=st.integers(1, 8),
        unfinished=st.integers(0, 7),
        late=st.sampled_from([0, 0, 0, 1]),
        payload=st.sampled_from(PAYLOADS),
    )
    def say(
        self, session: bytes, sequence: int, unfinished: int, late: int, payload: bytes
    ) -> None:
        since = self.since.get(session, 1) + late
        lowest = max(1, sequence - unfinished)
        place = Place(session, since, sequence, lowest)
        before = self.database.revision
        entry = self._entry(encode_in_session(place, payload))
        result = once(self.database, entry)
        self._end_one(session)
        if self.since.get(session) != since or sequence < self.lowest[session]:
            assert result == LOST
            assert self.database.revision == before
            return
        self.active[session] = self.time_ms
        self.lowest[session] = max(lowest, self.lowest[session])
        known = self.answers.setdefault((since, sequence), result)
        assert result == known
        if result is not known:
            assert self.database.revision == before

    @rule(copies=st.booleans())
    def move(self, copies: bool) -> None:
        if copies:
            self.env = MemoryEnv()
            moved = copy_of(self.database, self.env)
        else:
            self.database.store.flush()
            moved = reopened(self.database, self.env)
        assert moved.state_hash() == self.database.state_hash()
        self.database = moved

    def _end_idle(self) -> None:
        for session in list(self.since):
            self._end_one(session)

    def _end_one(self, session: bytes) -> None:
        if session in self.since:
            silent = self.time_ms - self.active[session]
            if silent > SESSION_IDLE_MS:
                self._forget(session)

    def _forget(self, session: bytes) -> None:
        del self.since[session], self.active[session], self.lowest[session]

    @invariant()
    def only_what_is_kept_is_stored(self) -> None:
        table = self.database.session_table
        stored = [at for at, _ in self.database.store.scan(layout.REPLY, b"r")]
        wanted = [
            layout.session_reply(number, sequence)
            for number, session in table.sessions.items()
            for sequence in session.bodies
        ]
        assert stored == sorted(wanted)


def _opening(session: bytes) -> bytes:
    return encode_session_command(OpenSession(session))


SessionsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestSessions = pytest.mark.slow(SessionsMachine.TestCase)
