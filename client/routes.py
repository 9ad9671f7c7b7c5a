"""Which node a call goes to: the one in use, the one that leads, or one for reads.

Law: hints. Who leads, and who else there is, some node has told lately (siblings). A
way to another node than the one in use is taken only while it is open and works; it is
dialled beside the calls, which never wait for it. One that fails is left alone for a
while, longer each time; the call itself goes on at the endpoint in use.
"""

import asyncio
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import suppress
from typing import Final

from ..wire import Member, Members
from .endpoints import ENDPOINTS_MAX, Endpoint
from .errors import InvalidRequest
from .links import CONNECT_SECONDS_MAX, ConnectFailed, Link

# What has failed so often in a row is left alone for so long, half of it or all.
REST_SECONDS_MIN: Final = 0.5
REST_SECONDS_MAX: Final = 30.0
# After so many calls to who leads it is asked whether he still does: he hands on what
# he gets when he does not, and no connection breaks.
LED_MAX: Final = 100
# Those that have the whole state, or will soon: reads are theirs.
_READ_BY: Final = ("voter", "replica")


class Routes:
    """One link for each endpoint, and what is known of the nodes behind them.

    `make` makes a link; `parse` reads an address that a node tells, or raises
    InvalidRequest; `seek` is called when it would help to know anew who leads. With
    `balance` reads go to whichever of two has less to do; else only what may be old
    goes to the endpoint in use, and everything else to who leads.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        make: Callable[[Endpoint], Link],
        parse: Callable[[str], Endpoint],
        seek: Callable[[], None],
        *,
        balance: bool,
        jitter: Callable[[], float],
    ) -> None:
        self._make: Callable[[Endpoint], Link] = make
        self._parse: Callable[[str], Endpoint] = parse
        self._seek: Callable[[], None] = seek
        self._balance: bool = balance
        self._jitter: Callable[[], float] = jitter
        # Those that were given, which are kept, then those that were learnt.
        self.links: list[Link] = [make(endpoint) for endpoint in endpoints]
        self._given: int = len(self.links)
        self._at: int = int(jitter() * len(endpoints)) % len(endpoints) * balance
        self._members: Members | None = None
        # Open ways: to who leads, and to those that reads are spread over.
        self._leader: Link | None = None
        self._readers: list[Link] = []
        self._turn: int = 0
        # How many calls went to who leads since that was told.
        self._led: int = 0
        self._dialling: dict[Link, asyncio.Task[None]] = {}
        self._closed: bool = False

    @property
    def in_use(self) -> Link:
        """Where a call goes that has no better way."""
        return self.links[self._at]

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those given first, then those learnt from nodes."""
        return [link.endpoint for link in self.links]

    # -- for calls ---------------------------------------------------------------------

    def first(self, write: bool, near: bool, /) -> Link:
        """Where a call begins. `near`: any node may answer it from what it has."""
        if self._balance and not write:
            return self._reader() or self.links[self._at]
        leader = self._leader
        if leader is None or near:
            return self.links[self._at]
        if leader.connection is None:
            self._lose(leader)
            return self.links[self._at]
        self._led += 1
        if self._led >= LED_MAX:
            self._seek()
        return leader

    def for_watch(self, tried: Container[Endpoint]) -> Link:
        """The endpoint in use, or the next that was not tried.

        With `balance`, one that reads are spread over and that does not lead, first: a
        watch costs its node something with each change, for as long as it is open.
        """
        if self._balance:
            others = [
                link
                for link in self._readers
                if link.endpoint not in tried and link is not self._leader
            ]
            if others:
                return others[int(self._jitter() * len(others)) % len(others)]
        turned = self.links[self._at :] + self.links[: self._at]
        return next((each for each in turned if each.endpoint not in tried), turned[0])

    def move_on(self, link: Link) -> None:
        """Prefer the next endpoint, unless another call has moved on already."""
        if self.links[self._at] is link:
            self._at = (self._at + 1) % len(self.links)

    def failed(self, link: Link) -> None:
        """It could not be connected, broke, or did not answer in time."""
        link.failures += 1
        exponent = min(link.failures - 1, 10)
        longest = min(REST_SECONDS_MIN * 2.0**exponent, REST_SECONDS_MAX)
        link.rests_until = _now() + longest * (0.5 + 0.5 * self._jitter())
        self._lose(link)

    def _reader(self) -> Link | None:
        """Of two neighbours the one that owes fewer answers."""
        readers = self._readers
        while readers:
            self._turn = turn = (self._turn + 1) % len(readers)
            one, other = readers[turn], readers[turn - 1]
            if one.connection is None:
                self._lose(one)
            elif other.connection is None:
                self._lose(other)
            else:
                return one if one.waiting <= other.waiting else other
        return None

    def _lose(self, link: Link) -> None:
        """No call begins there until it is known to work again."""
        if link is self._leader:
            self._leader = None
        elif link not in self._readers:
            return
        if link in self._readers:
            self._readers.remove(link)
        self._seek()

    # -- what nodes tell ---------------------------------------------------------------

    def learn(self, endpoints: Iterable[str]) -> None:
        """More places of nodes; those that make no sense are passed over."""
        known = set(self.endpoints)
        for endpoint in self._understood(endpoints):
            if endpoint not in known and len(self.links) < ENDPOINTS_MAX:
                known.add(endpoint)
                self.links.append(self._make(endpoint))

    def told(self, members: Members) -> bool:
        """Go by this from now on. False: it would help to be told anew soon."""
        self._members = members
        self._led = 0
        self._forget_but(each.client for each in members.members)
        self.learn(each.client for each in members.members if each.client)
        self._choose()
        for link in self._wanted():
            if link.connection is None and link.rests_until <= _now():
                self._dial(link)
        return members.leader is not None and (
            self._leader is not None or bool(self._dialling)
        )

    def _wanted(self) -> list[Link]:
        """The ways that should be open, beside the one in use."""
        assert self._members is not None
        found: list[Link] = []
        for member in self._members.members:
            reads = self._balance and member.wanted in _READ_BY
            if reads or member.id == self._members.leader:
                link = self._link_of(member)
                if link is not None and link not in found:
                    found.append(link)
        return found

    def _choose(self) -> None:
        """Which of the wanted ways can be used now."""
        if self._members is None or self._closed:
            return
        now = _now()
        able = [
            link
            for link in self._wanted()
            if link.connection is not None and link.rests_until <= now
        ]
        leads = self._members.leader
        self._leader = next((link for link in able if _leads(link, leads)), None)
        self._readers = able if self._balance else []

    def _link_of(self, member: Member) -> Link | None:
        """By who answered there, else by where it says it is."""
        number = int(member.id, 16)
        for link in self.links:
            if link.member_id == number:
                return link
        for endpoint in self._understood([member.client] if member.client else []):
            for link in self.links:
                if link.endpoint == endpoint and link.member_id is None:
                    return link
        return None

    def _dial(self, link: Link) -> None:
        if link not in self._dialling and not self._closed:
            task = asyncio.create_task(self._connect(link))
            self._dialling[link] = task

    async def _connect(self, link: Link) -> None:
        try:
            await link.connect(CONNECT_SECONDS_MAX)
        except ConnectFailed:
            self.failed(link)
            return
        finally:
            del self._dialling[link]
        self._choose()

    def _forget_but(self, endpoints: Iterable[str]) -> None:
        """Let go of what was learnt, is told of no more, and is not in use.

        Nodes move: what nobody answers at would take its share of the time of every
        call that looks for one, and in the end the room of those that came later.
        """
        told = set(self._understood(endpoints))
        at = self.links[self._at]
        self.links = [
            link
            for number, link in enumerate(self.links)
            if number < self._given or link.endpoint in told or link.used
        ]
        self._at = self.links.index(at) if at in self.links else 0

    def _understood(self, endpoints: Iterable[str]) -> Generator[Endpoint]:
        for text in endpoints:
            # A hint that makes no sense to us is no reason to leave a node.
            with suppress(InvalidRequest):
                yield self._parse(text)

    async def close(self) -> None:
        """Dial no more; returns when nothing is being dialled."""
        self._closed = True
        self._leader, self._readers = None, []
        dialling = list(self._dialling.values())
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)


def _leads(link: Link, leader: str | None) -> bool:
    return leader is not None and link.member_id == int(leader, 16)


def _now() -> float:
    return asyncio.get_running_loop().time()
