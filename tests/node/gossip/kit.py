"""Small things that the tests of gossip share."""

import msgspec
from quorate.node.gossip import Claim, Gossip, Identity, Message, State, Vitals

CLUSTER = 7
BOOT = 1 << 24


def first(n: int) -> int:
    """Chance that always takes the first."""
    del n
    return 0


def gossip(member: int, boot: int = 1) -> Gossip:
    identity = Identity(CLUSTER, member, boot, f"h{member}:1", f"http://h{member}", "1")
    return Gossip(identity, first)


def claim(
    member: int,
    incarnation: int = BOOT,
    state: State = State.ALIVE,
    accuser: int = 0,
    beat: int = 0,
    peer: str | None = None,
) -> Claim:
    vitals = Vitals(beat, 0, 0, 0)
    place = f"h{member}:1" if peer is None else peer
    return Claim(
        member, incarnation, state, accuser, place, f"http://h{member}", "1", vitals
    )


def met(member: int, *others: int) -> Gossip:
    """A member that has heard of the others, and has nothing more to tell of it."""
    one = gossip(member)
    for other in others:
        one.table.hear(claim(other), True, 0)
    one.contacts = others
    one.news.items.clear()
    one.take_changes()
    return one


def ticks(one: Gossip, count: int) -> list[tuple[int, Message]]:
    """All that it says in so many ticks, while nobody answers."""
    return [said for _ in range(count) for said in one.tick(1, 0)]


def said_of(message: Message, member: int) -> list[Claim]:
    return [each for each in message.claims if each.member == member]


def dead(held: Claim, accuser: int) -> Claim:
    return msgspec.structs.replace(held, state=State.DEAD, accuser=accuser)
