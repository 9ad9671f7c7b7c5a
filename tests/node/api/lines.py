"""What tests of locks and elections share: a service that tells those who watch."""

from typing import NamedTuple

import pytest
from quorate.node.api import places
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.fences import Fence
from quorate.wire.frames import RequestKind
from quorate.wire.ids import id_name
from quorate.wire.locks import holder_key
from quorate.wire.records import Record
from quorate.wire.requests import error_reply
from quorate.wire.watches import decode_watch, encode_event

from ...wire.watch_replies import encode_events
from .support import Asked, Port, wait_for

UNKNOWN = error_reply(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, "who knows")


class Stood(NamedTuple):
    """Somebody in line, put there by hand."""

    key: bytes
    token: str
    lease: str


def leave_impatiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves a place, and can't, tries again soon."""
    monkeypatch.setattr(places, "_PAUSE_S", 0.001)
    monkeypatch.setattr(places, "_PAUSE_S_MAX", 0.002)


def stand(port: Port, name: bytes, lease: int, value: bytes = b"") -> Stood:
    """Put somebody in line, on a lease of his own."""
    service = port.service
    service.leases.setdefault(lease, 30_000)
    service.revision += 1
    key, at = holder_key(name, lease), service.revision
    record = Record(key, value, at, at, 1, lease)
    service.records[key] = record
    service.past[at] = dict(service.records)
    tell(port, True, record)
    return Stood(key, Fence(key, at).token, id_name(lease))


def say(port: Port, key: bytes, value: bytes) -> None:
    """Put a key again, and tell those who watch it."""
    service = port.service
    old = service.records[key]
    service.revision += 1
    record = Record(
        key,
        value,
        old.create_revision,
        service.revision,
        old.version + 1,
        old.lease,
    )
    service.records[key] = record
    service.past[service.revision] = dict(service.records)
    tell(port, True, record)


def go(port: Port, key: bytes) -> None:
    """Delete a key, and tell those who watch it."""
    service = port.service
    del service.records[key]
    service.revision += 1
    service.past[service.revision] = dict(service.records)
    tell(port, False, Record(key, b"", 0, service.revision, 0, 0))


def tell(port: Port, put: bool, record: Record) -> None:
    service = port.service
    for number, asked in enumerate(service.watches):
        wanted = decode_watch(asked.body, service.limits)
        if not wanted.start <= record.key < wanted.end:
            continue
        if wanted.puts if put else wanted.deletes:
            (body,) = encode_events(service.revision, [encode_event(put, record)])
            service.tell(body, number)


async def waiting(port: Port, count: int = 1) -> None:
    """Wait until so many requests wait, each with two watches."""
    await wait_for(lambda: len(port.service.watches) == 2 * count)


def hold_writes(port: Port) -> list[Asked]:
    """Writes wait here from now on, until they are answered with `release_writes`."""
    service, held = port.service, list[Asked]()
    answer = service.answer

    def keep(asked: Asked) -> None:
        if asked.kind == RequestKind.WRITE:
            held.append(asked)
        else:
            answer(asked)

    service.answer = keep
    return held


def release_writes(port: Port, held: list[Asked]) -> None:
    """Answer what is held, and what comes."""
    del port.service.answer
    while held:
        port.service.answer(held.pop(0))


def lose(port: Port, asked: Asked, *, done: bool) -> None:
    """Tell nobody whether a write was done, which it was or not."""
    service = port.service
    if done:
        service.do(asked)
    service.error = UNKNOWN
    type(service).answer(service, asked)
    service.error = None
