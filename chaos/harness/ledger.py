"""The books of one run: what was acknowledged, and what may therefore be found.

Law: pure. Calls come in the order of real time (the caller lives in one thread), so no
clocks are compared: what a read may find is fixed when it begins. Each key has one
writer, which has one write in flight and writes 1, 2, 3, … So for each key there is one
`Known`, the highest counter of which an acknowledgement or a read has given proof. A
read that begins later finds that one or a later attempt, never one that was refused,
byte for byte as it was sent, at the revision and with the version that it must have.
The last check of a run is the same as every other: a read after the last write.

An attempt whose outcome is unknown may still happen at any later time. A writer that
goes on with such a key must make its writes conditional; else it must leave the key.
Books are kept only of what a read that has begun may still find.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from .verdict import Violation

Outcome: TypeAlias = Literal["acknowledged", "rejected", "unknown"]

_PADDING: Final = bytes(range(33, 127))
# How much is kept before what can be forgotten is looked for.
_KEPT_MIN: Final = 64
_REVISIONS_KEPT_MIN: Final = 4096


class Attempt(msgspec.Struct, eq=False):
    """One write: what it is, what it may become, and how it ended.

    `version` is the key's if it happens. `base` and `after_revision` are what was known
    when it began: the key's counter and the store's newest revision. `revision` is its
    own once that is known, be it from its acknowledgement or from a read (0 before).
    """

    key: str
    counter: int
    version: int
    node: str
    began_s: float
    base: int
    after_revision: int
    outcome: Outcome | None = None
    revision: int = 0
    ended_s: float = 0.0


class Known(msgspec.Struct, frozen=True):
    """Proof that an attempt has happened."""

    attempt: Attempt
    how: Literal["acknowledged", "read"]
    node: str
    at_s: float

    def __str__(self) -> str:
        return (
            f"counter {self.attempt.counter} or a later one: it was {self.how} at"
            f" revision {self.attempt.revision} via {self.node} at {self.at_s:.3f} s"
        )


class Found(msgspec.Struct, frozen=True):
    """What a read returned for a key that is there."""

    value: bytes
    revision: int
    version: int


class Reading(msgspec.Struct, eq=False):
    """A read in flight; `known` is what it must not fall behind."""

    key: str
    began_s: float
    known: Known | None


class _Account:
    """One key's books."""

    __slots__ = ("attempted", "attempts", "known", "limit", "open", "readings")

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.attempted = 0
        self.limit = _KEPT_MIN
        self.known: Known | None = None
        self.open: Attempt | None = None
        self.readings: list[int] = []

    @property
    def floor(self) -> int:
        """The counter that the next read must reach; 0 when nothing must be there."""
        return 0 if self.known is None else self.known.attempt.counter

    def doubtful_above(self, base: int) -> bool:
        """Whether an attempt after `base` may have happened without a word."""
        return any(
            attempt.outcome == "unknown" and counter > base
            for counter, attempt in self.attempts.items()
        )

    def forget(self) -> None:
        """Drop what no read that has begun may find without being wrong anyway."""
        if len(self.attempts) > self.limit:
            oldest = min([self.floor, *self.readings])
            kept = {c: a for c, a in self.attempts.items() if c >= oldest}
            self.attempts = kept
            # One slow read must not make every write look through all of them.
            self.limit = max(_KEPT_MIN, 2 * len(kept))


