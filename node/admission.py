"""Lets new members in: checks their tokens, has them written to the log, signs.

Law: a shell; the secret is compared with what the log says of the token, after a read
index round. Only a node that has the CA's key signs; the others hand the request to the
members that they are connected to, once. No key ever travels.
"""

import asyncio
import hmac
import logging
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from ..wire import (
    Admit,
    RequestKind,
    encode_member_command,
    serial_name,
    token_digest,
)
from . import vetting
from .database.member_records import MemberRecord
from .database.trust import ISSUING, TrustRecord
from .inside import Refused, ask, catch_up
from .join_wire import JoinReply, JoinRequest, decode_join_request
from .peer_hello import HelloError, Unable
from .replica import rules
from .replica.steward import LOST_ITS_DATA
from .signing import NO_KEY, NOBODY_SIGNS
from .tls import PeerCertificate

if TYPE_CHECKING:
    from .node import Node

AT_ONCE_MAX: Final = 8
TIMEOUT_MS: Final = 10_000
NOT_SPOKEN_BY: Final = "the member does not speak to this one by this certificate now"
REVOKED: Final = "this member was revoked; a new member needs a new folder"
CHANGING: Final = "the cluster changes its CA, and this member has yet to; try again"

logger = logging.getLogger("quorate.node")


class Admission:
    """What one node says to those who want to join."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        # Those who join, and members that renew: neither keeps the other waiting.
        self.busy = 0
        self.renewing = 0

    async def answer(self, body: bytes, *, relayed: bool) -> bytes:
        """The answer to a request, or to one for the CA. Raises HelloError."""
        if not body:
            return self.node.credentials.own_root()
        if not relayed and self.node.credentials.is_behind():
            raise HelloError(CHANGING)
        if self.busy >= AT_ONCE_MAX:
            raise HelloError(f"{AT_ONCE_MAX} others are joining; try again")
        self.busy += 1
        try:
            if await self.node.signer.ready():
                return await self._admit(decode_join_request(body))
            if relayed:
                raise Unable(NO_KEY)
            return await self._relay(body)
        except Refused as refused:
            raise HelloError(refused.reason) from None
        finally:
            self.busy -= 1

    async def renew(self, shown: PeerCertificate, request: bytes) -> bytes:
        """A new certificate for a member that shows this one. Raises HelloError."""
        if self.renewing >= AT_ONCE_MAX:
            raise Unable(f"{AT_ONCE_MAX} others are asking; try again")
        self.renewing += 1
        try:
            return await self._renew(shown, request)
        except Refused as refused:
            raise HelloError(refused.reason) from None
        finally:
            self.renewing -= 1

    async def _renew(self, shown: PeerCertificate, request: bytes) -> bytes:
        node, member = self.node, shown.identity.member_id
        if not await node.signer.ready():
            raise Unable(NO_KEY)
        if not vetting.speaks_by(node.transport, shown):
            raise HelloError(NOT_SPOKEN_BY)
        # What was revoked or removed while this node was behind gets nothing new.
        await catch_up(node, TIMEOUT_MS)
        reason = node.objection(shown) or objection_to_renewal(
            node.replica.database.member_table.trust, shown
        )
        if reason is not None:
            raise HelloError(reason)
        name = node.roster.place_of(member)[0] or f"{member:016x}"
        certificate = await node.signer.sign(request, name, member)
        logger.info(
            "member %016x, %s, has a new certificate in the place of %s",
            *(member, name, serial_name(shown.serial)),
        )
        return certificate

    async def _relay(self, body: bytes) -> bytes:
        """To whoever can sign; the others say that they can't."""
        reason = NOBODY_SIGNS
        for member in self.node.transport.reached():
            try:
                return await self.node.transport.ask_to_join(member, body)
            except (HelloError, OSError, TimeoutError) as error:
                if str(error) != NO_KEY:
                    reason = str(error)
        raise HelloError(reason)

    async def _admit(self, request: JoinRequest) -> bytes:
        node = self.node
        loop = asyncio.get_running_loop()
        # In a thread: what it takes to look at certificates takes long to import.
        key = await loop.run_in_executor(None, _key_of, request.request)
        await self._check(request, key)
        # Before it is a member, for which the token is spent.
        await node.signer.check()
        command = Admit(
            *(request.token, request.member_id, key),
            *(request.name, request.peer, request.client),
        )
        body = encode_member_command(command)
        await ask(node, RequestKind.WRITE, body, TIMEOUT_MS)
        certificate = await node.signer.sign(
            request.request, request.name, request.member_id
        )
        logger.info("member %016x, %s, joins", request.member_id, request.name)
        voters = {m: (v.name, v.address) for m, v in node.identity.voters.items()}
        table = node.replica.database.member_table
        own = node.member_id, node.config.name, str(node.config.peer_address)
        contacts = contacts_of(voters, table.members, table.gone, own)
        contacts.pop(request.member_id, None)
        return msgspec.msgpack.encode(
            JoinReply(node.cluster_id, certificate, voters, contacts)
        )

    async def _check(self, request: JoinRequest, key: bytes) -> None:
        """Does it know the secret, or is it the same member once more?"""
        node = self.node
        await catch_up(node, TIMEOUT_MS)
        table = node.replica.database.member_table
        known = table.members.get(request.member_id)
        if known is not None and known.key == key:
            if rules.has_lost_its_data(request.member_id in node.met):
                # What it has promised since is gone with its data.
                raise HelloError(LOST_ITS_DATA)
            if request.member_id in table.trust.members:
                # Whoever has its first key would be signed another certificate.
                raise HelloError(REVOKED)
            return
        if request.member_id in table.gone:
            raise HelloError(
                "this member was removed from the cluster; a new member needs a new"
                " folder"
            )
        token = table.tokens.get(request.token)
        digest = token_digest(request.secret)
        if token is None or not hmac.compare_digest(token.digest, digest):
            raise HelloError("there is no such token: it is wrong, over, or used up")
        names = {number: each.name for number, each in node.identity.voters.items()}
        there = table.everybody(node.replica.raft.configuration)
        if is_first_voters_name(request.name, request.member_id, names, there):
            raise HelloError(f"the name {request.name} is a first voter's")


