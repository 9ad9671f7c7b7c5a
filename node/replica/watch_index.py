"""Who wants a change: live watches by what they ask for.

Law: pure. All watches that ask for the same are one group: it is looked for, and what
it is told is encoded, once. A group of one key or of one prefix is found by a look-up;
only other ranges are compared one by one: a change costs what those cost who want it.
"""

from collections import Counter
from collections.abc import Iterator

from ...wire import WatchRequest
from ...wire.bounds import prefix_end
from .effects import WatchSink

# A watch: the number of its sink, and that of its request there.
Name = tuple[int, int]


class Watch:
    """One watch: while it is behind, `next` is the first revision it was not told of.

    Of that one it was told so many events: `told`.
    """

    __slots__ = ("group", "next", "request_id", "sink", "told")

    def __init__(
        self, sink: WatchSink, request_id: int, group: "Group", next_: int
    ) -> None:
        self.sink = sink
        self.request_id = request_id
        self.group = group
        self.next = next_
        self.told = 0


class Group:
    """All watches that ask for the same, some of them live, and what that is."""

    __slots__ = ("deletes", "end", "live", "members", "previous", "puts", "start")

    def __init__(self, request: WatchRequest) -> None:
        self.start = request.start
        self.end = request.end
        self.puts = request.puts
        self.deletes = request.deletes
        self.previous = request.previous
        self.members = 0
        self.live: dict[Name, Watch] = {}

    def asks_for(self) -> tuple[bytes, bytes, bool, bool, bool]:
        return self.start, self.end, self.puts, self.deletes, self.previous

    def has(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)

    def takes(self, put: bool) -> bool:
        return self.puts if put else self.deletes

    def wants(self, key: bytes, put: bool) -> bool:
        return self.takes(put) and self.has(key)


class WatchIndex:
    """All groups that have members, and of those with live ones where to find them."""

    def __init__(self) -> None:
        self._groups: dict[tuple[bytes, bytes, bool, bool, bool], Group] = {}
        self._keys: dict[bytes, dict[Group, None]] = {}
        self._prefixes: dict[bytes, dict[Group, None]] = {}
        # How many prefixes have each length; the lengths in order.
        self._counts: Counter[int] = Counter()
        self._lengths: list[int] = []
        self._others: dict[Group, None] = {}

    def join(self, request: WatchRequest) -> Group:
        """The group of a watch that begins."""
        group = Group(request)
        group = self._groups.setdefault(group.asks_for(), group)
        group.members += 1
        return group

    def leave(self, name: Name, watch: Watch) -> None:
        """It ends."""
        self.is_not_live(name, watch)
        group = watch.group
        group.members -= 1
        if not group.members:
            del self._groups[group.asks_for()]

    def is_live(self, name: Name, watch: Watch) -> None:
        group = watch.group
        if not group.live:
            self._place(group)
        group.live[name] = watch

    def is_not_live(self, name: Name, watch: Watch) -> None:
        group = watch.group
        if group.live.pop(name, None) is not None and not group.live:
            self._displace(group)

    def wanting(self, key: bytes, put: bool) -> Iterator[Group]:
        """The groups that want this change, and have live members."""
        groups = self._keys.get(key)
        if groups is not None:
            yield from [group for group in groups if group.takes(put)]
        for length in self._lengths:
            if length > len(key):
                break
            groups = self._prefixes.get(key[:length])
            if groups is not None:
                yield from [group for group in groups if group.takes(put)]
        if self._others:
            yield from [group for group in self._others if group.wants(key, put)]

    def _place(self, group: Group) -> None:
        start, end = group.start, group.end
        if end == start + b"\0":
            self._keys.setdefault(start, {})[group] = None
        elif end == prefix_end(start):
            if start not in self._prefixes:
                self._prefixes[start] = {}
                self._counts[len(start)] += 1
                self._lengths = sorted(self._counts)
            self._prefixes[start][group] = None
        else:
            self._others[group] = None

    def _displace(self, group: Group) -> None:
        start = group.start
        if group in self._others:
            del self._others[group]
            return
        if group in self._keys.get(start, ()):
            del self._keys[start][group]
            if not self._keys[start]:
                del self._keys[start]
            return
        del self._prefixes[start][group]
        if not self._prefixes[start]:
            del self._prefixes[start]
            self._counts[len(start)] -= 1
            if not self._counts[len(start)]:
                del self._counts[len(start)]
                self._lengths = sorted(self._counts)
