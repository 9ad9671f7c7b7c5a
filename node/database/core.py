"""The replicated state machine: versioned keys, and the rule of one step.

Law: `apply` is a pure function of state and entry (I-33): no clock, no chance, no local
setting, no local error. What it can't understand stops it (I-37); nothing is skipped.
Effects and applied index enter the store in one step (I-31), and an entry that is
already in there changes nothing (I-32).
"""

import struct
from collections.abc import Sequence
from zlib import crc32

from ...storage.engine import TOMBSTONE, VALUE, Droppable, Engine, Incoming
from ...wire import (
    FORMAT_LIMITS,
    CloseSession,
    Compact,
    Delete,
    Effective,
    EnvelopeKind,
    ErrorCode,
    Grant,
    InSession,
    KeepAlive,
    ListLeases,
    MemberCommand,
    OpenSession,
    ProtocolError,
    Put,
    Revoke,
    TimeToLive,
    Transaction,
    decode_command,
    decode_envelope,
    decode_expiry,
    encode_session_opened,
    encode_txn_reply,
)
from ...wire.plain import PlainPut, decode_plain_put
from . import layout, rules, versions
from .applied import Applied, LogEntry, StateAt
from .arrivals import Arrivals, Known, known_of
from .before import STEP_READ_BYTES, Before
from .feed import Change
from .leases import Effects, LeaseTable
from .members import MemberTable
from .meta import FORMAT, STORE, Meta, decode_meta, encode_meta
from .reading import Reading
from .records import decode_record, lease_of, mod_and_lease_of, put_over
from .sessions import SessionTable
from .transactions import Changes, Met, Refused, at_revision, choose

KIND_NOOP = 0
KIND_COMMAND = 1
KIND_CONFIGURATION = 2
_PUT = VALUE + layout.PUT
_DELETED = VALUE + layout.DELETED
_MODULUS = 1 << 128
_LOW = (1 << 64) - 1
_EFFECT = struct.Struct("<QQQIQQ")


NOTHING = Applied(0, 0, 0)
# Of an entry at which replicas compare their states (node/replica/comparing).
_CHECKED = Applied(0, 0, 0)


