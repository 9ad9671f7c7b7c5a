"""What is made of watches: logs that differ, lack something, or were told wrongly."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from quorate.chaos.harness.cluster import Cluster
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.history import History
from quorate.chaos.harness.served import Endpoint
from quorate.chaos.harness.verdict import Counts
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.watchers import (
    LAST,
    Watcher,
    Watchers,
)
from quorate.chaos.histories import Change, Event
from quorate.client import (
    AsyncClient,
    Compacted,
    InvalidRequest,
    QuorateError,
    TooBusy,
    Unavailable,
)
from quorate.client import Event as ClientEvent
from quorate.node.launcher import LocalCluster

from .conftest import Idle, One

KEY = b"load/a"
LOG = [
    Change(2, KEY, b"1"),
    Change(4, KEY, b"2"),
    Change(5, KEY, None),
    Change(9, LAST.encode(), b"1"),
]
TOLD = [
    (2, Event(KEY, b"1", 2, 1)),
    (4, Event(KEY, b"2", 2, 2)),
    (5, Event(KEY, None)),
    (9, Event(LAST.encode(), b"1", 9, 1)),
]


@pytest.fixture
def watchers(tmp_path: Path) -> Watchers:
    """Two nodes that tell the same, and one watch, which was told all of it."""
    nothing = LocalCluster(tmp_path, ())
    cluster = Cluster(nothing, command=None, power_loss=False, connections=1)
    history = History(tmp_path / "history.jsonl")
    shared = Shared(cluster, lambda: 0.0, history, Counts(), Idle(), 1)
    history.close()
    watchers = Watchers(shared, 0.0)
    watcher = Watcher("any node", AsyncClient("127.0.0.1:1"), None, previous=False)
    watcher.created = 1
    watcher.revisions = [revision for revision, _ in TOLD]
    watcher.events = [event for _, event in TOLD]
    watchers.all.append(watcher)
    watchers.logs = [("n1", list(LOG)), ("n2", list(LOG))]
    watchers.last = 9
    shared.wrote(2, KEY.decode())
    return watchers


def forget(watchers: Watchers) -> None:
    """One change is told to nobody any more."""
    watchers.all[0].events.pop(1)
    watchers.all[0].revisions.pop(1)


def differ(watchers: Watchers) -> None:
    watchers.logs[1][1][1] = Change(4, KEY, b"3")


def stop_early(watchers: Watchers) -> None:
    watchers.logs[1][1].pop()


def lose(watchers: Watchers) -> None:
    watchers.shared.wrote(7, KEY.decode())


def end_early(watchers: Watchers) -> None:
    watchers.all[0].events.pop()
    watchers.all[0].revisions.pop()


BROKEN: dict[str, tuple[str, Callable[[Watchers], None]]] = {
    "a change was not told": ("wrong watch", forget),
    "not told to the end": ("wrong watch", end_early),
    "nodes tell different things": ("nodes tell different histories", differ),
    "a node tells less": ("nodes tell different histories", stop_early),
    "an acknowledged write is nowhere": ("lost write", lose),
}


def test_what_all_nodes_tell_and_a_watch_was_told_is_right(watchers: Watchers) -> None:
    assert watchers.check() == (
        "watches: 1 of them were told 4 changes, as 2 nodes tell them in the end"
    )


def test_what_came_after_the_last_change_is_not_looked_at(watchers: Watchers) -> None:
    watchers.all[0].revisions.append(10)
    watchers.all[0].events.append(Event(b"load/b", b"1", 10, 1))
    watchers.check()


def test_who_was_told_enough_need_not_be_told_everything(watchers: Watchers) -> None:
    end_early(watchers)
    watchers.all[0].over = True
    watchers.check()


class Ended:
    """A watch that nobody takes any more; it was told up to revision 4."""

    revision = 4

    def __init__(self, error: QuorateError | None = None) -> None:
        self.closed = False
        self._error = error or Unavailable("no node takes the watch")

    async def begin(self) -> None:
        pass

    def __aiter__(self) -> "Ended":
        return self

    async def __anext__(self) -> ClientEvent:
        raise self._error

    async def close(self) -> None:
        self.closed = True


class Asked:
    """A client of one node, whose watch ends."""

    def __init__(self, error: QuorateError | None = None) -> None:
        self.ended = Ended(error)

    async def status(self, *, timeout: float) -> dict[str, object]:
        del timeout
        return {"revision": 1}

    def watch(self, prefix: str, **options: object) -> Ended:
        del prefix, options
        return self.ended


def test_without_the_first_revisions_watches_are_not_judged(
    watchers: Watchers,
) -> None:
    watchers.logs.clear()
    watchers.check()
    assert watchers.shared.tally("watches").unjudged == "nobody told all revisions"
    watchers.compacted = True
    watchers.check()
    unjudged = watchers.shared.tally("watches").unjudged
    assert unjudged == "the first revisions were compacted"


async def test_a_watch_at_a_node_that_was_removed_ends_with_it(
    watchers: Watchers,
) -> None:
    """Found by the first soak with changes of members: it was called violated, ten
    minutes after the node had left, when the watch's patience was over."""
    node, asked = Endpoint("n4", "127.0.0.1:1", "127.0.0.1:1", 1), Asked()
    client = cast("AsyncClient", asked)
    watcher = Watcher("n4", client, node, previous=False)
    await watcher.run(watchers.shared)
    assert watcher.over
    assert asked.ended.closed
    await node.close()
    watchers.all.append(watcher)
    watchers.check()


