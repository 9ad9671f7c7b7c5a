"""For whom there is room at the peer port, before anybody has shown anything."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node.peer_handshakes import (
    HANDSHAKES_MAX,
    HOSTS_MAX,
    OF_ONE_MAX,
    OF_STRANGERS_MAX,
    Handshakes,
)

MEMBER = "10.0.0.2"


def at(host: str | None) -> Any:
    """A connection to a member that is there."""
    ends = {} if host is None else {"peername": (host, 7500)}
    transport = SimpleNamespace(get_extra_info=ends.get)
    return cast(Any, SimpleNamespace(transport=transport))


def come(handshakes: Handshakes, *hosts: str) -> list[asyncio.Future[None]]:
    """Those for whom there is room begin."""
    begun: list[asyncio.Future[None]] = []
    for host in hosts:
        if handshakes.has_room(host):
            begun.append(asyncio.get_running_loop().create_future())
            handshakes.begin(begun[-1], host)
    return begun


def strangers(count: int) -> list[str]:
    return [f"192.0.2.{number}" for number in range(count)]


async def test_strangers_from_many_addresses_leave_room_where_members_were_met() -> (
    None
):
    """Story: from two addresses all of the room was taken, by thirteen connections a
    second that said nothing; a member whose link broke never came back.
    """
    handshakes = Handshakes()
    handshakes.met(at(MEMBER))
    assert len(come(handshakes, *strangers(200))) == OF_STRANGERS_MAX
    assert not handshakes.has_room("198.51.100.1")
    assert len(come(handshakes, *[MEMBER] * 200)) == HANDSHAKES_MAX - OF_STRANGERS_MAX


@pytest.mark.parametrize("host", [MEMBER, "192.0.2.1"])
async def test_from_one_address_there_are_not_as_many_as_there_may_be(
    host: str,
) -> None:
    handshakes = Handshakes()
    handshakes.met(at(MEMBER))
    begun = come(handshakes, *[host] * 200)
    assert len(begun) == OF_ONE_MAX
    # Who is done makes room.
    begun[0].set_result(None)
    await asyncio.sleep(0)
    assert len(come(handshakes, host, host)) == 1


async def test_of_addresses_the_last_ones_are_remembered() -> None:
    handshakes = Handshakes()
    handshakes.met(at(None))
    handshakes.met(at(MEMBER))
    for host in strangers(HOSTS_MAX - 1):
        handshakes.met(at(host))
    handshakes.met(at(MEMBER))
    handshakes.met(at("10.0.0.3"))
    assert len(handshakes.hosts) == HOSTS_MAX
    assert MEMBER in handshakes.hosts
    assert strangers(1)[0] not in handshakes.hosts
