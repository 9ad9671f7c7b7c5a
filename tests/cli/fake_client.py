"""A client whose cluster is a dictionary, and which fails as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

import msgspec
from quorate.cli.settings import Settings
from quorate.client import (
    Committed,
    Compacted,
    Event,
    Fenced,
    FutureRevision,
    Held,
    KeyValue,
    LeaseExists,
    LeaseInfo,
    LeaseNotFound,
    Members,
    PreconditionFailed,
    Step,
    Txn,
    prefix_end,
)
from quorate.client.transactions import committed
from quorate.wire import Record

from ..wire.transaction_model import Model


class FakeWatch:
    """Tells what it was given, and then nothing more."""

    def __init__(self, events: "list[Event | BaseException]") -> None:
        self._events = events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._events:
            raise StopAsyncIteration
        event = self._events.pop(0)
        if isinstance(event, Event):
            return event
        raise event


class FakeLock:
    """A lock of the fake client."""

    def __init__(self, client: "FakeClient") -> None:
        self._client = client
        self.key = b"job/1"
        self.revision = 2
        self.lost = asyncio.Event()

    @property
    def token(self) -> str:
        return self._client.token

    async def acquire(self) -> Self:
        if self._client.held:
            raise Held("somebody else holds it")
        if self._client.lost:
            self.lost.set()
        return self

    async def release(self) -> None:
        self._client.released += 1
        if self._client.errors:
            raise self._client.errors.pop(0)


class FakeClient:
    """Stands for AsyncClient behind `Settings.connect`."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.records: dict[bytes, KeyValue] = {}
        self.revision = 1
        # What was there at each revision that a put made; the oldest to be read.
        self.past: dict[int, dict[bytes, KeyValue]] = {}
        self.compacted = 0
        # The ttl of each lease in seconds.
        self.granted: dict[int, float] = {}
        self.calls: list[tuple[str, object]] = []
        # Raised by the next calls, first come, first served.
        self.errors: list[Exception] = []
        self.in_flight = 0
        self.in_flight_seen = 0
        # What a watch tells; an error ends it.
        self.events: list[Event | BaseException] = []
        # What is told about members, and the text of the next token.
        self.known: Members | None = None
        # What is told about members after each step of a rotation.
        self.rotates: Callable[[Step, bytes, bytes], Members] | None = None
        self.states: dict[str, dict[str, object] | Exception] = {}
        # The token of the one who holds the lock, who lets others wait in vain.
        self.token = "2.am9iLzE"
        self.lost = False
        self.held = False
        self.released = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.in_flight == 0

    def _call(self, name: str, what: object) -> None:
        self.calls.append((name, what))
        if self.errors:
            raise self.errors.pop(0)

    def _fence(self, token: str | None) -> None:
        if token is not None and token != self.token:
            raise Fenced("fenced: it is lost")

    def lock(self, name: bytes, *, ttl: float, wait: float | None) -> "FakeLock":
        self._call("lock", (name, ttl, wait))
        return FakeLock(self)

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        lease: int = 0,
        fence: str | None = None,
    ) -> int:
        self.in_flight += 1
        self.in_flight_seen = max(self.in_flight_seen, self.in_flight)
        try:
            # Others get their turn, as they do while a real put is on its way.
            await asyncio.sleep(0)
            self._call("put", key)
        finally:
            self.in_flight -= 1
        self._fence(fence)
        self._lease(lease or None)
        self._expect(key, 0 if if_absent else if_revision)
        self.revision += 1
        old = self.records.get(key)
        self.records[key] = KeyValue(
            key=key,
            value=value,
            create_revision=old.create_revision if old else self.revision,
            mod_revision=self.revision,
            version=old.version + 1 if old else 1,
            lease=lease,
        )
        self.past[self.revision] = dict(self.records)
        return self.revision

    async def delete(
        self, key: bytes, *, if_revision: int | None = None, fence: str | None = None
    ) -> bool:
        self._call("delete", key)
        self._fence(fence)
        self._expect(key, if_revision)
        return self.records.pop(key, None) is not None

    async def delete_range(
        self,
        prefix: bytes | None = None,
        *,
        start: bytes | None = None,
        end: bytes | None = None,
        fence: str | None = None,
    ) -> int:
        self._call("delete_range", prefix if start is None else start)
        self._fence(fence)
        if prefix is not None:
            gone = [key for key in self.records if key.startswith(prefix)]
        else:
            assert start is not None
            gone = [k for k in self.records if start <= k and (end is None or k < end)]
        for key in gone:
            del self.records[key]
        return len(gone)

    async def get(
        self,
        key: bytes,
        *,
        level: str,
        max_staleness: float | None = None,
        revision: int = 0,
    ) -> KeyValue | None:
        assert (level == "bounded") == (max_staleness is not None)
        self._call("get", level)
        return self._at(revision).get(key)

    async def compact(self, revision: int) -> None:
        self._call("compact", revision)
        if revision <= self.compacted:
            raise Compacted("compacted: told so", self.compacted)
        if revision > self.revision:
            raise FutureRevision("future_revision: told so", self.revision)
        self.compacted = revision

    def watch(self, prefix: bytes | None = None, **options: object) -> "FakeWatch":
        self._call("watch", {"prefix": prefix, **options})
        return FakeWatch(self.events)

    async def commit(self, txn: Txn) -> Committed:
        transaction = txn.transaction()
        self._call("commit", transaction)
        for fence in txn.fences():
            self._fence(fence.token)
        # Records on the wire and for callers have the same fields.
        table = {
            k: msgspec.convert(r, Record, from_attributes=True)
            for k, r in self.records.items()
        }
        model = Model(self.revision, table, set(self.granted))
        result = committed(transaction, model.do(transaction))
        assert result is not None
        self.revision = model.revision
        self.records = {k: KeyValue.of(record) for k, record in model.table.items()}
        return result

    async def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        keys_only: bool = False,
        level: str = "linearizable",
        max_staleness: float | None = None,
        revision: int = 0,
    ) -> AsyncIterator[KeyValue]:
        assert (level == "bounded") == (max_staleness is not None)
        self._call("range", level)
        records = self._at(revision)
        if prefix is not None:
            start, end = prefix, prefix_end(prefix)
        found = [
            key
            for key in sorted(records)
            if key >= (start or b"") and (not end or key < end)
        ]
        for key in found[:limit]:
            yield records[key]

    def lease(self, ttl: float, *, lease: int = 0) -> "FakeLease":
        return FakeLease(self, ttl, lease or 0xABC)

    async def keep_alive(self, lease: int) -> LeaseInfo:
        self._call("keep_alive", lease)
        ttl = self._lease(lease)
        return LeaseInfo(lease, ttl, ttl, ())

    async def lease_info(self, lease: int, *, keys: bool = False) -> LeaseInfo:
        self._call("lease_info", (lease, keys))
        ttl = self._lease(lease)
        held = tuple(key for key, one in self.records.items() if one.lease == lease)
        return LeaseInfo(lease, ttl, ttl - 0.5, held if keys else ())

    async def revoke(self, lease: int) -> None:
        self._call("revoke", lease)
        self._lease(lease)
        del self.granted[lease]
        self.records = {k: r for k, r in self.records.items() if r.lease != lease}

    async def leases(self) -> list[int]:
        self._call("leases", None)
        return sorted(self.granted)

    async def members(self) -> Members:
        self._call("members", None)
        assert self.known is not None
        return self.known

    async def create_token(self, role: str, *, ttl: float, uses: int) -> str:
        self._call("create_token", (role, ttl, uses))
        return "q1-secret"

    async def drop_token(self, token: str) -> None:
        self._call("drop_token", token)

    async def promote_member(self, member: str) -> None:
        self._call("promote_member", member)

    async def demote_member(self, member: str) -> None:
        self._call("demote_member", member)

    async def spare_member(self, member: str) -> None:
        self._call("spare_member", member)

    async def set_caretaker(self, **said: float | None) -> None:
        self._call("set_caretaker", {k: v for k, v in said.items() if v is not None})

    async def rotate_authority(self, step: Step, old: bytes, new: bytes) -> None:
        self._call("rotate_authority", step)
        if self.rotates is not None:
            self.known = self.rotates(step, old, new)

    async def revoke_certificate(
        self, *, member: str | None = None, serial: str | None = None
    ) -> None:
        self._call("revoke_certificate", (member, serial))

    async def remove_member(self, member: str) -> None:
        self._call("remove_member", member)

    async def replace_member(self, old: str, new: str) -> None:
        self._call("replace_member", (old, new))

    async def move_leader(self, to: str | None) -> None:
        self._call("move_leader", to)

    def _lease(self, lease: int | None) -> float:
        if lease is None:
            return 0.0
        if lease not in self.granted:
            raise LeaseNotFound("lease_not_found: there is no such lease")
        return self.granted[lease]

    async def status(self, endpoint: str | None = None) -> dict[str, object]:
        if endpoint is None:
            self._call("status", None)
            return {"version": "0.0"}
        state = self.states[endpoint]
        if isinstance(state, Exception):
            raise state
        return state

    def _at(self, revision: int) -> dict[bytes, KeyValue]:
        if 0 < revision < self.compacted:
            raise Compacted("compacted: told so", self.compacted)
        if revision > self.revision:
            raise FutureRevision("future_revision: told so", self.revision)
        return self.past[revision] if revision else self.records

    def _expect(self, key: bytes, revision: int | None) -> None:
        record = self.records.get(key)
        present = record.mod_revision if record else 0
        if revision is not None and revision != present:
            raise PreconditionFailed(f"the key is at {present}", present)


class FakeLease:
    """One lease, as its client has it."""

    def __init__(self, client: FakeClient, ttl: float, lease: int) -> None:
        self.client = client
        self.id = lease
        self.ttl = ttl

    async def grant(self) -> Self:
        self.client._call("grant", (self.id, self.ttl))
        if self.id in self.client.granted:
            raise LeaseExists("lease_exists: told so")
        self.client.granted[self.id] = self.ttl
        return self

    async def abandon(self) -> None:
        self.client.calls.append(("abandon", self.id))

    async def revoke(self) -> None:
        await self.client.revoke(self.id)
