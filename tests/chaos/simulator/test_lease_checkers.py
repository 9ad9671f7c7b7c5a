"""The checkers of leases are checked: what they accept, and what they object to."""

import pytest
from quorate.chaos.simulator.checkers import leases, state
from quorate.chaos.simulator.checkers.book import Book
from quorate.chaos.simulator.checkers.leases import Asked
from quorate.chaos.simulator.shape import Shape
from quorate.chaos.simulator.world import MILLISECOND, Violation, World
from quorate.raft import COMMAND, Configuration, Entry
from quorate.wire import (
    EnvelopeKind,
    Grant,
    LeaseAnswer,
    LeaseCommand,
    LeaseList,
    Record,
    Revoke,
    encode_delete,
    encode_envelope_head,
    encode_expiry,
    encode_lease_command,
    encode_put,
)

TTL_MS = 1000
LEASE = 7


class FakeRaft:
    term = 1


class FakeNode:
    """As much of a node as applying an entry takes."""

    name = "n1"
    raft = FakeRaft()


class Story:
    """A log that one node applies as it is told; lease 7 is granted at 100 ms."""

    def __init__(self) -> None:
        self.world = World(1)
        self.book = Book(
            self.world, Configuration((1,)), Shape(self.world), changes=False
        )
        self.book.led_since[1] = 0
        self.model = self.book.model
        self.at(100)
        self.granted = self.apply(encode_lease_command(Grant(LEASE, TTL_MS)))

    def at(self, ms: int) -> None:
        self.world.now_us = ms * MILLISECOND

    def apply(
        self,
        payload: bytes,
        kind: EnvelopeKind = EnvelopeKind.CLIENT_COMMAND,
        term: int = 1,
    ) -> int:
        """The index of the entry."""
        index = self.book.agreed_index + 1
        data = encode_envelope_head(kind, 0, 0) + payload
        entry = Entry(index, term, COMMAND, data)
        state.one_sequence(self.book, FakeNode(), entry)  # pyright: ignore[reportArgumentType]
        return index

    def command(self, command: LeaseCommand) -> int:
        return self.apply(encode_lease_command(command))

    def expire(self, since: int, term: int = 1) -> None:
        self.apply(encode_expiry([(LEASE, since)]), EnvelopeKind.EXPIRY, term)

    def asked(self, ms: int, what: str = "keep", ttl_ms: int = 0) -> Asked:
        return Asked(what, LEASE, ms * MILLISECOND, ttl_ms)

    def kept(self, asked_ms: int, left_ms: int = TTL_MS) -> None:
        answer = LeaseAnswer(1, LEASE, TTL_MS, left_ms)
        leases.has_its_time(self.book, self.asked(asked_ms), answer)


@pytest.fixture
def story() -> Story:
    return Story()


# -- when it ends ----------------------------------------------------------------------


