"""Who the other members are: whom to keep links to, who may speak, what is shown.

Law: a shell. The log says who belongs (node/database/members); this follows it. An
address is where to dial and proves nothing: a member is known by its id, and an id by
its certificate. A member that has left may not speak, and learns that it has left.
"""

import logging
from typing import TYPE_CHECKING, Final

from ..wire import Announce, MemberCommand, MemberRole, Understand
from .address import parse_address
from .api.service import Member
from .database.caretaking import Decision
from .database.member_records import MemberRecord
from .identity import RemovedMember
from .inside import Refused, Sayings
from .peer_hello import HelloError, Introduction
from .replica.acquaintance import objection
from .transport import LINKED

if TYPE_CHECKING:
    from .node import Node

_ANNOUNCE_TICKS: Final = 50

logger = logging.getLogger("quorate.node")


class Roster:
    """The other members, as one node sees them."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.ticks = 0
        self.announcing = False
        self.sayings = Sayings(node)
        self.followed = (None, -1)
        # Members that have left, and were told so where they could be.
        self.parted: set[int] = set()
        self.dials = node.config.peer.dial
        # Of the caretaker: the last decisions that were logged, and what it waits for.
        self.decisions: tuple[Decision, ...] = ()
        self.waits_for = ""
        # Of the cluster, as it was logged last.
        self.version = 0

    def start(self) -> None:
        """Link up with whoever is known. Raises RemovedMember."""
        node = self.node
        table = node.replica.database.member_table
        if node.member_id in table.gone:
            raise RemovedMember(
                f"{node.config.data_dir}: member {node.member_id:016x} was removed from"
                " the cluster; a new member needs a new folder"
            )
        self.decisions = table.caretaker.decisions
        self.version = table.versions.version
        for member, place in node.identity.places.items():
            if member not in table.gone:
                self.connect(member, place.name, place.address)
        self._follow()

    def tick(self) -> None:
        """Now and then: has anything changed, and do the others know where we are?"""
        table = self.node.replica.database.member_table
        if self.followed != (table, table.version):
            self._follow()
        self._log_waiting()
        self.ticks += 1
        if self.ticks % _ANNOUNCE_TICKS == 0 and not self.announcing:
            self._announce()

    def _follow(self) -> None:
        node = self.node
        table = node.replica.database.member_table
        self.followed = (table, table.version)
        if node.member_id in table.gone:
            self.was_removed("this member was removed from the cluster")
            return
        for member, record in table.members.items():
            if record.peer:
                self.connect(member, record.name, record.peer)
        self._log_decisions(table.caretaker.decisions)
        if table.versions.version != self.version:
            self.version = table.versions.version
            logger.warning("the cluster has version %d", self.version)
        for member in node.transport.known():
            if member in table.gone and member not in self.parted:
                self.parted.add(member)
                logger.info("member %016x has left the cluster", member)
                node.background(node.transport.send_away(member))

    def _log_decisions(self, decisions: tuple[Decision, ...]) -> None:
        """What the caretaker has done, on every node, once."""
        for decision in decisions:
            if decision not in self.decisions:
                logger.warning("caretaker: %s", decision.reason)
        self.decisions = decisions

    def _log_waiting(self) -> None:
        """What the leader's caretaker waits for, whenever that is something else."""
        replica = self.node.replica
        waits_for = replica.steward.caretaker.waits_for if replica.leading else ""
        if waits_for != self.waits_for:
            self.waits_for = waits_for
            if waits_for:
                logger.info("caretaker: waiting: %s", waits_for)

    def connect(self, member: int, name: str, address: str) -> None:
        """Keep links to a member up, where it is said to be; none to a revoked one."""
        revoked = self.node.replica.database.member_table.trust.members
        if member == self.node.member_id or member in revoked:
            return
        # Where it says it is, unless our own configuration knows better.
        place = self.dials.get(name, address)
        try:
            there = parse_address(place)
        except ValueError as error:
            # The log has it for ever: a node that ended of it would never start again.
            logger.warning("member %016x can't be dialled: %s", member, error)
            return
        self.node.transport.connect(member, there)

    # -- ourselves -----------------------------------------------------------------

    def _announce(self) -> None:
        node = self.node
        raft, said = node.replica.raft, self._news()
        if said is None or not self.sayings.due(said):
            return
        known = node.replica.database.member_table.members
        belongs = {*known, *raft.configuration.members()}
        if raft.leader_id and node.member_id in belongs and not node.stopping:
            self.announcing = True
            node.background(self._say(said))

    def _news(self) -> Announce | Understand | None:
        """What the log does not know yet of this member: where it is, what it can."""
        node, config = self.node, self.node.config
        database = node.replica.database
        known = database.member_table.members.get(node.member_id)
        place = (config.name, str(config.peer_address), config.client_url)
        if known is None or (known.name, known.peer, known.client) != place:
            return Announce(node.member_id, *place)
        told = database.member_table.versions.understood_by(node.member_id)
        if told != database.understood:
            lowest, highest = database.understood.lowest, database.understood.highest
            return Understand(node.member_id, lowest, highest)
        return None

    async def _say(self, said: MemberCommand) -> None:
        try:
            await self.sayings.say(said)
        except Refused as refused:
            logger.debug("what we said was not written down: %s", refused.reason)
        finally:
            self.announcing = False

    def was_removed(self, reason: str) -> None:
        """The cluster has sent this member away: it ends."""
        if not self.node.stopping:
            self.node.leave(RemovedMember(reason))

    # -- others --------------------------------------------------------------------

    def objection(self, member: int) -> str | None:
        """Why a member that our CA has signed may not speak; None: it may."""
        replica = self.node.replica
        return objection(replica.raft, replica.database.member_table, member)

    def refuse_second(self, who: Introduction) -> None:
        """Raises HelloError while a member is connected as another boot than this one.

        One of the two runs on a copy of the data directory. Were the second believed,
        the first would be taken for the copy from its next connection on.
        """
        boot = (who.boot_count, who.boot_nonce)
        for each in self.node.transport.accepted:
            # What carries a snapshot may outlive its machine by a minute.
            counts = each.stream in LINKED and not each.closed.done()
            if counts and each.member == who.member_id and each.boot != boot:
                raise HelloError(
                    f"boot {who.boot_count} of member {who.member_id:016x} has to wait:"
                    f" boot {each.boot[0]} of it is connected; if that goes on, a copy"
                    " of its data directory was started: stop it, and remove it"
                )

    def removed(self, member: int) -> bool:
        return member in self.node.replica.database.member_table.gone

    def place_of(self, member: int) -> tuple[str, str, str]:
        """Its name, peer address and client URL, empty where nothing is known."""
        node = self.node
        known: MemberRecord | None = node.replica.database.member_table.members.get(
            member
        )
        if known is not None and known.peer:
            return known.name, known.peer, known.client
        if member == node.member_id:
            return (
                node.config.name,
                str(node.config.peer_address),
                node.config.client_url,
            )
        place = node.identity.places.get(member)
        name, address = (place.name, place.address) if place else ("", "")
        return name, address, node.urls.get(member, "")

    def endpoints(self) -> tuple[str, ...]:
        """The client URLs of the members that this one has met, its own first."""
        own = self.node.config.client_url
        urls = [each.client_url for each in self.members()]
        return (own, *(url for url in urls if url and url != own))

    def members(self) -> tuple[Member, ...]:
        """All of them, by their ids."""
        replica = self.node.replica
        configuration = replica.raft.configuration
        table = replica.database.member_table
        found: list[Member] = []
        for member in sorted({*configuration.members(), *table.members}):
            name, peer, client = self.place_of(member)
            record = table.members.get(member)
            role = MemberRole.VOTER if record is None else record.role
            progress = replica.raft.progress.get(member)
            own = member == self.node.member_id
            found.append(
                Member(
                    member_id=member,
                    name=name,
                    client_url=client,
                    peer_address=peer,
                    learner=not configuration.is_voter(member),
                    wanted=role.name.lower() if role else "",
                    connected=own or self.node.transport.connected(member),
                    match_index=progress.match_index if progress else 0,
                )
            )
        return tuple(found)
