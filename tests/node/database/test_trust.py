"""Roots and revocations in the state: each step in its turn, and nothing is lost."""

from hashlib import sha256

import pytest
from quorate.node.database.trust import (
    ISSUING,
    REVOKED_MAX,
    SETTLED,
    TRUSTING,
    TrustRecord,
    revoked,
)
from quorate.raft import Configuration
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    ErrorCode,
    MemberRole,
    Present,
    Reassign,
    RevokeCertificate,
    Rotate,
    Step,
)

from .support import new_database
from .test_members import configured, told

OLD, NEW, OTHER = b"the old root", b"the new root", b"another root"
VOTERS = (1, 2, 3)


class Story:
    """A database that is told one thing after the other."""

    def __init__(self) -> None:
        self.env = MemoryEnv()
        self.database = new_database(env=self.env)
        self.index = 0
        self.database.apply([configured(self._next(), Configuration(VOTERS))])

    def _next(self) -> int:
        self.index += 1
        return self.index

    def says(self, command: Rotate | Present | RevokeCertificate | Reassign) -> int:
        """The code of what came of it, 0 if it was done."""
        (result,) = self.database.apply([told(self._next(), command)])
        return result.code

    def step(self, step: Step, old: bytes = OLD, new: bytes = NEW) -> int:
        return self.says(Rotate(step, old, new))

    def presents(self, member: int, issuer: bytes, *roots: bytes) -> int:
        digests = tuple(sha256(root).digest() for root in roots)
        return self.says(Present(member, b"s", sha256(issuer).digest(), digests))

    @property
    def trust(self) -> TrustRecord:
        return self.database.member_table.trust

    def waits_for(self) -> list[int]:
        return self.trust.waits_for(VOTERS)


def test_nothing_is_stored_until_somebody_rotates_or_revokes() -> None:
    story = Story()
    before = story.database.state_hash()[8:]
    assert story.presents(1, OLD, OLD) == 0
    assert story.trust == TrustRecord()
    assert story.trust.signing is None
    assert story.database.state_hash()[8:] == before


def test_each_step_waits_until_everybody_is_ready_for_it() -> None:
    story = Story()
    assert story.step(Step.TRUST) == 0
    assert (story.trust.phase, story.trust.signing) == (TRUSTING, OLD)
    for member in VOTERS:
        assert story.step(Step.ISSUE) == ErrorCode.PRECONDITION_FAILED
        assert story.step(Step.DROP) == ErrorCode.PRECONDITION_FAILED
        assert member in story.waits_for()
        story.presents(member, OLD, OLD, NEW)
    assert story.waits_for() == []
    assert story.step(Step.ISSUE) == 0
    assert (story.trust.phase, story.trust.signing) == (ISSUING, NEW)
    for member in VOTERS:
        assert story.step(Step.DROP) == ErrorCode.PRECONDITION_FAILED
        story.presents(member, NEW, OLD, NEW)
    assert story.step(Step.DROP) == 0
    assert (story.trust.phase, story.trust.signing) == (SETTLED, NEW)
    assert story.trust.roots == (NEW,)


def test_a_step_that_is_said_twice_is_one_and_another_rotation_is_none() -> None:
    story = Story()
    for _ in range(2):
        assert story.step(Step.TRUST) == 0
        assert story.step(Step.TRUST, OLD, OTHER) == ErrorCode.PRECONDITION_FAILED
    for member in VOTERS:
        story.presents(member, OLD, OLD, NEW)
    for _ in range(2):
        assert story.step(Step.ISSUE) == 0
        # What is issued by the new root can't be taken back by distrusting it.
        assert story.step(Step.CANCEL) == ErrorCode.PRECONDITION_FAILED
        assert story.step(Step.ISSUE, OLD, OTHER) == ErrorCode.PRECONDITION_FAILED
    for member in VOTERS:
        story.presents(member, NEW, OLD, NEW)
    assert story.step(Step.DROP, OTHER, NEW) == ErrorCode.PRECONDITION_FAILED
    for _ in range(2):
        assert story.step(Step.DROP) == 0
    # The next one begins where this one ended.
    assert story.step(Step.TRUST) == ErrorCode.PRECONDITION_FAILED
    assert story.step(Step.TRUST, NEW, OTHER) == 0


def test_a_rotation_is_cancelled_while_nobody_shows_the_new_root() -> None:
    story = Story()
    story.step(Step.TRUST)
    story.presents(1, OLD, OLD, NEW)
    assert story.step(Step.CANCEL) == 0
    assert (story.trust.phase, story.trust.roots) == (SETTLED, (OLD,))
    assert story.step(Step.TRUST) == 0
    # What was said in the one that was cancelled counts no more.
    assert story.waits_for() == [1, 2, 3]


def test_nobody_waits_for_whoever_has_left_or_was_revoked() -> None:
    story = Story()
    story.step(Step.TRUST)
    story.presents(1, OLD, OLD, NEW)
    assert story.says(RevokeCertificate(2, b"")) == 0
    assert story.says(Reassign(3, MemberRole.LEAVING, 0)) == 0
    story.database.apply([configured(story._next(), Configuration((1, 2)))])
    assert story.step(Step.ISSUE) == 0


def test_a_certificate_is_refused_by_its_number_and_a_member_by_its_id() -> None:
    story = Story()
    assert story.says(RevokeCertificate(0, b"\x07")) == 0
    assert story.trust.refuses(1, b"\x07")
    assert not story.trust.refuses(1, b"\x08")
    assert story.says(RevokeCertificate(2, b"")) == 0
    assert story.trust.refuses(2, b"\x08")
    before = story.trust
    assert story.says(RevokeCertificate(2, b"")) == 0
    assert story.trust == before
    assert story.says(RevokeCertificate(9, b"")) == ErrorCode.MEMBER_NOT_FOUND
    assert story.presents(9, OLD, OLD) == ErrorCode.MEMBER_NOT_FOUND


def test_the_last_voter_is_not_revoked() -> None:
    story = Story()
    assert story.says(RevokeCertificate(1, b"")) == 0
    assert story.says(RevokeCertificate(2, b"")) == 0
    assert story.says(RevokeCertificate(3, b"")) == ErrorCode.LAST_VOTER


@pytest.mark.parametrize("kind", ["serials", "members"])
def test_no_revocation_is_forgotten_for_another_one(kind: str) -> None:
    many = range(1, REVOKED_MAX + 1)
    if kind == "members":
        full = TrustRecord(members=tuple(many))
    else:
        full = TrustRecord(serials=tuple(n.to_bytes(2, "big") for n in many))
    refused = revoked(full, RevokeCertificate(0, b"new"))
    assert refused is ErrorCode.PRECONDITION_FAILED