async def test_a_watch_that_nobody_took_for_long_is_judged_by_what_it_was_told(
    one: One, shared: Shared
) -> None:
    """A fault may be over just when the watch's patience is: the node is up again."""
    away = Away()
    one.node.up.set()
    watcher = Watcher("n1", cast("AsyncClient", away), one.node, previous=False)
    with pytest.raises(Violated, match="TooBusy"):
        await watcher.run(shared)
    assert away.asked == [2, 5]


class Closing:
    """A client whose watches do not begin; the load ends after a few tries."""

    def __init__(self, shared: Shared, error: QuorateError) -> None:
        self._shared, self._error = shared, error
        self.tries = 0

    async def status(self, *, timeout: float) -> dict[str, object]:
        del timeout
        return {"revision": 1}

    def watch(self, prefix: str, **options: object) -> "Closing":
        del prefix, options
        return self

    async def begin(self) -> None:
        self.tries += 1
        if self.tries == 3:
            cast("Idle", self._shared.busy).stopping.set()
        raise self._error

    async def close(self) -> None:
        pass


async def test_a_watch_that_is_refused_is_a_violation(one: One, shared: Shared) -> None:
    client = Closing(shared, InvalidRequest("no watches here"))
    watcher = Watcher("n1", cast("AsyncClient", client), one.node, previous=False)
    with pytest.raises(Violated, match="no watches here") as caught:
        await watcher.run(shared)
    assert caught.value.violation.kind == "wrong refusal"


@pytest.mark.parametrize("error", [Unavailable("nobody"), Compacted("compacted", 9)])
async def test_a_watch_that_never_began_leaves_a_run_void(
    watchers: Watchers, error: QuorateError
) -> None:
    client = Closing(watchers.shared, error)
    watcher = Watcher("n4", cast("AsyncClient", client), None, previous=False)
    await watcher.run(watchers.shared)
    assert client.tries == 3
    watchers.check()
    assert watchers.shared.tally("watches").unjudged == ""
    watchers.all.append(watcher)
    watchers.check()
    unjudged = watchers.shared.tally("watches").unjudged
    assert unjudged == "no watch ever began at n4"


