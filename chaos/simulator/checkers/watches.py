"""What watches are told: no more than they have room for, and all of it in the end.

Law: what needs this world's own time is judged as it happens; the rest at the end, by
the rules of chaos/histories, beside the agreed log (I-58 to I-62).
"""

from collections.abc import Iterable, Sequence

from ...histories import (
    Ended,
    Events,
    Facts,
    Progress,
    Told,
    Watch,
    check_complete,
    check_watch,
)
from ..world import World
from .model import Model


def takes_what_it_has_room_for(world: World, who: str, room: int, told: Told) -> None:
    """I-62: what waits for a slow reader is bounded by what its connection takes.

    A revision is told whole, so the last one may be larger than the room was.
    """
    if isinstance(told, (Events, Progress)) and room <= 0:
        world.fail("I-62", f"{who} is told of {told.revision} without room for it")


def is_not_ahead(world: World, who: str, newest: int, told: Told) -> None:
    """I-58: nothing is told that no replica has applied yet, by a progress neither."""
    if not isinstance(told, Ended) and told.revision > newest:
        world.fail(
            "I-58", f"{who} is told of {told.revision}; {newest} is the newest revision"
        )


def check_watches(
    world: World,
    model: Model,
    watches: Iterable[tuple[str, Sequence[Watch]]],
    *,
    to_the_end: bool,
) -> None:
    """I-58 to I-61: all watches of each reader, in the order in which they began.

    `to_the_end`: the last of each was told everything.
    """
    facts = Facts(model.every, model.compacted)
    for who, those in watches:
        objections = [check_watch(watch, facts) for watch in those]
        if to_the_end and those:
            objections.append(check_complete(those[-1], facts))
        for objection in objections:
            if objection is not None:
                world.fail(objection.invariant, f"{who}: {objection.detail}")
