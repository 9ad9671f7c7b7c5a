"""Sessions: what makes a write that is sent again happen once; as values and bytes.

Law: as for all commands, one encoding each. A session is known by 16 secret bytes, its
client's choice, and by the index of the entry that opened it: one that is opened again
under the same bytes is another one, and takes nothing that was meant for the first.
A command in a session has a number there, and says which numbers are finished.
"""

import struct
from typing import Final

import msgspec

from .errors import CommandRefused, ProtocolError

IN_SESSION, OPEN_SESSION, CLOSE_SESSION = range(20, 23)
SESSION_OPS: Final = (OPEN_SESSION, CLOSE_SESSION)
SESSION_ID_BYTES: Final = 16
# A session takes no number that is so far, or farther, above its lowest unfinished one.
SESSION_WINDOW: Final = 1024
# What the answers that it keeps may have together, beside their numbers.
SESSION_REPLY_BYTES_MAX: Final = 1024 * 1024
# So many there may be at once, and so long one lives after its last command.
SESSIONS_MAX: Final = 16_384
SESSION_IDLE_MS: Final = 900_000
# When there are so many: the one that was silent longest makes room after this.
SESSION_SILENT_MS: Final = 60_000

_HEAD: Final = struct.Struct("<BBHI")
_IN_SESSION: Final = struct.Struct("<BBHI16sQQ")
_CLOSE: Final = struct.Struct("<BBHI16sQ")
_OPENED: Final = struct.Struct("<QQ")
IN_SESSION_HEAD_BYTES: Final = _IN_SESSION.size
_NOBODY: Final = bytes(SESSION_ID_BYTES)
_unpack_from = _IN_SESSION.unpack_from


class Place(msgspec.Struct, frozen=True, gc=False):
    """Which number of which session a command is; all below `lowest` are finished.

    `since` is the index of the entry that opened the session.
    """

    session: bytes
    since: int
    sequence: int
    lowest: int


class OpenSession(msgspec.Struct, frozen=True, gc=False):
    """Begin a session; one that is open already is the same one."""

    session: bytes


class CloseSession(msgspec.Struct, frozen=True, gc=False):
    """End a session, if it is there."""

    session: bytes
    since: int


class SessionOpened(msgspec.Struct, frozen=True, gc=False):
    """It is open since this index of the log."""

    revision: int
    since: int


def encode_in_session(place: Place, command: bytes) -> bytes:
    """The bytes of `command` in a session."""
    unfinished = place.sequence - place.lowest
    _check(place.session, place.since, place.sequence)
    if not 0 <= unfinished < SESSION_WINDOW or not place.lowest:
        raise CommandRefused(f"{unfinished} numbers of a session are unfinished")
    head = _IN_SESSION.pack(
        IN_SESSION, 0, unfinished, 0, place.session, place.since, place.sequence
    )
    return head + command


def decode_place(data: bytes) -> Place:
    """Where the command that begins at IN_SESSION_HEAD_BYTES of `data` belongs."""
    if len(data) < IN_SESSION_HEAD_BYTES:
        raise CommandRefused(f"a command in a session of {len(data)} bytes is cut off")
    _, zero, unfinished, zeros, session, since, sequence = _unpack_from(data)
    if zero or zeros:
        raise CommandRefused("a reserved field of a command in a session is not zero")
    if session == _NOBODY or not since or not sequence:
        _check(session, since, sequence)
    if unfinished >= SESSION_WINDOW or unfinished >= sequence:
        raise CommandRefused(f"{unfinished} numbers of a session are unfinished")
    return Place(session, since, sequence, sequence - unfinished)


def encode_session_command(command: OpenSession | CloseSession) -> bytes:
    """The bytes of what opens or closes a session."""
    match command:
        case OpenSession(session):
            _check(session, 1, 1)
            return _HEAD.pack(OPEN_SESSION, 0, 0, 0) + session
        case CloseSession(session, since):
            _check(session, since, 1)
            return _CLOSE.pack(CLOSE_SESSION, 0, 0, 0, session, since)


def decode_session_command(data: bytes) -> OpenSession | CloseSession:
    """The command in `data`, whose first byte is one of SESSION_OPS."""
    opens = data[0] == OPEN_SESSION
    if len(data) != (_HEAD.size + SESSION_ID_BYTES if opens else _CLOSE.size):
        raise CommandRefused(f"a session's command has {len(data)} bytes")
    if any(data[1 : _HEAD.size]):
        raise CommandRefused("a reserved field of a session's command is not zero")
    if opens:
        session = data[_HEAD.size :]
        _check(session, 1, 1)
        return OpenSession(session)
    _, _, _, _, session, since = _CLOSE.unpack(data)
    _check(session, since, 1)
    return CloseSession(session, since)


def encode_session_opened(revision: int, since: int) -> bytes:
    """The body of the reply to an opening."""
    return _OPENED.pack(revision, since)


def decode_session_opened(data: bytes) -> SessionOpened:
    """The opening's reply in `data`."""
    if len(data) != _OPENED.size:
        raise ProtocolError(f"the reply to a session's opening has {len(data)} bytes")
    return SessionOpened(*_OPENED.unpack(data))


def _check(session: bytes, since: int, sequence: int) -> None:
    if len(session) != SESSION_ID_BYTES or not any(session):
        raise CommandRefused("a session's id is 16 bytes, not all of them zero")
    if not 0 < since < 1 << 64 or not 0 < sequence < 1 << 64:
        raise CommandRefused("a session's index and numbers begin at 1")
