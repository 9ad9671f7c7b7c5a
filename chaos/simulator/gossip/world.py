"""The members, the network between them and the time, in ticks of a tenth of a second.

Law: everything that happens by chance comes from one seed. A member that is paused gets
no tick, and what is sent to it waits; when it wakes, its clock is looked at before what
has waited is read, which is the worse order for those it judges.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from ....node.gossip import (
    Change,
    Gossip,
    GossipError,
    Identity,
    Message,
    decode_message,
    encode_message,
)
from ....node.gossip.limits import TICKS_PER_SECOND
from ..world import SECOND, Violation

CLUSTER: Final = 0xC0FFEE
TICK_US: Final = SECOND // TICKS_PER_SECOND
REPORT_TICKS: Final = 100
# One of so many messages is late, by up to two ticks.
LATE: Final = 8
LATE_TICKS: Final = 2
# One of so many goes through its bytes.
ENCODED: Final = 16


class Member:
    """A process: its gossip, whether it runs, and what waits for it."""

    def __init__(self, number: int, gossip: Gossip, address: str, boot: int) -> None:
        self.id = number
        self.gossip = gossip
        self.address = address
        self.boot = boot
        self.up = True
        self.paused_until = 0
        self.missed = 0
        # The last tick at which it was not to be heard.
        self.troubled_at = 0
        self.inbox: list[tuple[int, Message]] = []

    @property
    def paused(self) -> bool:
        return self.missed > 0 or self.paused_until > 0


class GossipWorld:
    """So many members of one cluster, and a network that loses messages."""

    def __init__(self, seed: int, count: int, loss: float) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.now = 0
        self.sent = 0
        self.messages: deque[tuple[int, Member, Message]] = deque()
        self.late: dict[int, list[tuple[int, Member, Message]]] = {}
        self.members: dict[int, Member] = {}
        # Whether a message may go from one member to another.
        self.passes: Callable[[Member, Member], bool] = lambda sender, to: True
        self.changed: Callable[[Member, Change], None] = lambda member, change: None
        self.delivered: Callable[[Member, Message], None] = lambda member, message: None
        ids = sorted(self.random.sample(range(1, 1 << 32), count))
        for place, number in enumerate(ids):
            self.boot(number, f"10.0.0.{place}:7500", 1)
        for member in self.members.values():
            member.gossip.contacts = tuple(ids)

    @property
    def seconds(self) -> float:
        return self.now / TICKS_PER_SECOND

    @property
    def running(self) -> list[Member]:
        return [member for member in self.members.values() if member.up]

    def boot(self, number: int, address: str, boot: int) -> Member:
        """A process of this member begins, and knows nobody but by their ids."""
        identity = Identity(CLUSTER, number, boot, address, f"http://{address}", "0")
        gossip = Gossip(identity, self.random.randrange)
        member = self.members[number] = Member(number, gossip, address, boot)
        member.gossip.contacts = tuple(self.members)
        member.troubled_at = self.now
        return member

    def fail(self, invariant: str, detail: str) -> None:
        raise Violation(invariant, self.now * TICK_US, detail)

    # -- time ----------------------------------------------------------------------

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    def run_until(self, condition: Callable[[], bool], seconds: float) -> float:
        """How many seconds it took; -1 when it did not come true in time."""
        began = self.now
        while not condition():
            if self.now - began >= seconds * TICKS_PER_SECOND:
                return -1
            self.tick()
        return (self.now - began) / TICKS_PER_SECOND

    def tick(self) -> None:
        self.now += 1
        self.messages.extend(self.late.pop(self.now, ()))
        for member in self.members.values():
            if not member.up:
                continue
            if member.paused_until > self.now:
                member.missed += 1
                member.troubled_at = self.now
                continue
            self._turn(member)
        while self.messages:
            sender, to, message = self.messages.popleft()
            self._deliver(sender, to, message)

    def _turn(self, member: Member) -> None:
        gossip, lag = member.gossip, member.missed
        member.missed = member.paused_until = 0
        if (self.now + member.id) % REPORT_TICKS == 0:
            gossip.report(self.now, lag * 1000 // TICKS_PER_SECOND)
        self._send(member, gossip.tick(1 + lag, lag))
        if member.inbox:
            waiting, member.inbox = member.inbox, []
            for sender, message in waiting:
                self.receive(sender, member, message)
        self._look(member)

    def pause(self, member: Member, ticks: int) -> None:
        member.paused_until = self.now + 1 + ticks

    # -- messages ------------------------------------------------------------------

    def _send(self, member: Member, out: list[tuple[int, Message]]) -> None:
        dice = self.random.random
        for number, message in out:
            self.sent += 1
            to = self.members.get(number)
            if to is None or dice() < self.loss or not self.passes(member, to):
                continue
            if dice() * LATE < 1:
                at = self.now + 1 + self.random.randrange(LATE_TICKS)
                self.late.setdefault(at, []).append((member.id, to, message))
            else:
                self.messages.append((member.id, to, message))

    def _deliver(self, sender: int, to: Member, message: Message) -> None:
        # Its process may have ended, or be another one now.
        if not to.up or self.members[to.id] is not to:
            return
        if to.paused_until > self.now:
            to.inbox.append((sender, message))
            return
        self.receive(sender, to, message)

    def receive(self, sender: int, to: Member, message: Message) -> None:
        """Hand over a message, in whatever name; what is refused ends a connection."""
        if self.sent % ENCODED == 0:
            decoded = decode_message(encode_message(message))
            assert decoded == message, message
            message = decoded
        self.delivered(to, message)
        try:
            self._send(to, to.gossip.receive(sender, message))
        except GossipError:
            return
        self._look(to)

    def _look(self, member: Member) -> None:
        if member.gossip.table.changes:
            for change in member.gossip.take_changes():
                self.changed(member, change)
