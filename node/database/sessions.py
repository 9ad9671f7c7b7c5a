"""Sessions as the log makes them: what was done in each, and what was answered.

Law: no time in here but cluster time, and no effect is had twice: a number of a session
is carried out once and its answer kept until the client has said that it is finished
(I-55). Who is not known is refused, never taken for new. What a session remembers
enters the store once a step, whole; answers with a body have a place of their own.
"""

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from ...storage.engine import Engine
from ...storage.errors import CorruptionError
from ...wire import (
    SESSION_REPLY_BYTES_MAX,
    SESSION_SILENT_MS,
    SESSIONS_MAX,
    ErrorCode,
    Place,
)
from . import layout, rules
from .applied import Applied
from .leases import Effects

_HEAD: Final = struct.Struct("<QQQI")
_KEPT: Final = struct.Struct("<QHQIII")
_MODULUS: Final = 1 << 128
# In place of the length of an answer that there was no room for.
_LOST: Final = (1 << 32) - 1


class Kept(NamedTuple):
    """What was answered; `size` bytes of it, with this checksum, stand elsewhere."""

    code: int
    revision: int
    keys: int
    size: int
    checksum: int


class Session(msgspec.Struct):
    """Numbers below `lowest` are finished; `since` is the index that opened it."""

    since: int
    active_ms: int
    lowest: int
    kept: dict[int, Kept]
    kept_bytes: int = 0
    digest: int = 0


class SessionTable:
    """All sessions of one database, in memory, beside what its store has of them."""

    def __init__(self, store: Engine) -> None:
        self.store = store
        # In the order of their last commands.
        self.sessions: dict[bytes, Session] = {}
        # Of this step, and so not in the store yet.
        self._changed: dict[bytes, None] = {}
        # What the state hash has of them.
        self.digest_sum = 0
        if store.damage is None and rules.reads_sessions_back():
            self._load()

    def _load(self) -> None:
        try:
            for at, data in self.store.scan(*layout.session_bounds()):
                number = layout.session_of(at)
                self.sessions[number] = _decoded(number, data)
        except CorruptionError as damage:
            # As everywhere: the replica sees it and heals, or ends.
            self.sessions.clear()
            self.store.condemn(damage)
        order = sorted(self.sessions.items(), key=lambda each: each[1].active_ms)
        self.sessions = dict(order)
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
            session = Session(index, now_ms, 1, {})
        self._touch(number, session, now_ms)
        return session.since

    def close(self, number: bytes, since: int, effects: Effects) -> None:
        """End a session, if it is the one that was opened then."""
        session = self.sessions.get(number)
        if session is not None and rules.same_session(session.since, since):
            self._end(number, session, effects)

    def answered(self, place: Place, now_ms: int, effects: Effects) -> Applied | None:
        """The answer that there is without doing anything; None: do it."""
        session = self.sessions.get(place.session)
        if session is None or not rules.same_session(session.since, place.since):
            return Applied(ErrorCode.SESSION_NOT_FOUND, 0, 0)
        if rules.session_is_over(session.active_ms, now_ms):
            self._end(place.session, session, effects)
            return Applied(ErrorCode.SESSION_NOT_FOUND, 0, 0)
        if rules.number_is_finished(place.sequence, session.lowest):
            return Applied(ErrorCode.SESSION_NOT_FOUND, 0, 0)
        self._touch(place.session, session, now_ms)
        self._finish(place.session, session, place.lowest, effects)
        kept = session.kept.get(place.sequence)
        if kept is None or not rules.done_once():
            return None
        return self._again(place, kept, effects)

    def done(self, place: Place, result: Applied, effects: Effects) -> None:
        """Keep what a command was answered."""
        session = self.sessions[place.session]
        size, checksum = len(result.reply), 0
        if size and session.kept_bytes + size > SESSION_REPLY_BYTES_MAX:
            size = _LOST
        elif size:
            effects[layout.session_reply(place.session, place.sequence)] = result.reply
            session.kept_bytes += size
            checksum = crc32(result.reply)
        session.kept[place.sequence] = Kept(
            result.code, result.revision, result.count, size, checksum
        )

    def _again(self, place: Place, kept: Kept, effects: Effects) -> Applied:
        if kept.size == _LOST:
            return Applied(ErrorCode.UNKNOWN_OUTCOME, kept.revision, 0)
        body = b""
        if kept.size:
            at = layout.session_reply(place.session, place.sequence)
            found = effects[at] if at in effects else self.store.get(at)
            assert found is not None, "what is kept is there"
            body = found
        return Applied(kept.code, kept.revision, kept.keys, body)

    # -- what is remembered ------------------------------------------------------------

    def written(self, effects: Effects) -> None:
        """The step is over: what it changed enters the store with it."""
        if not self._changed:
            return
        for number in self._changed:
            session = self.sessions.get(number)
            if session is not None:
                data = _encoded(session)
                effects[layout.session(number)] = data
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
        if lowest <= session.lowest:
            return
        kept: Iterator[int] = iter(range(session.lowest, lowest))
        if lowest - session.lowest > len(session.kept):
            kept = iter([each for each in session.kept if each < lowest])
        for sequence in kept:
            self._let_go(number, session, sequence, effects)
        session.lowest = lowest

    def _let_go(
        self, number: bytes, session: Session, sequence: int, effects: Effects
    ) -> None:
        gone = session.kept.pop(sequence, None)
        if gone is not None and gone.size not in (0, _LOST):
            effects[layout.session_reply(number, sequence)] = None
            session.kept_bytes -= gone.size

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
        number, session = next(iter(self.sessions.items()))
        if now_ms - session.active_ms < SESSION_SILENT_MS:
            return False
        self._end(number, session, effects)
        return True

    def _end(self, number: bytes, session: Session, effects: Effects) -> None:
        for sequence in list(session.kept):
            self._let_go(number, session, sequence, effects)
        effects[layout.session(number)] = None
        self.digest_sum = (self.digest_sum - session.digest) % _MODULUS
        del self.sessions[number]


def _encoded(session: Session) -> bytes:
    head = _HEAD.pack(
        session.since, session.active_ms, session.lowest, len(session.kept)
    )
    return head + b"".join(
        [_KEPT.pack(sequence, *kept) for sequence, kept in session.kept.items()]
    )


def _decoded(number: bytes, data: bytes) -> Session:
    since, active_ms, lowest, count = _HEAD.unpack_from(data)
    assert len(data) == _HEAD.size + count * _KEPT.size
    rows = _KEPT.iter_unpack(data[_HEAD.size :])
    kept = {sequence: Kept(*rest) for sequence, *rest in rows}
    stored = sum(each.size for each in kept.values() if each.size != _LOST)
    digest = _digest(number, data)
    return Session(since, active_ms, lowest, kept, stored, digest)


def _digest(number: bytes, data: bytes) -> int:
    """A 128-bit number of everything that a session is."""
    hashed = blake2b(b"session" + number + data, digest_size=16)
    return int.from_bytes(hashed.digest(), "little")