class Database(Reading):
    """Keys, their versions, and the store's revision.

    `store` was `begin`-ed, or is a copy of one that was. Raises `CorruptionError` when
    its state is of another cluster, NotUnderstood when that has a version which this
    build does not understand.
    """

    def __init__(self, store: Engine, cluster_id: int) -> None:
        self.store = store
        self.cluster_id = cluster_id
        self.understood = versions.UNDERSTOOD
        self.puts = 0
        self.deletes = 0
        # The state at entries that asked for it, until somebody takes it.
        self.checked: list[StateAt] = []
        # What was changed since somebody took it; kept only while anybody watches.
        self.watched = False
        self.changes: list[Change] = []
        self.arrivals = Arrivals()
        store.droppable = self._droppable
        self._take(self.durable_meta())

    @property
    def version(self) -> int:
        """Of the cluster: what may be written to the log now."""
        return self.member_table.versions.version

    def durable_meta(self) -> Meta:
        """The state at `store.applied_index`."""
        return decode_meta(self.store.meta, self.cluster_id, self.store.directory)

    def _droppable(self, meta: bytes) -> Sequence[Droppable]:
        known = decode_meta(meta, self.cluster_id, self.store.directory)
        return layout.droppable(known.compacted)

    def _take(self, meta: Meta, known: Known | None = None) -> None:
        self.applied_index: int = self.store.applied_index
        self.applied_term = meta.term
        self.configuration = meta.configuration
        self.revision = meta.revision
        self.compacted = rules.compacted_in(meta.compacted)
        self.cluster_time_ms = meta.cluster_time_ms
        self.keys = meta.keys
        self.chain = meta.chain
        # First of all whether the rest is understood.
        self.member_table = MemberTable(self.store, self.understood)
        if known is None or self.store.damage is not None:
            known = known_of(self.store)
        self.lease_table = LeaseTable(self.store, known.leases)
        self.session_table = SessionTable(self.store, known.sessions)
        # Sessions are summed by step, not by entry: the chain knows nothing of theirs.
        total = int.from_bytes(meta.digest_sum, "little")
        self.digest_sum = (total - self.session_table.digest_sum) % _MODULUS

    def meta(self) -> Meta:
        """The state at `applied_index`."""
        return Meta(
            FORMAT,
            self.cluster_id,
            STORE,
            self.applied_term,
            self.configuration,
            self.revision,
            self.compacted,
            self.cluster_time_ms,
            self.keys,
            self.chain,
            self._total().to_bytes(16, "little"),
        )

    def _total(self) -> int:
        """The sum of the digests of all that there is."""
        return (self.digest_sum + self.session_table.digest_sum) % _MODULUS

    def install(self, incoming: Incoming) -> None:
        """Be the state that was received and checked.

        After an `OSError` neither this nor its store is of any use.
        """
        known = self.arrivals.taken(incoming)
        self.store.install(incoming)
        self._take(self.durable_meta(), known)

    def state_hash(self) -> str:
        """Equal on all replicas at the same applied index, 40 hex digits."""
        return f"{self.chain:08x}{self._total():032x}"

    # -- writing -------------------------------------------------------------------

    def apply(
        self, entries: Sequence[LogEntry], read_bytes_max: int = STEP_READ_BYTES
    ) -> list[Applied]:
        """Apply entries in order; one result each. They enter the store as one step.

        There may be fewer results than entries: after `read_bytes_max` of the state
        were read, of which what is replaced is kept until the end, or as much work was
        done (`Before.spent`), the others have to wait for the next step. After
        NotUnderstood nothing of the step is durable, and this is of no use.
        """
        effects: Effects = {}
        before = Before(self.store, self.lease_table, effects)
        known = 0
        while known < len(entries) and rules.already_applied(
            entries[known].index, self.applied_index
        ):
            known += 1
        results = [NOTHING] * known
        pack, chain = _EFFECT.pack, self.chain
        for entry in entries[known:] if known else entries:
            assert entry.index == self.applied_index + 1, "no entry is left out"
            if entry.kind == KIND_COMMAND:
                plain = decode_plain_put(entry.data)
                try:
                    if plain is None:
                        result = self._apply_command(entry, before)
                    else:
                        result = self._apply_plain(plain, before)
                except ProtocolError as error:
                    # A newer build has written it, or it is damaged: never skipped.
                    raise versions.not_understood(entry.index, error.reason) from error
            else:
                assert entry.kind in (KIND_NOOP, KIND_CONFIGURATION), entry.kind
                if entry.kind == KIND_CONFIGURATION:
                    self._configure(entry, effects)
                result = NOTHING
            results.append(result)
            # The sum tells what was written, even when it is overwritten later.
            low = self.digest_sum & _LOW
            chain = crc32(
                pack(
                    entry.index,
                    entry.term,
                    self.revision,
                    result.code,
                    low,
                    self.compacted,
                ),
                chain,
            )
            if result is _CHECKED:
                self.session_table.written(effects)
                self.checked.append(StateAt(entry.index, chain, self._total()))
            self.applied_index = entry.index
            self.applied_term = entry.term
            if before.spent() > read_bytes_max:
                break
        self.chain = chain
        if self.applied_index > self.store.last_index:
            self.session_table.written(effects)
            self.store.write_records(
                effects, self.applied_index, encode_meta(self.meta())
            )
            self.lease_table.written()
        return results

    def _apply_command(self, entry: LogEntry, before: Before) -> Applied:
        envelope = decode_envelope(entry.data)
        self.cluster_time_ms = max(self.cluster_time_ms, envelope.cluster_time_ms)
        if envelope.kind == EnvelopeKind.EXPIRY:
            return self._expire(decode_expiry(envelope.payload), before)
        if envelope.kind == EnvelopeKind.CHECK:
            if envelope.payload:
                raise ProtocolError("an entry to compare states at has a payload")
            return _CHECKED
        command = decode_command(envelope.payload, FORMAT_LIMITS)
        match command:
            case InSession():
                return self._in_session(command, entry.index, before)
            case OpenSession() | CloseSession():
                return self._change_sessions(command, entry.index, before.effects)
            case KeepAlive() | TimeToLive() | ListLeases():
                raise AssertionError("questions are never written to the log")
            case _:
                return self._carry_out(command, entry.index, before)

    def _carry_out(self, command: Effective, index: int, before: Before) -> Applied:
        match command:
            case Put():
                return self._put(command, before)
            case Delete():
                return self._delete(command, before)
            case Transaction():
                return self._transact(command, before)
            case Compact():
                return self._compact(command)
            case Grant():
                return self._grant(command, index, before.effects)
            case Revoke():
                return self._revoke(command, before)
            case _:
                return self._change_members(command, index, before.effects)

    def _apply_plain(self, plain: PlainPut, before: Before) -> Applied:
        """The same as the general way, and shorter, for what almost all entries are."""
        time_ms, place, key, value = plain
        if time_ms > self.cluster_time_ms:
            self.cluster_time_ms = time_ms
        effects = before.effects
        if place is None:
            return self._store(key, value, before.record(key), 0, effects)
        table = self.session_table
        answered = table.answered(place, self.cluster_time_ms, effects)
        if answered is not None:
            return answered
        result = self._store(key, value, before.record(key), 0, effects)
        table.done(place, result, effects)
        return result

    def _put(self, command: Put, before: Before) -> Applied:
        key, lease = command.key, command.lease
        old = before.record(key)
        if refused := _unexpected(command.expected, old):
            return refused
        if lease:
            had = 0 if old is None else mod_and_lease_of(old)[1]
            code = self.lease_table.refusal(lease, had)
            if code is not None:
                return Applied(code, self.revision, 0)
        return self._store(key, command.value, old, lease, before.effects)

    def _store(
        self, key: bytes, value: bytes, old: bytes | None, lease: int, effects: Effects
    ) -> Applied:
        """Put it over the record `old`, at a revision of its own."""
        self.revision = revision = self.revision + 1
        self.keys += old is None
        record, gained = put_over(old, key, value, revision, lease)
        self.digest_sum = (self.digest_sum + gained) % _MODULUS
        self._change(effects, 0, key, old, record, lease)
        self.puts += 1
        return Applied(0, revision, 1)

    def _delete(self, command: Delete, before: Before) -> Applied:
        key = command.key
        old = before.record(key)
        if refused := _unexpected(command.expected, old):
            return refused
        if old is None:
            return Applied(0, self.revision, 0)
        self.revision += 1
        self.keys -= 1
        self.digest_sum = (self.digest_sum - decode_record(old[1:]).digest) % _MODULUS
        self._change(before.effects, 0, key, old, TOMBSTONE, 0)
        self.deletes += 1
        return Applied(0, self.revision, 1)

    def _change(
        self,
        effects: Effects,
        number: int,
        key: bytes,
        before: bytes | None,
        after: bytes,
        lease: int,
    ) -> None:
        """The change of this revision with this number: on the tree in three places.

        `lease` is what the key hangs on now.
        """
        revision, had = self.revision, 0
        effects[layout.NEWEST + key] = after
        if before is not None:
            mod_revision, had = mod_and_lease_of(before)
            effects[layout.old(key, mod_revision, revision)] = before
        kind = _DELETED if after == TOMBSTONE else _PUT
        effects[layout.change(revision, number)] = kind + key
        if self.watched:
            now = None if after == TOMBSTONE else after[1:]
            was = None if before is None else before[1:]
            self.changes.append(Change(revision, key, now, was))
        if had or lease:
            self.lease_table.moved(key, had, lease, effects)

    def _transact(self, transaction: Transaction, before: Before) -> Applied:
        """All of it at one revision, or nothing."""
        state = Met(before)
        changes = Changes(state, self.revision + 1)
        try:
            reply = changes.do(choose(transaction, state))
        except Refused as refused:
            return Applied(refused.code, self.revision, 0)
        if not self._make(changes, before.effects):
            reply = at_revision(reply, self.revision)
        body = encode_txn_reply(reply.succeeded, reply.revision, reply.results)
        return Applied(0, self.revision, len(changes.writes), body)

    def _make(self, changes: Changes, effects: Effects) -> bool:
        """Make them, at one revision; False: there are none, and so no revision."""
        if not changes.writes:
            return False
        self.revision += 1
        self.keys += changes.keys
        self.puts += changes.puts
        self.deletes += changes.deletes
        self.digest_sum = (self.digest_sum + changes.digest) % _MODULUS
        for number, (key, record) in enumerate(changes.writes.items()):
            # Not held twice: there may be ten thousand of them.
            old, lease, after = changes.before.pop(key, None), 0, TOMBSTONE
            if record is not None:
                lease, after = lease_of(record), VALUE + record
            before = None if old is None else VALUE + old
            self._change(effects, number, key, before, after, lease)
        return True

    # -- leases ------------------------------------------------------------------------

    def _grant(self, command: Grant, index: int, effects: Effects) -> Applied:
        if command.lease in self.lease_table.leases:
            return Applied(ErrorCode.LEASE_EXISTS, self.revision, 0)
        lease, ttl_ms = command.lease, command.ttl_ms
        gained = self.lease_table.grant(lease, ttl_ms, index, effects)
        self.digest_sum = (self.digest_sum + gained) % _MODULUS
        return Applied(0, self.revision, 0)

    def _revoke(self, command: Revoke, before: Before) -> Applied:
        if command.lease not in self.lease_table.leases:
            return Applied(ErrorCode.LEASE_NOT_FOUND, self.revision, 0)
        try:
            count = self._end_lease(command.lease, Met(before), before.effects)
        except Refused as refused:
            return Applied(refused.code, self.revision, 0)
        return Applied(0, self.revision, count)

    def _expire(self, leases: list[tuple[int, int]], before: Before) -> Applied:
        """Their time is over, says who led when this was written.

        What has no room in this step waits for another one: who leads will see that
        they are still there.
        """
        known, count, state = self.lease_table.leases, 0, Met(before)
        for number, since in leases:
            lease = known.get(number)
            if lease is not None and rules.still_the_same(lease.since, since):
                count += self._end_lease(number, state, before.effects, in_parts=True)
        return Applied(0, self.revision, count)

    def _end_lease(
        self, lease: int, state: Met, effects: Effects, *, in_parts: bool = False
    ) -> int:
        """Take its keys away, at one revision, and itself; how many keys went.

        When they are too many bytes: Refused, or `in_parts` only some go now. Then the
        lease has no time any more, so that nobody keeps it alive with what is left.
        """
        changes, table = Changes(state, self.revision + 1), self.lease_table
        try:
            # Of those behind one that had no room nothing is read.
            for key in table.keys_of(lease) if not state.over else ():
                found = changes.delete(key)
                assert found, "what hangs on a lease is there"
        except Refused:
            if not in_parts:
                raise
        self._make(changes, effects)
        changed = (
            table.has_ended(lease, effects) if state.over else table.end(lease, effects)
        )
        self.digest_sum = (self.digest_sum + changed) % _MODULUS
        return changes.deletes

    # -- sessions ----------------------------------------------------------------------

    def _in_session(self, said: InSession, index: int, before: Before) -> Applied:
        """Carry a command out, unless that was done: then its answer, once more."""
        table, effects = self.session_table, before.effects
        answered = table.answered(said.place, self.cluster_time_ms, effects)
        if answered is not None:
            return answered
        result = self._carry_out(said.command, index, before)
        table.done(said.place, result, effects)
        return result

    def _change_sessions(
        self, command: OpenSession | CloseSession, index: int, effects: Effects
    ) -> Applied:
        table, revision = self.session_table, self.revision
        if isinstance(command, CloseSession):
            table.close(command.session, command.since, effects)
            return Applied(0, revision, 0)
        since = table.open(command.session, index, self.cluster_time_ms, effects)
        if since is None:
            return Applied(ErrorCode.TOO_BUSY, revision, 0)
        return Applied(0, revision, 0, encode_session_opened(revision, since))

    # -- members -----------------------------------------------------------------------

    def _configure(self, entry: LogEntry, effects: Effects) -> None:
        self.configuration = entry.data
        self.member_table.configured(entry.data, entry.index, effects)
        self._gain()

    def _change_members(
        self, command: MemberCommand, index: int, effects: Effects
    ) -> Applied:
        now_ms, configuration = self.cluster_time_ms, self.configuration
        table = self.member_table
        code = table.apply(command, index, now_ms, configuration, effects)
        versions.check(self.version, self.understood)
        self._gain()
        return Applied(code or 0, self.revision, 0)

    def _gain(self) -> None:
        gained = self.member_table.take_gained()
        self.digest_sum = (self.digest_sum + gained) % _MODULUS

    def _compact(self, command: Compact) -> Applied:
        """Nothing is removed now: merges leave out what nobody can ask for any more."""
        if command.revision > self.revision:
            return Applied(ErrorCode.FUTURE_REVISION, self.revision, 0)
        if not rules.lets_go(command.revision, self.compacted):
            return Applied(ErrorCode.COMPACTED, self.compacted, 0)
        self.compacted = command.revision
        return Applied(0, self.revision, 0)


def _unexpected(expected: int | None, old: bytes | None) -> Applied | None:
    """Why a conditional write does nothing; None: the key is as it is expected."""
    if expected is None:
        return None
    current = mod_and_lease_of(old)[0] if old is not None else 0
    if rules.expectation_met(expected, current):
        return None
    return Applied(ErrorCode.PRECONDITION_FAILED, current, 0)