def test_a_lease_may_end_when_its_time_is_over_on_the_fastest_clock(
    story: Story,
) -> None:
    story.at(100 + TTL_MS * 100 // 105)
    story.expire(story.granted)
    assert not story.model.leases.alive


def test_a_lease_that_ends_before_its_time_is_noticed(story: Story) -> None:
    story.at(100 + TTL_MS * 9 // 10)
    with pytest.raises(Violation, match="I-63"):
        story.expire(story.granted)


def test_a_keep_alive_counts_from_the_moment_of_asking(story: Story) -> None:
    story.at(800)
    story.kept(700)
    story.at(700 + TTL_MS * 9 // 10)
    with pytest.raises(Violation, match="I-63"):
        story.expire(story.granted)


def test_an_end_before_the_answer_to_a_keep_alive_is_noticed_as_well(
    story: Story,
) -> None:
    """A leader that was replaced answers; the new one had the lease ended."""
    story.at(1200)
    story.expire(story.granted)
    story.at(1300)
    with pytest.raises(Violation, match=r"I-64.*too early"):
        story.kept(1100)


def test_a_keep_alive_of_what_had_ended_before_is_noticed(story: Story) -> None:
    story.at(1200)
    story.expire(story.granted)
    story.at(1300)
    with pytest.raises(Violation, match=r"I-64.*is not"):
        story.kept(1250)


def test_what_was_said_to_be_left_is_left(story: Story) -> None:
    story.at(500)
    answer = LeaseAnswer(1, LEASE, TTL_MS, 900)
    leases.has_its_time(story.book, story.asked(400, "left"), answer)
    story.at(1200)
    with pytest.raises(Violation, match="I-63"):
        story.expire(story.granted)


def test_a_new_leader_gives_a_lease_its_whole_time(story: Story) -> None:
    story.book.led_since[2] = 1000 * MILLISECOND
    story.at(1500)
    with pytest.raises(Violation, match="I-64"):
        story.expire(story.granted, term=2)


def test_a_revoked_lease_may_end_at_any_time(story: Story) -> None:
    story.kept(100)
    story.at(200)
    story.command(Revoke(LEASE))
    leases.was_revoked(story.book, story.asked(150, "revoke"))
    assert not story.model.leases.alive


def test_the_end_of_an_older_lease_of_the_same_id_ends_nothing(story: Story) -> None:
    story.at(200)
    story.command(Revoke(LEASE))
    again = story.command(Grant(LEASE, TTL_MS))
    story.expire(story.granted)
    assert story.model.leases.alive[LEASE].since == again


# -- its keys --------------------------------------------------------------------------


def test_all_keys_go_at_one_revision_and_those_that_left_stay(story: Story) -> None:
    for key in (b"q1", b"q2", b"q3"):
        story.apply(encode_put(key, key, lease=LEASE))
    story.apply(encode_put(b"q3", b"plain"))
    assert story.model.leases.keys_of(LEASE) == [b"q1", b"q2"]
    story.command(Revoke(LEASE))
    gone = [(change.revision, change.key) for change in story.model.every[4:]]
    assert gone == [(6, b"q1"), (6, b"q2")]
    assert story.model.revision == 6
    story.apply(encode_put(b"q1", b"late", lease=LEASE))
    assert story.model.revision == 6, "there is no such lease any more"


def test_a_key_whose_lease_is_gone_is_not_there(story: Story) -> None:
    story.apply(encode_put(b"q1", b"a", lease=LEASE))
    record = Record(b"q1", b"a", 2, 2, 1, LEASE)
    leases.is_what_it_was(story.book, b"q1", 2, record)
    story.command(Revoke(LEASE))
    leases.is_what_it_was(story.book, b"q1", 3, None)
    with pytest.raises(Violation, match="I-44"):
        leases.is_what_it_was(story.book, b"q1", 3, record)


def test_the_keys_that_are_told_are_those_of_the_revision(story: Story) -> None:
    story.apply(encode_put(b"q1", b"a", lease=LEASE))
    story.apply(encode_put(b"q2", b"b", lease=LEASE))
    for revision, keys in ((2, (b"q1",)), (3, (b"q1", b"q2"))):
        answer = LeaseAnswer(revision, LEASE, TTL_MS, 500, keys)
        leases.hang_on_it(story.book, story.asked(100, "left"), answer)
    answer = LeaseAnswer(3, LEASE, TTL_MS, 500, (b"q1",))
    with pytest.raises(Violation, match="I-44"):
        leases.hang_on_it(story.book, story.asked(100, "left"), answer)


def test_a_write_that_was_acknowledged_is_in_the_log(story: Story) -> None:
    story.apply(encode_put(b"q1", b"a", lease=LEASE))
    asked = Asked("put", LEASE, 100 * MILLISECOND, key=b"q1", value=b"a")
    leases.was_written(story.book, asked, 2)
    with pytest.raises(Violation, match="I-16"):
        leases.was_written(story.book, asked, 1)
    story.apply(encode_delete(b"q1"))
    gone = Asked("delete", LEASE, 100 * MILLISECOND, key=b"q1")
    leases.was_written(story.book, gone, 3)
    with pytest.raises(Violation, match="I-16"):
        leases.was_written(story.book, gone, 2)


# -- what is said of it ----------------------------------------------------------------


def test_what_was_granted_or_revoked_is_in_the_log(story: Story) -> None:
    leases.was_granted(story.book, story.asked(50, "grant", TTL_MS))
    for asked in (story.asked(50, "grant", 2000), story.asked(150, "grant", TTL_MS)):
        with pytest.raises(Violation, match="I-16"):
            leases.was_granted(story.book, asked)
    with pytest.raises(Violation, match="I-16"):
        leases.was_revoked(story.book, story.asked(50, "revoke"))


def test_a_keep_alive_that_gives_too_little_is_noticed(story: Story) -> None:
    story.at(600)
    story.kept(500, left_ms=TTL_MS - 100)
    with pytest.raises(Violation, match="I-64"):
        story.kept(500, left_ms=TTL_MS - 200)
    with pytest.raises(Violation, match="I-64"):
        story.kept(500, left_ms=TTL_MS + 1)


def test_a_lease_is_found_while_it_was_promised(story: Story) -> None:
    story.at(900)
    with pytest.raises(Violation, match="I-63"):
        leases.is_not_found(story.book, story.asked(850))
    leases.is_not_found(story.book, story.asked(50))
    story.at(1200)
    leases.is_not_found(story.book, story.asked(1150))
    story.kept(1150)
    leases.is_not_found(story.book, story.asked(1150))
    story.at(1300)
    with pytest.raises(Violation, match="I-63"):
        leases.is_not_found(story.book, story.asked(1250))


def test_who_is_refused_for_a_lease_came_upon_none(story: Story) -> None:
    story.at(1200)
    with pytest.raises(Violation, match="I-34"):
        leases.is_absent(story.book, story.asked(1150, "put"))
    story.command(Revoke(LEASE))
    leases.is_absent(story.book, story.asked(1150, "put"))


def test_all_leases_are_listed_and_no_others(story: Story) -> None:
    story.at(500)
    asked = story.asked(450, "list")
    leases.lists_all(story.book, asked, LeaseList(1, (LEASE,)))
    with pytest.raises(Violation, match="I-63"):
        leases.lists_all(story.book, asked, LeaseList(1, ()))
    with pytest.raises(Violation, match="I-64"):
        leases.lists_all(story.book, asked, LeaseList(1, (LEASE, 8)))
    story.at(1200)
    leases.lists_all(story.book, story.asked(1150, "list"), LeaseList(1, ()))
