"""How a lease is kept alive as time goes by, and what is known of it meanwhile.

The clock is the tests' (jumping.py): each time that is named here is exact.
"""

import asyncio

import pytest
from quorate.client import (
    Forbidden,
    InvalidRequest,
    Lease,
    LeaseExists,
    LeaseInfo,
    LeaseNotFound,
    QuorateError,
    ServerFault,
    TooBusy,
    Unavailable,
    Unknown,
)
from quorate.client.leases import LeaseCalls

from .jumping import JumpingLoop, run

TTL = 9.0


class Cluster(LeaseCalls):
    """One lease as its leader keeps it, and a network that is as bad as it is told."""

    def __init__(self, loop: JumpingLoop) -> None:
        self.loop = loop
        self.begun = loop.time()
        self.asked: list[tuple[str, float]] = []
        self.patience: list[float] = []
        # How long the next calls take, and what they end in; then all goes well.
        self.takes: list[float] = []
        self.errors: list[QuorateError | None] = []
        # None: it is not there.
        self.deadline: float | None = None
        self.ttl = TTL
        self.kept: set[Lease] = set()

    def lease(self, ttl: float = TTL, timeout: float = 5.0) -> Lease:
        self.ttl = ttl
        return Lease(self, ttl, timeout, 7, self.kept)

    def left(self) -> float:
        """What the cluster would say."""
        return max(0.0, (self.deadline or 0.0) - self.loop.time())

    def times(self, name: str = "keep_alive") -> list[float]:
        """When it was asked for this, since the beginning."""
        return [round(at - self.begun, 3) for what, at in self.asked if what == name]

    async def _come(self, name: str, timeout: float) -> None:
        self.asked.append((name, self.loop.time()))
        self.patience.append(timeout)
        error = self.errors.pop(0) if self.errors else None
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(self.takes.pop(0) if self.takes else 0.0)
        except TimeoutError:
            raise Unknown("too slow") from None
        if error is not None:
            raise error

    def _there(self) -> bool:
        if self.deadline is not None and self.deadline <= self.loop.time():
            self.deadline = None
        return self.deadline is not None

    async def grant(self, lease: int, ttl_ms: int, timeout: float) -> None:
        # The earliest moment that it could be from.
        begun = self.loop.time()
        await self._come("grant", timeout)
        self.deadline = begun + ttl_ms / 1000

    async def keep_alive(self, lease: int, timeout: float) -> LeaseInfo:
        begun = self.loop.time()
        await self._come("keep_alive", timeout)
        if not self._there():
            raise LeaseNotFound("gone")
        self.deadline = max(self.deadline or 0.0, begun + self.ttl)
        return LeaseInfo(lease, self.ttl, self.left(), ())

    async def revoke(self, lease: int, timeout: float) -> None:
        await self._come("revoke", timeout)
        if not self._there():
            raise LeaseNotFound("gone")
        self.deadline = None


def test_it_is_kept_alive_at_a_third_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        async with cluster.lease() as lease:
            await asyncio.sleep(10)
            assert cluster.times() == [3.0, 6.0, 9.0]
            assert lease.left == pytest.approx(8.0)
            assert not lease.lost.is_set()
        assert cluster.times("revoke") == [10.0]
        assert (lease.left, lease.lost.is_set()) == (0.0, True)
        await asyncio.sleep(100)
        assert len(cluster.times()) == 3

    run(monkeypatch, story)


def test_its_time_counts_from_when_the_request_was_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.takes = [2.0, 2.5]
        lease = await cluster.lease().grant()
        assert lease.left == pytest.approx(TTL - 2)
        await asyncio.sleep(4)
        # Begun at 3, a third after its grant was begun, and answered at 5.5.
        assert cluster.times() == [3.0]
        assert lease.left == pytest.approx(TTL + 3 - 6)
        await asyncio.sleep(1)
        assert cluster.times() == [3.0, 6.0]
        await lease.abandon()

    run(monkeypatch, story)


