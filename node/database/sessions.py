"""Sessions as the log makes them: what was done in each, and what was answered.

Law: no time in here but cluster time, and no effect is had twice: a number of a session
is carried out once and its answer kept until the client has said that it is finished
(I-55). Who is not known is refused, never taken for new. What a session remembers
enters the store once a step, whole; answers with a body have a place of their own.
"""

import struct
from hashlib import blake2b
from itertools import takewhile
from typing import Final
from zlib import crc32

import msgspec

from ...storage.engine import TOMBSTONE, VALUE, Engine
from ...wire import (
    SESSION_REPLY_BYTES_MAX,
    SESSION_SILENT_MS,
    SESSIONS_MAX,
    ErrorCode,
    Place,
)
from . import layout, rules
from .applied import Applied
from .before import record_of
from .leases import Effects

_HEAD: Final = struct.Struct("<QQQI")
_KEPT: Final = struct.Struct("<QHQIII")
_MODULUS: Final = 1 << 128
_pack: Final = _KEPT.pack
_NOT_FOUND: Final = Applied(ErrorCode.SESSION_NOT_FOUND, 0, 0)
# In place of the length of an answer that there was no room for.
_LOST: Final = (1 << 32) - 1


class Session(msgspec.Struct):
    """Numbers below `lowest` are finished; `since` is the index that opened it.

    `kept` has what was answered to each number, as it is stored; `bodies` the sizes of
    those that stand elsewhere.
    """

    since: int
    active_ms: int
    lowest: int
    kept: dict[int, bytes]
    bodies: dict[int, int]
    bodies_bytes: int = 0
    digest: int = 0