class Ledger:
    """All keys of a run; every value is at least `value_bytes` long."""

    def __init__(self, value_bytes: int) -> None:
        self.value_bytes = value_bytes
        self.newest_revision = 0
        self._accounts: dict[str, _Account] = {}
        self._open: dict[str, Attempt] = {}
        self._made: dict[int, str] = {}
        self._made_limit = _REVISIONS_KEPT_MIN

    @property
    def keys(self) -> list[str]:
        """All keys that were ever written, in order."""
        return sorted(self._accounts)

    def value(self, attempt: Attempt) -> bytes:
        """The bytes that an attempt writes; no two attempts have the same."""
        return make_value(attempt.key, attempt.counter, self.value_bytes)

    def expected_revision(self, key: str) -> int:
        """The revision that a conditional write builds upon; 0 for an absent key."""
        known = self._accounts[key].known if key in self._accounts else None
        return 0 if known is None else known.attempt.revision

    # -- writes ----------------------------------------------------------------------

    def write_begins(self, key: str, node: str, now_s: float) -> Attempt:
        """The next attempt on `key`, sent through `node`."""
        account = self._accounts.setdefault(key, _Account())
        assert account.open is None, f"{key} has one writer, one write at a time"
        account.attempted += 1
        version = 1 if account.known is None else account.known.attempt.version + 1
        attempt = Attempt(
            key=key,
            counter=account.attempted,
            version=version,
            node=node,
            began_s=now_s,
            base=account.floor,
            after_revision=self.newest_revision,
        )
        account.attempts[attempt.counter] = account.open = attempt
        self._open[key] = attempt
        return attempt

    def write_acknowledged(
        self, attempt: Attempt, revision: int, now_s: float
    ) -> Violation | None:
        """The write is done, and made `revision`."""
        account = self._end(attempt, "acknowledged", now_s)
        problem = self._impossible_revision(attempt, revision)
        attempt.revision = revision
        self._learn(account, Known(attempt, "acknowledged", attempt.node, now_s))
        self._made[revision] = attempt.key
        if len(self._made) > self._made_limit:
            self._forget_revisions()
        if problem is None:
            return None
        return Violation(
            "wrong revision",
            attempt.key,
            problem,
            f"counter {attempt.counter} was acknowledged at revision {revision}"
            f" via {attempt.node} at {now_s:.3f} s",
        )

    def write_rejected(self, attempt: Attempt, now_s: float) -> Violation | None:
        """The cluster says that the write did not happen and never will."""
        self._end(attempt, "rejected", now_s)
        if not attempt.revision:
            return None
        return Violation(
            "refused write applied",
            attempt.key,
            f"counter {attempt.counter} to be acknowledged or unknown: it was read at"
            f" revision {attempt.revision}",
            f"{attempt.node} said at {now_s:.3f} s that it did not happen",
        )

    def write_unknown(self, attempt: Attempt, now_s: float) -> None:
        """Nobody can tell whether the write happened, or will."""
        self._end(attempt, "unknown", now_s)

    def condition_failed(
        self, attempt: Attempt, expected: int, revision: int, now_s: float
    ) -> Violation | None:
        """A conditional write was refused, the key being at `revision`.

        Only an own earlier attempt of unknown outcome can be the reason: nobody else
        writes to the key.
        """
        account = self._accounts[attempt.key]
        problem = self.write_rejected(attempt, now_s)
        doubtful = account.doubtful_above(attempt.base)
        if problem is not None or (doubtful and revision > expected):
            return problem
        return Violation(
            "condition wrongly refused",
            attempt.key,
            "nothing known" if account.known is None else str(account.known),
            f"{attempt.node} said at {now_s:.3f} s that the key is at revision"
            f" {revision}",
        )

    # -- reads -----------------------------------------------------------------------

    def read_begins(self, key: str, now_s: float) -> Reading:
        """A read of `key` is about to be sent."""
        account = self._accounts.setdefault(key, _Account())
        account.readings.append(account.floor)
        return Reading(key, now_s, account.known)

    def read_failed(self, reading: Reading) -> None:
        """The read has no answer: it says nothing."""
        self._close(reading)

    def read_ends(
        self, reading: Reading, node: str, found: Found | None, now_s: float
    ) -> Violation | None:
        """`node` answered a linearizable read."""
        return self._check(reading, "stale read", node, found, now_s)

    def check_final(
        self, key: str, node: str, found: Found | None, now_s: float
    ) -> Violation | None:
        """What is there in the end, by a linearizable read through `node`."""
        if key not in self._accounts:
            return Violation(
                "phantom key", key, "no such key", f"{_shown(found)} via {node}"
            )
        return self._check(
            self.read_begins(key, now_s), "lost write", node, found, now_s
        )

    def _check(
        self,
        reading: Reading,
        older: str,
        node: str,
        found: Found | None,
        now_s: float,
    ) -> Violation | None:
        account = self._close(reading)
        known = reading.known

        def violation(kind: str, expected: str) -> Violation:
            return Violation(
                kind,
                reading.key,
                expected,
                f"{_shown(found)} via {node}, read from {reading.began_s:.3f} to"
                f" {now_s:.3f} s",
            )

        if found is None:
            return None if known is None else violation(older, str(known))
        counter = read_counter(reading.key, found.value, self.value_bytes)
        if counter is None or counter > account.attempted:
            return violation(
                "phantom value", f"one of the {account.attempted} values ever sent"
            )
        if known is not None and counter < known.attempt.counter:
            return violation(older, str(known))
        attempt = account.attempts[counter]
        if attempt.outcome == "rejected":
            return violation(
                "refused write applied",
                f"nothing of counter {counter}: {attempt.node} refused it at"
                f" {attempt.ended_s:.3f} s",
            )
        problem = self._impossible_record(account, attempt, found)
        if problem is not None:
            return violation(*problem)
        attempt.revision = found.revision
        self._learn(account, Known(attempt, "read", node, now_s))
        return None

    def _impossible_record(
        self, account: _Account, attempt: Attempt, found: Found
    ) -> tuple[str, str] | None:
        """Why an attempt that may be found can't look like that."""
        if attempt.revision and found.revision != attempt.revision:
            return (
                "wrong revision",
                f"counter {attempt.counter} at revision {attempt.revision}",
            )
        if not attempt.revision and found.revision <= attempt.after_revision:
            return (
                "wrong revision",
                f"a revision after {attempt.after_revision}, which existed before",
            )
        if found.version != attempt.version:
            return (
                "wrong version",
                f"version {attempt.version}: so many writes of the key took place",
            )
        return None

    # -- books -----------------------------------------------------------------------

    def _end(self, attempt: Attempt, outcome: Outcome, now_s: float) -> _Account:
        account = self._accounts[attempt.key]
        assert account.open is attempt
        account.open = None
        del self._open[attempt.key]
        attempt.outcome = outcome
        attempt.ended_s = now_s
        return account

    def _impossible_revision(self, attempt: Attempt, revision: int) -> str | None:
        """Why a write that began when it did can't have made that revision."""
        if attempt.revision and revision != attempt.revision:
            return f"revision {attempt.revision}, at which it was read before"
        if revision <= attempt.after_revision:
            return (
                f"a revision after {attempt.after_revision}, which existed before the"
                f" write began at {attempt.began_s:.3f} s"
            )
        if revision in self._made:
            return f"a revision of its own, not that of {self._made[revision]}"
        return None

    def _learn(self, account: _Account, known: Known) -> None:
        self.newest_revision = max(self.newest_revision, known.attempt.revision)
        if known.attempt.counter > account.floor:
            account.known = known
            account.forget()

    def _close(self, reading: Reading) -> _Account:
        account = self._accounts[reading.key]
        floor = 0 if reading.known is None else reading.known.attempt.counter
        account.readings.remove(floor)
        return account

    def _forget_revisions(self) -> None:
        """No open write can make a revision up to the one that it began after."""
        oldest = min(
            (attempt.after_revision for attempt in self._open.values()),
            default=self.newest_revision,
        )
        self._made = {r: key for r, key in self._made.items() if r > oldest}
        self._made_limit = max(_REVISIONS_KEPT_MIN, 2 * len(self._made))


def make_value(key: str, counter: int, size: int) -> bytes:
    """`key:counter:padding`, `size` bytes or as many as key and counter need."""
    head = f"{key}:{counter}:".encode()
    turn = counter % len(_PADDING)
    padding = _PADDING[turn:] + _PADDING * (size // len(_PADDING) + 1)
    return head + padding[: max(0, size - len(head))]


def read_counter(key: str, value: bytes, size: int) -> int | None:
    """The counter of a value that some attempt on `key` could have written."""
    prefix = f"{key}:".encode()
    digits = value[len(prefix) : len(prefix) + 20].partition(b":")[0]
    if not value.startswith(prefix) or not digits.isdigit():
        return None
    counter = int(digits)
    # Padding and leading zeros, too: a value is right as a whole or not at all.
    whole = counter > 0 and value == make_value(key, counter, size)
    return counter if whole else None


def _shown(found: Found | None) -> str:
    if found is None:
        return "nothing"
    head = found.value[:64].decode("ascii", "backslashreplace")
    return (
        f"{head!r} ({len(found.value)} bytes) at revision {found.revision},"
        f" version {found.version}"
    )
