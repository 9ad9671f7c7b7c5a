"""The data as the agreed log makes it: a few plain lines that share no code with ours.

Law: no import of the database. What it knows of the bytes is the client's side of them.
"""

from typing import TypeAlias

from ....wire import (
    Admit,
    Announce,
    CloseSession,
    Compact,
    Compare,
    Decide,
    Delete,
    DropToken,
    EnvelopeKind,
    ErrorCode,
    Grant,
    InSession,
    MakeToken,
    OpenSession,
    Place,
    Present,
    Put,
    Reassign,
    Relation,
    Revoke,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    Target,
    Transaction,
    TxnDelete,
    TxnPut,
    decode_command,
    decode_envelope,
    decode_expiry,
)
from ....wire.limits import Limits
from ...histories import Change
from .lease_model import LeaseModel, Life
from .member_model import MemberModel
from .session_model import Came, SessionModel

_LIMITS = Limits()
# Keys that begin so are written in pairs, by transactions alone (pairs). The first of
# two ends so; without its end it is the pair's name.
PAIR = b"p"
FIRST_HALF = b"a"
# Keys that begin so hang on leases, or did.
LEASED = b"q"
# Keys that begin so are written in sessions, by commands that come more than once.
REPEATED = b"z"
# By key: the value, None where it is deleted, and the lease that it hangs on, or 0.
Writes: TypeAlias = dict[bytes, tuple[bytes | None, int]]


class Model:
    """The key space, revision by revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        # All of them; those that histories tell of: of single keys, and of pairs of
        # keys by the pair's name.
        self.every: list[Change] = []
        self.changes: list[Change] = []
        self.newest: dict[bytes, Change] = {}
        self.values: set[bytes] = set()
        self.leases = LeaseModel()
        self.members = MemberModel()
        self.sessions = SessionModel()

    def apply(
        self, data: bytes, index: int, now_us: int
    ) -> tuple[int, bytes | None, list[Life]]:
        """Apply an agreed entry, which is first applied now.

        Its cluster time; a value that came twice, which somebody else must have sent,
        since every client writes each value once; and leases whose time was over.
        """
        envelope = decode_envelope(data)
        self.leases.now_us = now_us
        time_ms = envelope.cluster_time_ms
        if envelope.kind == EnvelopeKind.EXPIRY:
            ended = self.leases.expired(decode_expiry(envelope.payload))
            for life in ended:
                life.expired = True
                self._end(life)
            return time_ms, None, ended
        if envelope.kind == EnvelopeKind.CHECK:
            return time_ms, None, []
        command = decode_command(envelope.payload, _LIMITS)
        if isinstance(command, OpenSession | CloseSession):
            self.sessions.change(command, index)
            return time_ms, None, []
        place: Place | None = None
        if isinstance(command, InSession):
            place, command = command.place, command.command
            if not self.sessions.takes(place):
                return time_ms, None, []
        # Where a condition failed: the revision of the key.
        failed: int | None = None
        writes: Writes = {}
        asked: set[bytes] = set()
        match command:
            case Compact(revision):
                if self.compacted < revision <= self.revision:
                    self.compacted = revision
            case Transaction(compares, then, otherwise):
                holds = all(self._holds(compare) for compare in compares)
                for operation in then if holds else otherwise:
                    if isinstance(operation, TxnPut):
                        writes[operation.key] = operation.value, operation.lease
                    elif isinstance(operation, TxnDelete):
                        writes[operation.key] = None, 0
                asked = {op.value for op in then if isinstance(op, TxnPut)}
            case Put(key, value, expected, lease):
                if expected in (None, self._mod_revision(key)):
                    writes[key] = value, lease
                else:
                    failed = self._mod_revision(key)
                asked = {value}
            case Delete(key, expected):
                if expected in (None, self._mod_revision(key)):
                    writes[key] = None, 0
                else:
                    failed = self._mod_revision(key)
            case Grant(lease, ttl_ms):
                self.leases.grant(lease, ttl_ms, index)
            case Revoke(lease):
                life = self.leases.alive.get(lease)
                if life is not None:
                    self._end(life)
            case (
                MakeToken()
                | DropToken()
                | Admit()
                | Announce()
                | Reassign()
                | SetCaretaker()
                | Decide()
            ):
                self.members.apply(command, time_ms, index)
            case Rotate() | Present() | RevokeCertificate():
                # Who may show which certificate changes nothing of what is modelled.
                pass
            case _:
                raise AssertionError("questions are not written to the log")
        known = len(self.every)
        repeated = self._write(writes, asked)
        if place is not None:
            came = Came(None, self.revision, len(self.every) - known)
            if failed is not None:
                came = Came(ErrorCode.PRECONDITION_FAILED, failed, 0)
            self.sessions.came(place, came)
        return time_ms, repeated, []

    def _end(self, life: Life) -> None:
        """All its keys go at one revision; without any there is none."""
        self._write(dict.fromkeys(self.leases.keys_of(life.lease), (None, 0)), set())
        self.leases.end(life)

    def _write(self, writes: Writes, asked: set[bytes]) -> bytes | None:
        repeated = next((value for value in asked if value in self.values), None)
        self.values |= asked
        if any(
            lease and lease not in self.leases.alive for _, lease in writes.values()
        ):
            return repeated
        live = {k: w for k, w in writes.items() if w[0] is not None or self._there(k)}
        self.revision += bool(live)
        for key, (value, lease) in live.items():
            change = Change(self.revision, key, value)
            self.every.append(change)
            if key.startswith(LEASED):
                self.leases.hang(change, lease)
            elif key.startswith(PAIR):
                if key.endswith(FIRST_HALF):
                    self.changes.append(Change(self.revision, key[:-1], value))
            elif not key.startswith(REPEATED):
                self.changes.append(change)
            self.newest[key] = change
        return repeated

    def _there(self, key: bytes) -> bool:
        newest = self.newest.get(key)
        return newest is not None and newest.value is not None

    def _mod_revision(self, key: bytes) -> int:
        return self.newest[key].revision if self._there(key) else 0

    def _holds(self, compare: Compare) -> bool:
        assert (compare.target, compare.relation) == (
            Target.MOD_REVISION,
            Relation.EQUAL,
        ), "no client here compares anything else"
        return self._mod_revision(compare.key) == compare.operand