@pytest.mark.parametrize(
    "error",
    [
        *(Unknown("lost"), Unavailable("nobody"), TooBusy("busy")),
        # Of one node; another one may be better.
        *(ServerFault("a bug"), Forbidden("no")),
    ],
)
def test_whatever_fails_is_tried_again_soon(
    monkeypatch: pytest.MonkeyPatch, error: QuorateError
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.errors = [None, error, error]
        async with cluster.lease() as lease:
            await asyncio.sleep(5)
            assert cluster.times() == [3.0, 3.2, 3.4]
            assert lease.left == pytest.approx(TTL + 3.4 - 5)
            await asyncio.sleep(3)
            assert cluster.times() == [3.0, 3.2, 3.4, 6.4]
            assert not lease.lost.is_set()

    run(monkeypatch, story)


def test_a_mute_node_is_not_waited_for_until_all_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.takes = [0.0, 100.0, 100.0]
        async with cluster.lease(ttl=3, timeout=60) as lease:
            await asyncio.sleep(4)
            # Asked at 1 with 2 left, for one of them; and so on.
            assert cluster.times() == [1.0, 2.15, 2.725, 3.725]
            assert cluster.patience[1:4] == pytest.approx([1.0, 0.425, 0.1375])
            assert not lease.lost.is_set()

    run(monkeypatch, story)


@pytest.mark.parametrize("takes", [0.0, 100.0])
def test_it_is_lost_when_its_time_is_over_and_nobody_could_be_asked(
    monkeypatch: pytest.MonkeyPatch, takes: float
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.errors = [None, *[Unavailable("nobody")] * 1000]
        cluster.takes = [0.0, *[takes] * 1000]
        lease = await cluster.lease().grant()
        await lease.lost.wait()
        assert loop.time() - cluster.begun == pytest.approx(TTL)
        assert (lease.left, lease.over) == (0.0, True)
        cluster.errors, cluster.takes, count = [], [], len(cluster.asked)
        await asyncio.sleep(100)
        # Lost stays lost, and nobody asks any more.
        assert lease.lost.is_set()
        assert len(cluster.asked) == count
        assert not cluster.kept
        with pytest.raises(InvalidRequest, match="once"):
            await lease.grant()
        await lease.revoke()

    run(monkeypatch, story)


def test_it_is_lost_as_soon_as_the_cluster_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        async with cluster.lease() as lease:
            cluster.deadline = None
            await lease.lost.wait()
            assert loop.time() - cluster.begun == pytest.approx(3.0)
            assert lease.left == 0.0
            assert not cluster.kept

    run(monkeypatch, story)


def test_what_is_left_is_never_more_than_the_cluster_would_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.takes = [0.7, 0.3, 2.9, 0.0, 100.0, 0.4, 3.0, 0.1, 100.0, 100.0]
        cluster.errors = [None, None, Unavailable("nobody"), None, Unknown("lost")]
        lease = await cluster.lease().grant()
        while not lease.lost.is_set() and loop.time() < cluster.begun + 60:
            assert lease.left <= cluster.left() + 1e-6
            await asyncio.sleep(0.05)
        assert not lease.lost.is_set()
        await lease.abandon()

    run(monkeypatch, story)


def test_a_ttl_between_milliseconds_counts_as_it_was_granted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        for ttl in (1.0004, 1.00049, 2.3, 1.0006):
            cluster = Cluster(loop)
            lease = await cluster.lease(ttl).grant()
            assert lease.left <= cluster.left() + 1e-9
            await lease.abandon()

    run(monkeypatch, story)


def test_a_grant_that_takes_longer_than_the_lease_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.takes = [2.0]
        with pytest.raises(LeaseNotFound):
            await cluster.lease(ttl=1.5).grant()
        assert not cluster.kept
        # Granted late, it is still there.
        late = Cluster(loop)

        async def grant(lease: int, ttl_ms: int, timeout: float) -> None:
            await asyncio.sleep(2)
            late.deadline = loop.time() + 1.5

        monkeypatch.setattr(late, "grant", grant)
        lease = await late.lease(ttl=1.5).grant()
        assert (late.times(), lease.left) == ([2.0], pytest.approx(1.5))
        await lease.abandon()

    run(monkeypatch, story)


def test_a_lease_of_an_earlier_try_counts_from_when_it_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.deadline = loop.time() + TTL
        cluster.errors = [Unknown("lost"), LeaseExists("there is one")]
        cluster.takes = [1.0, 2.0, 0.5]
        lease = Lease(cluster, TTL, 5.0, 0, cluster.kept)
        with pytest.raises(Unknown):
            await lease.grant()
        await lease.grant()
        assert lease.left == TTL - 0.5
        assert cluster.kept == {lease}
        await lease.revoke()

    run(monkeypatch, main)


def test_a_lease_that_was_granted_late_and_not_kept_then_is_had_by_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second try was told that there is such a lease: its own."""

    async def main(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        cluster.takes = [1.6]
        cluster.errors = [None, Unknown("lost"), LeaseExists("there is one")]
        lease = Lease(cluster, 1.5, 5.0, 0, cluster.kept)
        with pytest.raises(Unknown, match="lost"):
            await lease.grant()
        cluster.deadline = loop.time() + TTL
        await lease.grant()
        assert cluster.kept == {lease}
        await lease.revoke()

    run(monkeypatch, main)


def test_an_abandoned_lease_is_lost_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        lease = await cluster.lease().grant()
        await asyncio.sleep(1)
        await lease.abandon()
        await lease.abandon()
        assert not cluster.kept
        assert lease.left == pytest.approx(TTL - 1)
        assert not lease.over
        await lease.lost.wait()
        assert loop.time() - cluster.begun == pytest.approx(TTL)
        assert cluster.asked == [("grant", cluster.begun)]

    run(monkeypatch, story)


def test_after_a_suspension_nothing_is_left_and_nobody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        lease = await cluster.lease().grant()
        loop.stand_still(TTL + 1)
        assert (lease.left, lease.over) == (0.0, True)
        await lease.lost.wait()
        assert cluster.times() == []
        await lease.revoke()

    run(monkeypatch, story)


def test_a_lease_that_somebody_else_made_shorter_is_over_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        cluster = Cluster(loop)
        lease = await cluster.lease().grant()
        # Revoked, and the id given again.
        cluster.ttl = 4.0
        cluster.deadline = loop.time() + 4.0
        await asyncio.sleep(3.5)
        assert lease.left == pytest.approx(cluster.left())
        await lease.abandon()

    run(monkeypatch, story)


@pytest.mark.parametrize(
    "ttl", [0.0, 0.9, 0.999, -1.0, float("nan"), float("inf"), 9_000_000_001.0]
)
def test_a_time_that_can_not_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, ttl: float
) -> None:
    async def story(loop: JumpingLoop) -> None:
        with pytest.raises(InvalidRequest, match="ttl"):
            Cluster(loop).lease(ttl)

    run(monkeypatch, story)


def test_the_longest_and_the_shortest_time_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(loop: JumpingLoop) -> None:
        for ttl in (1, 1.0, 9_000_000_000):
            async with Cluster(loop).lease(ttl) as lease:
                assert lease.ttl == ttl
                assert lease.left == pytest.approx(ttl)

    run(monkeypatch, story)
