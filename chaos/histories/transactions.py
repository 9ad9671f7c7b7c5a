"""Transactions over several keys: each is at one revision, whole, or it never was.

Law: replay along revisions, as in replay, of what has more than one key. A value names
its transaction, so that whoever finds one key of it at a revision proves all the others
there. Nothing is believed of a reply but what it says; what the replies prove together
has to explain each of them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, TypeAlias

import msgspec

from .log import FIRST_REVISION
from .operations import Objection, Outcome, show

# A key as it was found: its value and mod revision, None and 0 where there was none.
Seen: TypeAlias = tuple[bytes | None, int]
NOTHING: Final[Seen] = (None, 0)
_END: Final = attrgetter("end")


class Transaction(msgspec.Struct, eq=False):
    """What a client asked for, when, and what it was told.

    Made when it begins, and then of unknown outcome. It writes if each key of
    `expected` has that mod revision. `found` has the keys that its reply shows: what it
    came upon when it was refused for a condition, or what it read, if it only reads.
    `revision` is the store's in the reply (0: not told), its own if it wrote.
    """

    client: int
    start: int
    expected: Mapping[bytes, int]
    writes: Mapping[bytes, bytes]
    end: int | None = None
    outcome: Outcome = "unknown"
    found: Mapping[bytes, Seen] = {}
    revision: int = 0


def describe_transaction(one: Transaction) -> str:
    """One line: client, start..end, conditions, writes, outcome, what was told."""
    end = "" if one.end is None else one.end
    words = [f"c{one.client}", f"{one.start}..{end}"]
    words += [f"if {show(key)}={at}" for key, at in one.expected.items()]
    words += [f"put {show(key)} {show(value)}" for key, value in one.writes.items()]
    words += [f"{show(k)} -> {show(v)} m{at}" for k, (v, at) in one.found.items()]
    return " ".join([*words, one.outcome, f"r{one.revision}" if one.revision else ""])


def check_transactions(transactions: Sequence[Transaction]) -> Objection | None:
    """The first objection to what they were told."""
    try:
        replay = _Replay(transactions)
        replay.place_all()
        replay.check_replies()
        replay.check_conditions()
    except _Wrong as wrong:
        return wrong.objection
    return None


def check_conserved(
    transactions: Sequence[Transaction],
    keys: Sequence[bytes],
    amount: Callable[[bytes], int],
    total: int,
) -> Objection | None:
    """Whoever saw all `keys` at once saw amounts that make `total`: no revisions."""
    for one in transactions:
        values = [one.found.get(key, NOTHING)[0] for key in keys]
        amounts = [amount(value) for value in values if value is not None]
        if len(amounts) == len(keys) and sum(amounts) != total:
            detail = f"all amounts make {sum(amounts)}, not {total}"
            return _objection("I-36", detail, one)
    return None


class _Wrong(Exception):
    """Ends a check from within."""

    def __init__(self, invariant: str, detail: str, *shown: Transaction) -> None:
        self.objection = _objection(invariant, detail, *shown)
        super().__init__(detail)


def _objection(invariant: str, detail: str, *shown: Transaction) -> Objection:
    lines = "".join(f"\n  {describe_transaction(one)}" for one in shown)
    return Objection(invariant, detail + lines, None)


class _Replay:
    def __init__(self, transactions: Sequence[Transaction]) -> None:
        self.transactions = transactions
        self.writers: dict[tuple[bytes, bytes], Transaction] = {}
        for one in transactions:
            for pair in one.writes.items():
                assert pair not in self.writers, "no two writes have the same value"
                self.writers[pair] = one
        # By revision, and the other way round.
        self.placed: dict[int, Transaction] = {}
        self.revisions: dict[int, int] = {}
        # Of each key the revisions at which it was written, and the values.
        self.keys: dict[bytes, tuple[list[int], list[bytes]]] = {}
        answered = [o for o in transactions if o.end is not None and o.revision]
        answered.sort(key=_END)
        self.ends = list(map(_END, answered))
        self.floors = [newest := 0]
        for one in answered:
            newest = max(newest, one.revision)
            self.floors.append(newest)

    # -- where each of them is -------------------------------------------------------

    def place_all(self) -> None:
        """What the replies prove about who wrote when."""
        for one in self.transactions:
            if one.outcome == "ok" and one.writes:
                self._place(one, one.revision, one)
            for key, (value, at) in one.found.items():
                if value is not None:
                    self._place_writer(key, value, at, one)
        for revision in sorted(self.placed):
            for key, value in self.placed[revision].writes.items():
                revisions, values = self.keys.setdefault(key, ([], []))
                revisions.append(revision)
                values.append(value)

    def _place_writer(
        self, key: bytes, value: bytes, at: int, reader: Transaction
    ) -> None:
        writer = self.writers.get((key, value))
        if writer is None:
            raise _Wrong("I-54", f"nobody wrote {show(value)} to {show(key)}", reader)
        if writer.outcome == "refused":
            detail = f"a refused transaction was applied at revision {at}"
            raise _Wrong("I-54", detail, writer, reader)
        self._place(writer, at, reader)

    def _place(self, one: Transaction, revision: int, teller: Transaction) -> None:
        if revision <= FIRST_REVISION:
            detail = f"nothing was ever written at revision {revision}"
            raise _Wrong("I-44", detail, teller)
        known = self.revisions.setdefault(id(one), revision)
        if known != revision:
            detail = f"a transaction is of revision {known} and of {revision}"
            raise _Wrong("I-36", detail, one, teller)
        other = self.placed.setdefault(revision, one)
        if other is not one:
            detail = f"two transactions are of revision {revision}"
            raise _Wrong("I-44", detail, other, one)

    # -- whether that explains everything ----------------------------------------------

    def check_replies(self) -> None:
        """Each reply shows the state at its revision, and none is too old."""
        for one in self.transactions:
            if one.revision and one.found:
                for key, seen in one.found.items():
                    if self._at(key, one.revision) != seen:
                        self._refuse(one, key, seen)
            revision = self.revisions.get(id(one), 0)
            floor = self._floor(one)
            # What wrote made a revision that nobody had seen before it began.
            if (revision and revision <= floor) or 0 < one.revision < floor:
                at = revision or one.revision
                detail = f"revision {at} is too old: {floor} was told before it began"
                raise _Wrong("I-40", detail, one)
            held = one.found and all(
                one.found.get(key, NOTHING)[1] == at for key, at in one.expected.items()
            )
            if one.outcome == "refused" and one.expected and held:
                raise _Wrong("I-44", "it was refused for what it expected", one)

    def check_conditions(self) -> None:
        """What wrote at a revision came upon what it expected."""
        for revision, one in self.placed.items():
            for key, expected in one.expected.items():
                value, at = self._at(key, revision - 1)
                if at != expected:
                    detail = (
                        f"at revision {revision} it came upon {show(key)} of revision"
                        f" {at} ({show(value)})"
                    )
                    raise _Wrong("I-44", detail, one)

    def _at(self, key: bytes, revision: int) -> Seen:
        revisions, values = self.keys.get(key, ([], []))
        position = bisect_right(revisions, revision) - 1
        return NOTHING if position < 0 else (values[position], revisions[position])

    def _floor(self, one: Transaction) -> int:
        return self.floors[bisect_left(self.ends, one.start)]

    def _refuse(self, one: Transaction, key: bytes, seen: Seen) -> None:
        """Part of a transaction, if another key of it is seen or was."""
        value, at = self._at(key, one.revision)
        writer = self.placed.get(at)
        parts = writer is not None and len(writer.writes) > 1
        detail = (
            f"at revision {one.revision} {show(key)} is {show(value)} of {at}, not"
            f" {show(seen[0])} of {seen[1]}"
        )
        shown = [one] if writer is None else [writer, one]
        raise _Wrong("I-36" if parts else "I-44", detail, *shown)
