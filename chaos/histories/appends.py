"""Lists that elements are appended to: order and loss, without any revision.

Law: values and times are all the evidence. Every element is appended once, and a list
that is read tells the order of all appends to it. From there it is a graph: who has to
be before whom, because of what was read or because one had ended before the other
began. In a right history it has no circle.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

from .operations import Objection, Outcome, show

List: TypeAlias = tuple[bytes, ...]
# Who is before whom, by their places; a place under 0 is a moment.
_Graph: TypeAlias = dict[int, list[int]]
_SHOWN_MAX: Final = 8
# From so many places the shortest circle is looked for.
_TRIED_MAX: Final = 64


class Append(msgspec.Struct, eq=False):
    """One transaction: what it appended to which lists, and which lists it read.

    Made when it begins, and then of unknown outcome. `read` has each list as it stood
    before the appends of the same transaction.
    """

    client: int
    start: int
    appended: Mapping[bytes, bytes]
    end: int | None = None
    outcome: Outcome = "unknown"
    read: Mapping[bytes, List] = {}


def describe_append(one: Append) -> str:
    """One line: client, start..end, appends, outcome, and how far each list was."""
    end = "" if one.end is None else one.end
    words = [f"c{one.client}", f"{one.start}..{end}"]
    words += [f"append {show(k)} {show(e)}" for k, e in one.appended.items()]
    for key, elements in one.read.items():
        last = show(elements[-1]) if elements else "nothing"
        words.append(f"{show(key)} -> {len(elements)} to {last}")
    return " ".join([*words, one.outcome])


def check_appends(appends: Sequence[Append]) -> Objection | None:
    """The first objection to what was read."""
    try:
        return _Check(appends).run()
    except _Wrong as wrong:
        return wrong.objection


class _Wrong(Exception):
    def __init__(self, invariant: str, detail: str, *shown: Append) -> None:
        lines = "".join(f"\n  {describe_append(one)}" for one in shown[:_SHOWN_MAX])
        self.objection = Objection(invariant, detail + lines, None)
        super().__init__(detail)


class _Check:
    def __init__(self, appends: Sequence[Append]) -> None:
        self.all = appends
        self.writers: dict[tuple[bytes, bytes], int] = {}
        self.elements: dict[bytes, list[bytes]] = {}
        for place, one in enumerate(appends):
            for pair in one.appended.items():
                assert pair not in self.writers, "an element is appended once"
                self.writers[pair] = place
                self.elements.setdefault(pair[0], []).append(pair[1])
        self.longest: dict[bytes, List] = {}
        # Whose elements are in some list.
        self.seen: set[int] = set()
        self.graph: _Graph = {}

    def run(self) -> Objection | None:
        answered = [o for o in self.all if o.outcome == "ok"]
        for one in answered:
            for key, elements in one.read.items():
                self._look(key, elements, one)
        for one in answered:
            for key, elements in one.read.items():
                self._check_prefix(key, elements, one)
        self._draw_lists()
        self._draw_moments()
        circle = find_circle(self.graph)
        if circle is None:
            return None
        detail = "each has to be before the next, and the last before the first"
        raise _Wrong(
            "linearizability", detail, *[self.all[p] for p in circle if p >= 0]
        )

    # -- one list ----------------------------------------------------------------------

    def _look(self, key: bytes, elements: List, reader: Append) -> None:
        if len(set(elements)) < len(elements):
            raise _Wrong("I-54", f"an element is in {show(key)} twice", reader)
        for element in elements:
            place = self.writers.get((key, element))
            if place is None:
                detail = f"nobody appended {show(element)} to {show(key)}"
                raise _Wrong("I-54", detail, reader)
            writer = self.all[place]
            if writer.outcome == "refused":
                raise _Wrong("I-54", "a refused append took effect", writer, reader)
        if len(elements) > len(self.longest.get(key, ())):
            self.longest[key] = elements

    def _check_prefix(self, key: bytes, elements: List, reader: Append) -> None:
        longest = self.longest.get(key, ())
        if longest[: len(elements)] != elements:
            others = [o for o in self.all if o.read.get(key) == longest]
            detail = f"two orders of {show(key)}"
            raise _Wrong("linearizability", detail, *others[:1], reader)
        if reader.appended.get(key) in elements:
            raise _Wrong("I-54", "it read what it was yet to append", reader)

    # -- who has to be before whom -----------------------------------------------------

    def _before(self, first: int, second: int) -> None:
        if first != second:
            self.graph.setdefault(first, []).append(second)

    def _draw_lists(self) -> None:
        """Appends in the order of the list, and readers in between."""
        chains = {
            key: [self.writers[key, element] for element in elements]
            for key, elements in self.longest.items()
        }
        self.seen.update(place for chain in chains.values() for place in chain)
        for chain in chains.values():
            for first, second in pairwise(chain):
                self._before(first, second)
        for place, one in enumerate(self.all):
            if one.outcome != "ok":
                continue
            for key, elements in one.read.items():
                if elements:
                    self._before(self.writers[key, elements[-1]], place)
                for following in self._next(key, len(elements)):
                    self._before(place, following)

    def _next(self, key: bytes, length: int) -> Iterator[int]:
        """Who appended behind so many elements: the next one, or all not seen yet.

        One of unknown outcome is among them if it is seen in another list.
        """
        longest = self.longest.get(key, ())
        if length < len(longest):
            yield self.writers[key, longest[length]]
            return
        seen = set(longest)
        for element in self.elements.get(key, []):
            place = self.writers[key, element]
            happened = self.all[place].outcome == "ok" or place in self.seen
            if element not in seen and happened:
                yield place

    def _draw_moments(self) -> None:
        """What had ended is before what began later; moments stand for all of both."""
        ends = sorted(
            {o.end for o in self.all if o.outcome == "ok" and o.end is not None}
        )
        for number in range(1, len(ends)):
            self._before(-number, -number - 1)
        for place, one in enumerate(self.all):
            if one.outcome == "ok" and one.end is not None:
                self._before(place, -bisect_left(ends, one.end) - 1)
            earlier = bisect_left(ends, one.start)
            if earlier:
                self._before(-earlier, place)


def find_circle(graph: Mapping[int, Sequence[int]]) -> list[int] | None:
    """A short circle of a graph, or None when it has none."""
    left = _without_ends(graph)
    if not left:
        return None
    # Where the others are all between two circles, this one is still on one.
    best = _some_circle(left)
    for start in [best[0], *left][:_TRIED_MAX]:
        found = _shortest(left, start)
        if found is not None and len(found) < len(best):
            best = found
    return best


def _some_circle(graph: Mapping[int, Sequence[int]]) -> list[int]:
    """Onward from anybody, where everybody has a way onward, until one comes again."""
    way: dict[int, int] = {}
    place = next(iter(graph))
    while place not in way:
        way[place] = len(way)
        place = graph[place][0]
    return list(way)[way[place] :]


def _without_ends(graph: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """What is left when those without a way onward, or back, are taken away."""
    left = {place: list(graph[place]) for place in graph}
    for _ in range(2):
        left = _peeled(_reversed(left))
    return left


def _reversed(graph: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    turned: dict[int, list[int]] = {}
    for place, others in graph.items():
        for other in others:
            turned.setdefault(other, []).append(place)
    return turned


def _peeled(graph: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Without those that nobody leads to, again and again."""
    count: dict[int, int] = {}
    for others in graph.values():
        for other in others:
            count[other] = count.get(other, 0) + 1
    free = [place for place in graph if not count.get(place)]
    gone: set[int] = set()
    while free:
        place = free.pop()
        gone.add(place)
        for other in graph.get(place, ()):
            count[other] -= 1
            if not count[other]:
                free.append(other)
    return {
        place: [other for other in others if other not in gone]
        for place, others in graph.items()
        if place not in gone
    }


def _shortest(graph: Mapping[int, Sequence[int]], start: int) -> list[int] | None:
    """The shortest way from a place back to it."""
    came: dict[int, int] = {}
    reached = [start]
    for place in reached:
        for other in graph.get(place, ()):
            if other == start:
                way = [place]
                while way[-1] != start:
                    way.append(came[way[-1]])
                return way[::-1]
            if other not in came:
                came[other] = place
                reached.append(other)
    return None