def is_first_voters_name(
    name: str, member: int, voters: Mapping[int, str], there: Container[int]
) -> bool:
    """Is it that of another of the `voters` who is still `there`?

    One who has yet to say where it is has no record in the log, where names are
    compared, and could never say it once its name were taken.
    """
    return any(
        name == known and number != member and number in there
        for number, known in voters.items()
    )


def objection_to_renewal(trust: TrustRecord, shown: PeerCertificate) -> str | None:
    """While a rotation issues, only what a member has said it shows is replaced.

    The old root is still trusted then. Whoever has its key makes certificates in any
    member's name, and must not get one of the new root for them.
    """
    if trust.phase != ISSUING:
        return None
    said = {each.member: each.serial for each in trust.presented}
    if said.get(shown.identity.member_id) == shown.serial:
        return None
    return "this certificate is not the one that the member has said it shows"


def contacts_of(
    voters: Mapping[int, tuple[str, str]],
    members: Mapping[int, MemberRecord],
    gone: Container[int],
    own: tuple[int, str, str],
) -> dict[int, tuple[str, str]]:
    """Name and place of all whom a newcomer may need to answer, who leads among them.

    A first voter that has just started has not told its place yet, and may lead.
    """
    number, name, place = own
    told = {m: (record.name, record.peer) for m, record in members.items()}
    known = {**voters, **{m: at for m, at in told.items() if at[1]}}
    known[number] = name, place
    return {member: at for member, at in known.items() if member not in gone}


def _key_of(request: bytes) -> bytes:
    from . import certificates

    try:
        return certificates.key_of_request(request)
    except certificates.CertificateError as error:
        raise HelloError(str(error)) from None
