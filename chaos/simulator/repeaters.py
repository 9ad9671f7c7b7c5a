"""Clients with sessions, which send what they ask for again and again.

Law: a repeater sends copies of a command through any nodes, at any time, also after it
was answered, after it was finished, and after its session was closed and opened again.
Every answer to one command that comes from the log has to be the same to the byte, also
that it was refused there, and has to be what the log made of it. An error that may be
tried again comes from nodes that put nothing into the log, and says nothing of that.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from ...wire import (
    CloseSession,
    ErrorCode,
    ErrorReply,
    OpenSession,
    Outcome,
    Place,
    RequestKind,
    Transaction,
    TxnGet,
    TxnPut,
    TxnReply,
    decode_session_opened,
    decode_txn_reply,
    decode_write_reply,
    encode_delete,
    encode_in_session,
    encode_put,
    encode_session_command,
    encode_transaction,
)
from .asking import Asker
from .checkers.book import Book
from .checkers.model import REPEATED
from .checkers.session_model import Came
from .node import Node
from .shape import Shape
from .world import MILLISECOND, World

_KEYS: Final = 3
_UNFINISHED_MAX: Final = 5
_OLD_MAX: Final = 12
_SOON_US: Final = 400 * MILLISECOND
# Of what is done next: a copy, or the end of the session; else something new.
_COPIES: Final = 0.5
_ENDS: Final = 0.03

What: TypeAlias = Literal["put", "condition", "delete", "pair", "open", "close"]


class Said(msgspec.Struct):
    """A command, where it belongs, and what it was answered first."""

    what: What
    place: Place
    body: bytes
    value: bytes
    finished: bool = False
    answer: bytes | ErrorReply | None = None


class Repeater(Asker[Said]):
    """One client with one session at a time."""

    def __init__(
        self, world: World, number: int, nodes: list[Node], shape: Shape, book: Book
    ) -> None:
        super().__init__(world, f"r{number}", nodes, shape)
        self.book = book
        self.again = 0
        # One id for all its sessions: only the index of their opening tells them apart.
        self.session = b"session " + number.to_bytes(8, "big")
        self.since = 0
        # The last one that was closed was open since then.
        self.over = 0
        self.closing = False
        self.sequence = 0
        self.unfinished: dict[int, Said] = {}
        self.old: list[Said] = []
        self.revision = 0

    def _next(self) -> None:
        if self.stopped:
            return
        world = self.world
        world.at(self.pause_us // 3 + world.below(self.pause_us), self._next)
        if not self.since or self.closing:
            self._send(self._session_command())
        elif world.chance(_ENDS):
            self.closing = True
        elif world.chance(_COPIES) and (self.unfinished or self.old):
            self._send(world.random.choice([*self.unfinished.values(), *self.old]))
        elif len(self.unfinished) < _UNFINISHED_MAX:
            self._send_copies(self._new())
        else:
            self._finish(world.random.choice(list(self.unfinished.values())))

    def _session_command(self) -> Said:
        place = Place(self.session, self.since, 0, 0)
        if self.closing:
            body = encode_session_command(CloseSession(self.session, self.since))
            return Said("close", place, body, b"")
        body = encode_session_command(OpenSession(self.session))
        return Said("open", place, body, b"")

    # -- what it says ------------------------------------------------------------------

    def _new(self) -> Said:
        world = self.world
        self.sequence += 1
        lowest = min(self.unfinished, default=self.sequence)
        place = Place(self.session, self.since, self.sequence, lowest)
        value = b"%s-%d-%d" % (self.name.encode(), self.since, self.sequence)
        key = REPEATED + b"%d" % world.below(_KEYS)
        what: What = world.random.choice(("put", "put", "condition", "delete", "pair"))
        said = Said(what, place, b"", value)
        said.body = encode_in_session(place, self._command(what, key, value))
        self.unfinished[self.sequence] = said
        return said

    def _command(self, what: What, key: bytes, value: bytes) -> bytes:
        match what:
            case "condition":
                return encode_put(key, value, self.revision)
            case "delete":
                return encode_delete(key)
            case "pair":
                both = TxnPut(key, value), TxnGet(key)
                return encode_transaction(Transaction((), both, ()))
            case _:
                return encode_put(key, value)

    def _send_copies(self, said: Said) -> None:
        """One now, and perhaps more of them soon, through other nodes."""
        self._send(said)
        for _ in range(self.world.below(3)):
            self.world.at(self.world.below(_SOON_US), self._send, said)

    def _send(self, said: Said) -> None:
        up = [node for node in self.nodes if node.up]
        if self.stopped or not up:
            return
        node = self.world.random.choice(up)
        self._ask(node, said, RequestKind.WRITE, said.body)

    def _finish(self, said: Said) -> None:
        """Call it done, whatever it came to; copies of it may still come."""
        said.finished = True
        del self.unfinished[said.place.sequence]
        self.old.append(said)
        del self.old[:-_OLD_MAX]

    # -- what it is told ---------------------------------------------------------------

    def _shown(self, asked: Said) -> str:
        return f"{asked.what} {asked.place.sequence}"

    def _answered(self, asked: Said, body: bytes) -> None:
        match asked.what:
            case "open":
                self._opened(decode_session_opened(body).since)
            case "close":
                self._closed(asked)
            case "pair":
                done = decode_txn_reply(body)
                self._saw_itself(asked, done)
                self._same(asked, body, Came(None, done.revision, 1))
            case _:
                written = decode_write_reply(body)
                came = Came(None, written.revision, written.count)
                self._same(asked, body, came)

    def _opened(self, since: int) -> None:
        # An answer may come late, when that session is over.
        if self.since or since <= self.over:
            return
        self.since, self.sequence, self.closing = since, 0, False
        self.unfinished = {}

    def _closed(self, said: Said) -> None:
        if said.place.since != self.since:
            return
        self.old += self.unfinished.values()
        del self.old[:-_OLD_MAX]
        self.over, self.since = self.since, 0
        self.unfinished, self.closing = {}, False

    def _refused(self, asked: Said, error: ErrorReply) -> None:
        if error.outcome != Outcome.NOT_APPLIED or error.retryable:
            return
        code, place = error.code, asked.place
        if code != ErrorCode.SESSION_NOT_FOUND:
            if code == ErrorCode.PRECONDITION_FAILED:
                self.revision = error.revision
            self._same(asked, error, Came(code, error.revision, 0))
        elif self._is_waited_for(asked) or self.book.model.sessions.knows(place):
            self.world.fail(
                "I-55",
                f"{self.name} is told that its session is over at {place.sequence}"
                f" since {place.since}, and it is not",
            )

    def _is_waited_for(self, said: Said) -> bool:
        open_yet = said.place.since == self.since and not self.closing
        return open_yet and not said.finished

    def _same(self, said: Said, answer: bytes | ErrorReply, came: Came) -> None:
        """One command, one answer, and that of the log."""
        if said.answer is None:
            said.answer = answer
            self._is_the_logs(said, came)
        else:
            self.again += 1
        if said.answer != answer:
            self.world.fail(
                "I-55",
                f"{self.name} is told {answer} of {said.place.sequence},"
                f" which was {said.answer}",
            )
        unfinished = said.place.sequence in self.unfinished
        if unfinished and self._is_waited_for(said) and self.world.chance(0.5):
            self._finish(said)

    def _is_the_logs(self, said: Said, came: Came) -> None:
        if came.code is None and said.what != "delete":
            self.revision = came.revision
        place = said.place
        made = self.book.model.sessions.done.get((place.since, place.sequence))
        if made != came:
            self.world.fail(
                "I-55",
                f"{self.name} is told {came} of {said.what} {place.sequence} since"
                f" {place.since}, of which the log made {made}",
            )

    def _saw_itself(self, said: Said, done: TxnReply) -> None:
        """What it read behind its own write is that, also when it is told again."""
        found = done.results[-1].record
        if found is None or (found.value, found.mod_revision) != (
            said.value,
            done.revision,
        ):
            self.world.fail(
                "I-36",
                f"{self.name} put {said.value!r} at revision {done.revision} and read"
                f" {found}",
            )