async def test_a_watch_whose_next_revisions_were_compacted_ends(
    watchers: Watchers,
) -> None:
    client = cast("AsyncClient", Asked(Compacted("compacted", 6)))
    watcher = Watcher("any node", client, None, previous=False)
    await watcher.run(watchers.shared)
    assert watcher.over
    # Where some node can't tell all revisions any more, it was so.
    watchers.all = [watcher]
    watchers.compacted = True
    watchers.check()
    watchers.compacted = False
    with pytest.raises(Violated, match="6 was never compacted to"):
        watchers.check()


async def test_a_watch_whose_next_revisions_are_kept_goes_on(
    watchers: Watchers,
) -> None:
    client = cast("AsyncClient", Asked(Compacted("compacted", 5)))
    watcher = Watcher("any node", client, None, previous=False)
    with pytest.raises(Violated, match="Compacted"):
        await watcher.run(watchers.shared)


class Away(Asked):
    """A client whose node is away for longer than a client waits, and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[object] = []

    def watch(self, prefix: str, **options: object) -> Ended:
        self.asked.append(options["revision"])
        return self.ended if len(self.asked) == 1 else Ended(TooBusy("not any more"))


async def test_a_watch_goes_on_where_it_was_when_its_node_was_away_for_long(
    one: One, shared: Shared
) -> None:
    """A fault of `chaos attach` may hold as long as a client's watch waits."""
    away = Away()
    client = cast("AsyncClient", away)
    watcher = Watcher("n1", client, one.node, previous=False)
    with pytest.raises(Violated, match="TooBusy"):
        await watcher.run(shared)
    assert away.asked == [2, 5]
    assert watcher.created == 1


async def test_a_watch_whose_node_stays_away_is_not_told_to_the_end(
    one: One, shared: Shared
) -> None:
    away = Away()
    watcher = Watcher("n1", cast("AsyncClient", away), one.node, previous=False)

    async def close() -> None:
        cast("Idle", shared.busy).stopping.set()

    away.ended.close = close
    await watcher.run(shared)
    assert watcher.over


class Refusing:
    """A client whose writes are all refused, by nodes that are there or are not."""

    def __init__(self, *, there: bool) -> None:
        self.there = there

    async def status(self, **_: object) -> dict[str, object]:
        if not self.there:
            raise Unavailable("nobody")
        return {}

    async def put(self, key: str, value: str, **_: object) -> int:
        del key, value
        raise Unavailable("no majority")


@pytest.mark.parametrize("there", [True, False])
async def test_a_last_write_that_nobody_does_is_a_violation_if_they_are_there(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    seconds = iter(range(0, 10_000, 20))
    monkeypatch.setattr(shared, "now", lambda: float(next(seconds)))

    def roaming(_: int) -> Refusing:
        return Refusing(there=there)

    monkeypatch.setattr(shared, "roaming", roaming)
    watchers = Watchers(shared, 0.0)
    if not there:
        # Whoever attached, and whose nodes were all stopped, judges nothing.
        async with asyncio.timeout(5):
            await watchers._write_last()
        assert watchers.last == 0
        return
    with pytest.raises(Violated, match="no majority") as caught:
        async with asyncio.timeout(5):
            await watchers._write_last()
    assert caught.value.violation.kind == "no progress"


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_noticed(watchers: Watchers, name: str) -> None:
    kind, spoil = BROKEN[name]
    spoil(watchers)
    with pytest.raises(Violated) as caught:
        watchers.check()
    assert caught.value.violation.kind == kind


class Late(Ended):
    """A watch that begins when it is not wanted any more, and would last for ever."""

    watcher: Watcher

    async def begin(self) -> None:
        await self.watcher.close()

    async def __anext__(self) -> ClientEvent:
        await asyncio.sleep(60)
        raise self._error


async def test_a_watch_that_begins_too_late_is_closed(one: One, shared: Shared) -> None:
    asked = Asked()
    asked.ended = late = Late()
    late.watcher = Watcher("n1", cast("AsyncClient", asked), one.node, previous=False)
    async with asyncio.timeout(5):
        await late.watcher.run(shared)
    assert late.closed
