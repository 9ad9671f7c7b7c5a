"""What watches were told: hand-made, and drawn; the broken are rejected by their rule.

A broken one that is mended in the one place where it is broken is accepted, so that it
is rejected for what its story tells.
"""

from itertools import chain, groupby, pairwise
from operator import attrgetter
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace
from quorate.chaos.histories import (
    Before,
    Change,
    Created,
    Ended,
    Event,
    Events,
    Facts,
    Progress,
    Watch,
    check_complete,
    check_watch,
)

from .watch_notation import WatchStory, read_watch, read_watch_stories

FOLDER = Path(__file__).parent / "watches"
BROKEN = read_watch_stories(FOLDER / "broken.txt")
SOUND = read_watch_stories(FOLDER / "sound.txt")
RULES = {
    *("begun", "cancelled", "filter", "ordered", "unique", "atomic", "bookmarkable"),
    *("silent", "resumable", "reliable", "is-create", "previous"),
}


def name(story: WatchStory) -> str:
    return story.name.replace(" ", "-")


def test_there_are_enough_stories_and_some_of_each_rule() -> None:
    assert len(BROKEN) >= 24
    assert len(SOUND) >= 10
    assert {story.rule for story in BROKEN} == RULES
    names = [story.name for story in chain(BROKEN, SOUND)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("story", BROKEN, ids=name)
def test_a_broken_watch_is_rejected_by_the_rule_that_it_breaks(
    story: WatchStory,
) -> None:
    objection = check_watch(story.watch, story.facts)
    assert objection is not None
    assert objection.detail.startswith(f"{story.rule}: "), objection.detail


@pytest.mark.parametrize("story", BROKEN, ids=name)
def test_a_broken_watch_that_is_mended_is_accepted(story: WatchStory) -> None:
    assert check_watch(story.mended, story.mended_facts) is None


@pytest.mark.parametrize("story", SOUND, ids=name)
def test_a_sound_watch_is_accepted(story: WatchStory) -> None:
    assert check_watch(story.watch, story.facts) is None


# -- to the end ------------------------------------------------------------------------


def test_a_watch_is_complete_when_nothing_of_the_log_is_left_for_it() -> None:
    log = "log r2 k a\nlog r3 k b\nlog r4 j c\nwatch k from 2\ncreated r1\n"
    whole = "events r2 k=a/2.1\nevents r3 k=b/2.2"
    assert check_complete(*read_watch(f"{log}{whole}")) is None
    assert check_complete(*read_watch(f"{log}progress r4")) is None
    for less in ("", "events r2 k=a/2.1", f"{whole} more"):
        objection = check_complete(*read_watch(f"{log}{less}"))
        assert objection is not None
        assert "was never told" in objection.detail


# -- drawn -----------------------------------------------------------------------------


def drawn_log(dice: Random) -> list[Change]:
    """Some transactions of one to three keys."""
    changes: list[Change] = []
    there: set[bytes] = set()
    for revision in range(2, 2 + dice.randint(3, 12)):
        for key in sorted(dice.sample([b"a", b"b", b"c"], dice.randint(1, 3))):
            value = b"%d" % revision
            if key in there and dice.random() < 0.4:
                value = None
                there.discard(key)
            else:
                there.add(key)
            changes.append(Change(revision, key, value))
    return changes


def told_right(dice: Random, changes: list[Change]) -> tuple[Watch, Facts]:
    """A watch of that log as a node that is right tells it, in parts and bookmarks."""
    facts = Facts(changes)
    start, end = dice.choice([(b"a", b"b"), (b"a", b"c"), (b"", b""), (b"b", b"")])
    watch = Watch(start, end, previous=dice.random() < 0.5)
    watch.puts, watch.deletes = dice.choice([(True, True)] * 3 + [(False, True)])
    watch.first = dice.choice([0, 2, dice.randint(2, facts.newest)])
    watch.told.append(Created(dice.randint(1, facts.newest)))
    begins = watch.begins() or 0
    for revision, group in groupby(
        facts.wanted(watch, begins, facts.newest), attrgetter("revision")
    ):
        events = [fact.event for fact in group]
        if not watch.previous:
            events = [
                type(e)(e.key, e.value, e.create_revision, e.version) for e in events
            ]
        while events:
            count = dice.randint(1, len(events))
            part, events = events[:count], events[count:]
            watch.told.append(Events(revision, tuple(part), bool(events)))
        if dice.random() < 0.3:
            watch.told.append(Progress(revision))
    return watch, facts


@pytest.mark.parametrize("seed", range(40))
def test_what_a_right_node_tells_is_accepted_also_when_it_breaks_off(
    seed: int,
) -> None:
    watch, facts = told_right(Random(seed), drawn_log(Random(seed)))
    assert check_complete(watch, facts) is None
    while watch.told:
        assert check_watch(watch, facts) is None
        if not isinstance(watch.told[-1], Events) or not watch.told[-1].more:
            ended = Ended("stopping")
            watch.told.append(ended)
            assert check_watch(watch, facts) is None
            watch.told.remove(ended)
        watch.told.pop()


@pytest.mark.parametrize("seed", range(40))
def test_one_reply_that_is_left_out_or_comes_again_is_noticed(seed: int) -> None:
    """But for the last, which may be on its way, and for bookmarks."""
    dice = Random(seed)
    watch, facts = told_right(dice, drawn_log(dice))
    told = list(watch.told)
    spots = [i for i, reply in enumerate(told[:-1]) if isinstance(reply, Events)]
    later = [i for i in spots if any(isinstance(t, Events) for t in told[i + 1 :])]
    for spot in later:
        watch.told = told[:spot] + told[spot + 1 :]
        assert check_watch(watch, facts) is not None
    for spot in spots:
        watch.told = told[: spot + 1] + told[spot:]
        assert check_watch(watch, facts) is not None


@pytest.mark.parametrize("seed", range(20))
def test_two_replies_that_change_places_are_noticed(seed: int) -> None:
    dice = Random(seed)
    watch, facts = told_right(dice, drawn_log(dice))
    told = list(watch.told)
    for spot, (one, other) in enumerate(pairwise(told)):
        if not (isinstance(one, Events) and isinstance(other, Events)):
            continue
        watch.told = [*told[:spot], other, one, *told[spot + 2 :]]
        assert check_watch(watch, facts) is not None


def spoiled(event: Event, *, previous: bool) -> list[Event]:
    """The same with one field that is not right."""
    changed: list[dict[str, object]] = [
        {"key": b"bb"},
        {"value": b"other"},
        {"value": None if event.value is not None else b"1"},
        {"create_revision": event.create_revision + 1},
        {"version": event.version + 1},
        {"previous": Before(b"other", 2, 2, 1)},
    ]
    if previous and event.previous is not None:
        before = event.previous
        changed.append({"previous": None})
        for name in ("create_revision", "mod_revision", "version"):
            other = replace(before, **{name: getattr(before, name) + 1})
            changed.append({"previous": other})
    return [replace(event, **fields) for fields in changed]


@pytest.mark.parametrize("seed", range(20))
def test_one_field_of_an_event_is_noticed_also_in_the_last_part_of_a_revision(
    seed: int,
) -> None:
    dice = Random(seed)
    watch, facts = told_right(dice, drawn_log(dice))
    told = list(watch.told)
    for spot, reply in enumerate(told):
        if not isinstance(reply, Events):
            continue
        for place, event in enumerate(reply.events):
            for other in spoiled(event, previous=watch.previous):
                events = (*reply.events[:place], other, *reply.events[place + 1 :])
                wrong = replace(reply, events=events)
                watch.told = [*told[:spot], wrong]
                assert check_watch(watch, facts) is not None, other
                watch.told += told[spot + 1 :]
                assert check_watch(watch, facts) is not None, other