class SessionTable:
    """All sessions of one database, in memory, beside what its store has of them.

    `sessions`: those that the store has, in the order of their last commands' times.
    """

    def __init__(self, store: Engine, sessions: dict[bytes, Session]) -> None:
        self.store = store
        self.sessions = sessions if rules.reads_sessions_back() else {}
        # Of this step, and so not in the store yet.
        self._changed: dict[bytes, None] = {}
        # What the state hash has of them.
        total = sum(session.digest for session in self.sessions.values())
        self.digest_sum = total % _MODULUS

    # -- commands ----------------------------------------------------------------------

    def open(
        self, number: bytes, index: int, now_ms: int, effects: Effects
    ) -> int | None:
        """Since when it is open: now, or the one that is there. None: too many are."""
        self._end_idle(now_ms, effects)
        session = self.sessions.get(number)
        if session is None:
            if not self._has_room(now_ms, effects):
                return None
            session = Session(index, now_ms, 1, {}, {})
        self._touch(number, session, now_ms)
        return session.since

    def close(self, number: bytes, since: int, effects: Effects) -> None:
        """End a session, if it is the one that was opened then."""
        session = self.sessions.get(number)
        if session is not None and rules.same_session(session.since, since):
            self._end(number, session, effects)

    def answered(self, place: Place, now_ms: int, effects: Effects) -> Applied | None:
        """The answer that there is without doing anything; None: do it."""
        number, sequence = place.session, place.sequence
        session = self.sessions.get(number)
        if session is None or not rules.same_session(session.since, place.since):
            return _NOT_FOUND
        if rules.session_is_over(session.active_ms, now_ms):
            self._end(number, session, effects)
            return _NOT_FOUND
        if rules.number_is_finished(sequence, session.lowest):
            return _NOT_FOUND
        if number not in self._changed or session.active_ms != now_ms:
            self._touch(number, session, now_ms)
        if place.lowest > session.lowest:
            self._finish(number, session, place.lowest, effects)
        kept = session.kept.get(sequence)
        if kept is None or not rules.done_once():
            return None
        return self._again(place, kept, effects)

    def done(self, place: Place, result: Applied, effects: Effects) -> None:
        """Keep what a command was answered."""
        session, reply = self.sessions[place.session], result.reply
        size = checksum = 0
        if reply:
            size, checksum = len(reply), crc32(reply)
            if session.bodies_bytes + size > SESSION_REPLY_BYTES_MAX:
                size = _LOST
            else:
                at = layout.session_reply(place.session, place.sequence)
                effects[at] = VALUE + reply
                session.bodies[place.sequence] = size
                session.bodies_bytes += size
        session.kept[place.sequence] = _pack(
            place.sequence, result.code, result.revision, result.count, size, checksum
        )

    def _again(self, place: Place, kept: bytes, effects: Effects) -> Applied:
        _, code, revision, count, size, _ = _KEPT.unpack(kept)
        if size == _LOST:
            return Applied(ErrorCode.UNKNOWN_OUTCOME, revision, 0)
        body = b""
        if size:
            at = layout.session_reply(place.session, place.sequence)
            found = record_of(at, effects, self.store)
            assert found is not None, "what is kept is there"
            body = found[1:]
        return Applied(code, revision, count, body)

    # -- what is remembered ------------------------------------------------------------

    def written(self, effects: Effects) -> None:
        """The step is over: what it changed enters the store with it."""
        if not self._changed:
            return
        for number in self._changed:
            session = self.sessions.get(number)
            if session is not None:
                data = _encoded(session)
                effects[layout.session(number)] = VALUE + data
                digest = _digest(number, data)
                self.digest_sum += digest - session.digest
                session.digest = digest
        self.digest_sum %= _MODULUS
        self._changed = {}

    def forget_all(self, effects: Effects) -> None:
        """Nobody who holds one of them is a client of what this becomes."""
        for number, session in list(self.sessions.items()):
            self._end(number, session, effects)

    def _touch(self, number: bytes, session: Session, now_ms: int) -> None:
        session.active_ms = now_ms
        self.sessions.pop(number, None)
        self.sessions[number] = session
        self._changed[number] = None

    def _finish(
        self, number: bytes, session: Session, lowest: int, effects: Effects
    ) -> None:
        """Let go of the answers below `lowest`."""
        kept = session.kept
        if lowest - session.lowest > len(kept):
            session.kept = {n: told for n, told in kept.items() if n >= lowest}
        else:
            for sequence in range(session.lowest, lowest):
                kept.pop(sequence, None)
        session.lowest = lowest
        if session.bodies:
            for sequence in [n for n in session.bodies if n < lowest]:
                self._let_go(number, session, sequence, effects)

    def _let_go(
        self, number: bytes, session: Session, sequence: int, effects: Effects
    ) -> None:
        session.bodies_bytes -= session.bodies.pop(sequence)
        effects[layout.session_reply(number, sequence)] = TOMBSTONE

    def _end_idle(self, now_ms: int, effects: Effects) -> None:
        while self.sessions:
            number, session = next(iter(self.sessions.items()))
            if not rules.session_is_over(session.active_ms, now_ms):
                return
            self._end(number, session, effects)

    def _has_room(self, now_ms: int, effects: Effects) -> bool:
        """For one more; if need be, the one that was silent longest goes."""
        if len(self.sessions) < SESSIONS_MAX:
            return True
        longest = next(iter(self.sessions.values())).active_ms
        if now_ms - longest < SESSION_SILENT_MS:
            return False
        # Which of several stands first depends on how entries were cut into steps, and
        # on restarts: the one that was opened first goes, on all replicas.
        alike = takewhile(
            lambda each: each[1].active_ms == longest, self.sessions.items()
        )
        number, session = min(alike, key=lambda each: each[1].since)
        self._end(number, session, effects)
        return True

    def _end(self, number: bytes, session: Session, effects: Effects) -> None:
        for sequence in list(session.bodies):
            self._let_go(number, session, sequence, effects)
        effects[layout.session(number)] = TOMBSTONE
        self.digest_sum = (self.digest_sum - session.digest) % _MODULUS
        del self.sessions[number]


def _encoded(session: Session) -> bytes:
    kept = session.kept
    head = _HEAD.pack(session.since, session.active_ms, session.lowest, len(kept))
    return head + b"".join(kept.values())


def decode_session(number: bytes, data: bytes) -> Session:
    """What the store has of one, but for the bodies of its answers."""
    since, active_ms, lowest, count = _HEAD.unpack_from(data)
    assert len(data) == _HEAD.size + count * _KEPT.size
    kept: dict[int, bytes] = {}
    bodies: dict[int, int] = {}
    for at in range(_HEAD.size, len(data), _KEPT.size):
        told = data[at : at + _KEPT.size]
        sequence, *_, size, _ = _KEPT.unpack(told)
        kept[sequence] = told
        if size not in (0, _LOST):
            bodies[sequence] = size
    stored, digest = sum(bodies.values()), _digest(number, data)
    return Session(since, active_ms, lowest, kept, bodies, stored, digest)


def _digest(number: bytes, data: bytes) -> int:
    """A 128-bit number of everything that a session is."""
    hashed = blake2b(b"session" + number + data, digest_size=16)
    return int.from_bytes(hashed.digest(), "little")
