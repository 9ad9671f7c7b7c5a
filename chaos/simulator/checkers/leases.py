"""When leases end, and what is said of them: never early, late but once, all or none.

Law: one function an invariant (I-63, I-64). Whoever asks has the time of asking and of
the answer, and the truth lies between; only what no time in between explains is
objected to.
"""

from typing import TYPE_CHECKING

import msgspec

from ....wire import LeaseAnswer, LeaseList, Record
from ..world import MILLISECOND, SECOND
from .book import Book
from .lease_model import Hung, Life, at_least_us

if TYPE_CHECKING:
    from ..node import Node

# A leader counts in ticks, and what is asked in one counts from its begin.
_TICKS_MS = 45
_CLOCK_PERMILLE = 1060


class Asked(msgspec.Struct, frozen=True):
    """A question about a lease, or something done with it, and when it was asked."""

    what: str
    lease: int
    at_us: int
    ttl_ms: int = 0
    key: bytes = b""
    value: bytes = b""


# -- as the log goes -------------------------------------------------------------------


def ends_in_its_time(book: Book, life: Life, term: int) -> None:
    """I-63: not before its time is over; I-64: as anybody was told it; and anew with
    every leader.
    """
    now_us = book.world.now_us
    promised_us = life.lives_until_us(now_us)
    if now_us < promised_us:
        book.world.fail(
            "I-63",
            f"{_name(life)} ended {_ms(promised_us - now_us)} ms before its time",
        )
    led_us = now_us - book.led_since[term]
    if led_us < at_least_us(life.ttl_ms):
        book.world.fail(
            "I-64",
            f"{_name(life)} was ended by who had led for {_ms(led_us)} ms alone",
        )


def equal_leases(book: Book, node: "Node") -> None:
    """I-63: all replicas have the leases that the log makes, with as many keys.

    But for one whose damaged state is about to be replaced: nobody asks it.
    """
    assert node.replica is not None
    database = node.replica.database
    if database.store.damage is not None:
        return
    leases = database.lease_table.leases
    known = {n: (each.ttl_ms, each.keys, each.since) for n, each in leases.items()}
    wanted = book.model.leases.table()
    if known != wanted:
        book.world.fail("I-63", f"{node.name} has the leases {known}, not {wanted}")


# -- as it is told ---------------------------------------------------------------------


def was_granted(book: Book, asked: Asked) -> None:
    """I-16, of leases: one that was granted is in the log."""
    for life in _lives(book, asked):
        if life.begun_us >= asked.at_us and life.ttl_ms == asked.ttl_ms:
            return
    book.world.fail("I-16", f"{_who(asked)} was granted, and is in no log")


def was_there(book: Book, asked: Asked) -> list[Life]:
    """I-64: who is told of a lease is told of one that there was meanwhile; which."""
    found = _lives(book, asked)
    if not found:
        book.world.fail("I-64", f"{_who(asked)}: it is said to be there, and is not")
    return found


def was_revoked(book: Book, asked: Asked) -> None:
    """I-16, of leases: one that was revoked has ended."""
    if all(life.ended_us is None for life in was_there(book, asked)):
        book.world.fail("I-16", f"{_who(asked)} was revoked, and is still there")


def has_its_time(book: Book, asked: Asked, answer: LeaseAnswer) -> None:
    """I-64: a keep-alive counts, and what is said to be left is left."""
    found = was_there(book, asked)
    now_us, left_ms = book.world.now_us, answer.left_ms
    if len(found) > 1:
        return  # nobody can say of which one that was told
    life = found[0]
    if answer.ttl_ms != life.ttl_ms or left_ms > life.ttl_ms:
        book.world.fail("I-64", f"{_name(life)} is said to have {answer}")
    if asked.what == "keep":
        passed_ms = (now_us - asked.at_us) * _CLOCK_PERMILLE // SECOND
        if left_ms < life.ttl_ms - passed_ms - _TICKS_MS:
            book.world.fail(
                "I-64",
                f"{_name(life)} was kept alive {passed_ms} ms ago, and has {left_ms}",
            )
        left_ms = life.ttl_ms
    until_us = asked.at_us + at_least_us(left_ms)
    life.promises.append((now_us, until_us))
    if life.ended_us is not None and life.expired and life.ended_us < until_us:
        early_ms = _ms(until_us - life.ended_us)
        book.world.fail("I-64", f"{_who(asked)}: it had ended {early_ms} ms too early")


