"""Leases as their holders see them: never over early, and over for good.

Law: pure. The time of a lease begins no earlier than the request that was answered, so
on the holder's own clock the lease has to be there until that request's begin and its
time. How much later it ends depends on who leads, and is not judged here.
"""

from typing import Literal, TypeAlias

import msgspec

from .operations import Objection

Answer: TypeAlias = Literal["kept", "gone", "done", "unknown"]
What: TypeAlias = Literal["grant", "keep-alive", "read", "revoke"]


class Question(msgspec.Struct, frozen=True):
    """One thing that was asked about a lease, from `start` to `end`.

    `kept`: it was granted or kept alive; or its key was read, and there. `gone`: there
    is no such lease, or key. A revoke that is acknowledged is `done`.
    """

    what: What
    start: int
    end: int
    answer: Answer


class Tenancy(msgspec.Struct, eq=False):
    """One lease of `ttl` (in the unit of times), and a key that hangs on it.

    The key is there from `hung` on; None when nobody knows whether it ever was. Its
    holder asks one thing after the other.
    """

    lease: int
    ttl: int
    hung: int | None = None
    questions: list[Question] = []


def check_tenancy(one: Tenancy, tolerance: int = 0) -> Objection | None:
    """The first objection to what its holder was told; so much is forgiven a clock."""
    return _never_early(one, tolerance) or _over_for_good(one)


def describe_tenancy(one: Tenancy) -> str:
    """The lease, and all that was asked."""
    lines = "".join(
        f"\n  {q.start}..{q.end} {q.what} {q.answer}" for q in one.questions
    )
    return f"lease {one.lease:x} of {one.ttl}, its key from {one.hung} on{lines}"


def _never_early(one: Tenancy, tolerance: int) -> Objection | None:
    """I-63, I-64: it is there as long as it was promised."""
    until = 0
    for question in one.questions:
        lease = question.what in ("keep-alive", "revoke")
        known = lease or (one.hung is not None and question.start >= one.hung)
        if question.answer == "gone" and known and question.end < until - tolerance:
            detail = f"it was gone at {question.end}, promised until {until}"
            return _objection("I-63", detail, one)
        if question.what == "revoke":
            # Done or not, nothing is promised any more.
            return None
        if question.answer == "kept" and question.what != "read":
            until = max(until, question.start + one.ttl)
    return None


def _over_for_good(one: Tenancy) -> Objection | None:
    """I-64: whose key was seen to be gone, or which was revoked, does not come back.

    Nothing else proves the end: while a lease is about to end it is said to be gone.
    """
    gone: Question | None = None
    for question in one.questions:
        there = question.answer in ("kept", "done")
        if there and gone is not None and gone.end < question.start:
            how = "revoked" if gone.answer == "done" else "gone"
            detail = f"it was {how} at {gone.end}, and there at {question.start}"
            return _objection("I-64", detail, one)
        hung = one.hung is not None and question.start >= one.hung
        seen = question.answer == "gone" and question.what == "read" and hung
        if seen or question.answer == "done":
            gone = gone or question
    return None


def _objection(invariant: str, detail: str, one: Tenancy) -> Objection:
    return Objection(invariant, f"{detail}\n  {describe_tenancy(one)}", None)
