"""Locks and their tokens: who lost a lock writes no more in its name.

Law: tokens are numbers that grow from holder to holder. What they promise is about the
writes that carry them, not about clocks: two clients may believe at once that they hold
a lock, and the older one's writes are refused all the same. But a lock is not lost
while its lease is promised, and was not given up: until then nobody behind it gets it,
and its holder's writes are not refused for it.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec

from .operations import Objection, Outcome

_REVISION: Final = attrgetter("revision")
_GRANTED: Final = attrgetter("granted")
_TOKEN: Final = attrgetter("token")


class Holding(msgspec.Struct, eq=False):
    """A client was told that it has the lock, and with what token.

    Until `until` its lease is promised, and it was not yet to be given up; 0: nobody
    knows of any promise. `released` is when it was certainly given up, None: never.
    """

    client: int
    token: int
    asked: int
    granted: int
    until: int = 0
    released: int | None = None


class FencedWrite(msgspec.Struct, eq=False):
    """A write that carried a token.

    Made when it begins, and then of unknown outcome. `revision` is its own once that is
    known, by its reply or because somebody read what it wrote (0 before). `fenced` says
    that it was refused for its token, and not because nobody could do it.
    """

    client: int
    token: int
    start: int
    end: int | None = None
    outcome: Outcome = "unknown"
    revision: int = 0
    fenced: bool = False


def check_fencing(
    holdings: Sequence[Holding], writes: Sequence[FencedWrite], tolerance: int = 0
) -> Objection | None:
    """The first objection to what holders of one lock did.

    By `tolerance` a lease may be over sooner than promised: so much is forgiven clocks.
    """
    return (
        _tokens_grow(holdings)
        or _refused_stay_away(writes)
        or _by_who_was_granted(holdings, writes)
        or _in_the_order_of_tokens(writes)
        or _none_after_another_holds(holdings, writes)
        or _none_after_it_was_given_up(holdings, writes)
        or _nobody_else_while_promised(holdings, tolerance)
        or _none_refused_while_promised(holdings, writes, tolerance)
    )


def _tokens_grow(holdings: Sequence[Holding]) -> Objection | None:
    """Who asked after another one had the lock gets a higher token; all differ."""
    tokens: dict[int, Holding] = {}
    for one in holdings:
        other = tokens.setdefault(one.token, one)
        if other is not one:
            return _objection(f"one token for two: {other} and {one}")
    newest: Holding | None = None
    granted = sorted(holdings, key=_GRANTED)
    place = 0
    for one in sorted(holdings, key=attrgetter("asked")):
        while place < len(granted) and granted[place].granted < one.asked:
            if newest is None or granted[place].token > newest.token:
                newest = granted[place]
            place += 1
        if newest is not None and one.token < newest.token:
            return _objection(f"{one} asked after {newest} had the lock")
    return None


def _refused_stay_away(writes: Sequence[FencedWrite]) -> Objection | None:
    for one in writes:
        if one.outcome == "refused" and one.revision:
            detail = f"a refused write took effect: {describe_fenced(one)}"
            return Objection("I-54", detail, None)
    return None


def _by_who_was_granted(
    holdings: Sequence[Holding], writes: Sequence[FencedWrite]
) -> Objection | None:
    """A write took effect only by a token that its client was given.

    Clients here write by no other: one that nobody was given was made up, or changed on
    its way, and should have been refused.
    """
    given = {(one.client, one.token) for one in holdings}
    for one in writes:
        if one.revision and (one.client, one.token) not in given:
            return _objection(f"nobody gave it this token\n  {describe_fenced(one)}")
        if 0 < one.revision <= one.token:
            return _objection(f"older than its token\n  {describe_fenced(one)}")
    return None


def _in_the_order_of_tokens(writes: Sequence[FencedWrite]) -> Objection | None:
    """Along revisions no token comes after a higher one."""
    newest: FencedWrite | None = None
    for one in sorted((w for w in writes if w.revision), key=_REVISION):
        if newest is not None and one.token < newest.token:
            first, second = describe_fenced(newest), describe_fenced(one)
            return _objection(f"an old token after a new one\n  {first}\n  {second}")
        newest = one
    return None


def _none_after_another_holds(
    holdings: Sequence[Holding], writes: Sequence[FencedWrite]
) -> Objection | None:
    """No write that began when a later holder had the lock took effect."""
    for one in writes:
        # Of unknown outcome, and read: it took effect.
        if one.outcome != "ok" and not one.revision:
            continue
        for other in holdings:
            if other.token > one.token and other.granted < one.start:
                detail = f"done although {other} had the lock"
                return _objection(f"{detail}\n  {describe_fenced(one)}")
    return None


def _none_after_it_was_given_up(
    holdings: Sequence[Holding], writes: Sequence[FencedWrite]
) -> Objection | None:
    """No write that began when its own lock had been given up took effect."""
    released = {(one.client, one.token): one.released for one in holdings}
    for one in writes:
        over = released.get((one.client, one.token))
        done = one.outcome == "ok" or one.revision
        if done and over is not None and over < one.start:
            detail = f"done although its lock was given up by {over}"
            return _objection(f"{detail}\n  {describe_fenced(one)}")
    return None


def _nobody_else_while_promised(
    holdings: Sequence[Holding], tolerance: int
) -> Objection | None:
    """Whoever stands behind it gets the lock when it is given up or over."""
    longest: Holding | None = None
    for one in sorted(holdings, key=_TOKEN):
        if longest is not None and one.granted < longest.until - tolerance:
            return _objection(f"{one} got it while it was promised to {longest}")
        if longest is None or one.until > longest.until:
            longest = one
    return None


def _none_refused_while_promised(
    holdings: Sequence[Holding], writes: Sequence[FencedWrite], tolerance: int
) -> Objection | None:
    """No write is refused for a token whose lock is still held."""
    until = {(one.client, one.token): one.until for one in holdings}
    for one in writes:
        promised = until.get((one.client, one.token), 0) - tolerance
        if one.fenced and one.end is not None and one.end < promised:
            detail = f"refused although it had the lock until {promised}"
            return _objection(f"{detail}\n  {describe_fenced(one)}")
    return None


def describe_fenced(one: FencedWrite) -> str:
    """One line: client, start..end, token, outcome, revision."""
    end = "" if one.end is None else one.end
    revision = f" r{one.revision}" if one.revision else ""
    return (
        f"c{one.client} {one.start}..{end} with token {one.token}"
        f" {one.outcome}{revision}"
    )


def _objection(detail: str) -> Objection:
    return Objection("I-65", detail, None)