def is_not_found(book: Book, asked: Asked) -> None:
    """I-63: a lease is gone from the moment at which its end is in the log, or when it
    was revoked; not while it was promised.
    """
    for life in _lives(book, asked):
        _may_be_hidden(book, life, asked)


def is_absent(book: Book, asked: Asked) -> None:
    """I-34: who is refused for a lease came upon none, when that was applied."""
    now_us = book.world.now_us
    if any(life.was_always_there(asked.at_us, now_us) for life in _lives(book, asked)):
        book.world.fail("I-34", f"{_who(asked)} is said to be gone, and was there")


def lists_all(book: Book, asked: Asked, told: LeaseList) -> None:
    """I-63: all that are there are listed, and no others."""
    listed = set(told.leases)
    for lease in told.leases:
        was_there(book, Asked("list", lease, asked.at_us))
    for lease, lives in book.model.leases.lives.items():
        if lease not in listed:
            for life in lives:
                _may_be_hidden(book, life, asked)


def hang_on_it(book: Book, asked: Asked, answer: LeaseAnswer) -> None:
    """I-44, of leases: the keys are those that hung on it at that revision."""
    model = book.model.leases
    keys = sorted(
        key
        for key in model.versions
        if model.at(key, answer.revision).lease == asked.lease
    )
    if list(answer.keys) != keys:
        book.world.fail("I-44", f"{_who(asked)} has {keys} at {answer}")


def was_written(book: Book, asked: Asked, revision: int) -> None:
    """I-16, of keys on leases: what was acknowledged is in the log at its revision."""
    known = book.model.leases.at(asked.key, revision)
    if asked.what == "delete":
        written = known.value is None
    else:
        lease = 0 if asked.what == "plain" else asked.lease
        written = known == Hung(revision, asked.value, lease)
    if not written:
        book.world.fail("I-16", f"{asked} is {known} at revision {revision}")


def is_what_it_was(
    book: Book, key: bytes, revision: int, record: Record | None
) -> None:
    """I-44, of keys on leases: one whose lease is gone is not there."""
    known = book.model.leases.at(key, revision)
    found = (None, 0) if record is None else (record.value, record.lease)
    if found != (known.value, known.lease):
        book.world.fail(
            "I-44",
            f"{key!r} at revision {revision} is said to be {found}, not"
            f" {(known.value, known.lease)}",
        )


def _may_be_hidden(book: Book, life: Life, asked: Asked) -> None:
    """Its end may have been in the log, for once; not while that could not be."""
    now_us = book.world.now_us
    if life.was_always_there(asked.at_us, now_us) and (
        life.lives_until_us(asked.at_us) > now_us
    ):
        book.world.fail("I-63", f"{_name(life)} was there, and was not found")


def _lives(book: Book, asked: Asked) -> list[Life]:
    """Those of that id that were there at any time from the question to now."""
    lives = book.model.leases.lives.get(asked.lease, [])
    return [life for life in lives if life.was_there(asked.at_us, book.world.now_us)]


def _name(life: Life) -> str:
    return f"lease {life.lease:x} of entry {life.since} ({life.ttl_ms} ms)"


def _who(asked: Asked) -> str:
    return f"lease {asked.lease:x} ({asked.what}, asked at {asked.at_us} us)"


def _ms(us: int) -> int:
    return us // MILLISECOND
