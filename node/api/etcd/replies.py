"""What is answered: etcd's messages, as JSON that leaves out what is default.

Law: clients test for presence, so that a number that is 0, a list without parts and a
false are not written. Numbers of 64 bits are text. Fields stand in etcd's order.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from aiohttp import web

from ....wire.records import Record
from ..connections import ClientPort
from ..http_requests import JSON_HEADERS
from .bodies import signed

_encoder = msgspec.json.Encoder()


class Reply(msgspec.Struct, omit_defaults=True):
    """Root of all of them."""


class Header(Reply, omit_defaults=True):
    """Who answers, and at which revision."""

    cluster_id: str = ""
    member_id: str = ""
    revision: str = ""
    raft_term: str = ""


class HeaderOnly(Reply, omit_defaults=True):
    header: Header


class KeyValue(Reply, omit_defaults=True):
    key: bytes = b""
    create_revision: str = ""
    mod_revision: str = ""
    version: str = ""
    value: bytes = b""
    lease: str = ""


class RangeReply(Reply, omit_defaults=True):
    header: Header
    kvs: list[KeyValue] = []
    more: bool = False
    count: str = ""


class PutReply(Reply, omit_defaults=True):
    header: Header
    prev_kv: KeyValue | None = None


class DeleteRangeReply(Reply, omit_defaults=True):
    header: Header
    deleted: str = ""
    prev_kvs: list[KeyValue] = []


class OperationReply(Reply, omit_defaults=True):
    response_range: RangeReply | None = None
    response_put: PutReply | None = None
    response_delete_range: DeleteRangeReply | None = None
    response_txn: "TxnReply | None" = None


class TxnReply(Reply, omit_defaults=True):
    header: Header
    succeeded: bool = False
    responses: list[OperationReply] = []


class LeaseReply(Reply, omit_defaults=True):
    """Of grant, keepalive and timetolive."""

    header: Header
    lease: str = msgspec.field(default="", name="ID")
    ttl: str = msgspec.field(default="", name="TTL")
    granted_ttl: str = msgspec.field(default="", name="grantedTTL")
    keys: list[bytes] = []


class LeaseStatus(Reply, omit_defaults=True):
    lease: str = msgspec.field(default="", name="ID")


class LeasesReply(Reply, omit_defaults=True):
    """`leases` are there in JSON already: they may be very many."""

    header: Header
    leases: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class LockReply(Reply, omit_defaults=True):
    header: Header
    key: bytes = b""


class LeaderKey(Reply, omit_defaults=True):
    """How somebody leads; `rev` is the create_revision of `key`."""

    name: bytes = b""
    key: bytes = b""
    rev: str = ""
    lease: str = ""


class CampaignReply(Reply, omit_defaults=True):
    header: Header
    leader: LeaderKey


class LeaderReply(Reply, omit_defaults=True):
    header: Header
    kv: KeyValue


class Event(Reply, omit_defaults=True):
    type: str = ""
    kv: KeyValue | None = None
    prev_kv: KeyValue | None = None


class WatchReply(Reply, omit_defaults=True):
    header: Header
    watch_id: str = ""
    created: bool = False
    canceled: bool = False
    compact_revision: str = ""
    cancel_reason: str = ""
    events: list[Event] = []


class MemberStatus(Reply, omit_defaults=True):
    member_id: str = msgspec.field(default="", name="ID")
    name: str = ""
    peer_urls: list[str] = msgspec.field(default=[], name="peerURLs")
    client_urls: list[str] = msgspec.field(default=[], name="clientURLs")
    is_learner: bool = msgspec.field(default=False, name="isLearner")


class MembersReply(Reply):
    header: Header
    # Always there, since clients index it.
    members: list[MemberStatus]


class StatusReply(Reply, omit_defaults=True, rename="camel"):
    header: Header
    version: str = ""
    db_size: str = ""
    leader: str = ""
    raft_index: str = ""
    raft_term: str = ""
    raft_applied_index: str = ""
    errors: list[str] = []
    db_size_in_use: str = ""
    is_learner: bool = False


class HashReply(Reply, omit_defaults=True):
    header: Header
    # Of 32 bits, so a number.
    hash: int = 0


class AlarmStatus(Reply, omit_defaults=True):
    member_id: str = msgspec.field(default="", name="memberID")
    alarm: str = ""


class AlarmsReply(Reply, omit_defaults=True):
    header: Header
    alarms: list[AlarmStatus] = []


class AuthStatusReply(Reply, omit_defaults=True):
    header: Header
    enabled: bool = False
    auth_revision: str = msgspec.field(default="", name="authRevision")


class AuthenticateReply(Reply, omit_defaults=True):
    header: Header
    token: str


class Streamed(Reply, omit_defaults=True):
    """One message of a stream."""

    result: Any


class Speaker:
    """Puts headers on answers, for one client port."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._cluster: str = str(port.options.cluster_id)
        self._member: str = str(port.options.member_id)

    def header(self, revision: int | None = None) -> Header:
        """The header of an answer at `revision`, by default the newest one here."""
        position = self._port.service.position()
        at = position.revision if revision is None else revision
        return Header(self._cluster, self._member, number(at), number(position.term))


def number(value: int) -> str:
    """A number as text; "", which is left out, for 0."""
    return str(value) if value else ""


def key_value(record: Record, keys_only: bool = False) -> KeyValue:
    """A record as etcd shows it."""
    return KeyValue(
        record.key,
        str(record.create_revision),
        str(record.mod_revision),
        str(record.version),
        b"" if keys_only else record.value,
        number(signed(record.lease)),
    )


def key_values(records: Iterable[Record], keys_only: bool = False) -> list[KeyValue]:
    return [key_value(record, keys_only) for record in records]


def statuses(leases: Iterable[int]) -> bytes:
    """Leases as etcd lists them, without the brackets of the list."""
    return _encoder.encode([LeaseStatus(str(signed(lease))) for lease in leases])[1:-1]


def at_revision(revision: int) -> Header:
    """The header of an operation in a transaction."""
    return Header(revision=number(revision))


def encode(value: object) -> bytes:
    return _encoder.encode(value)


def respond(reply: Reply) -> web.Response:
    """An answer as it is sent."""
    return web.Response(body=_encoder.encode(reply), headers=JSON_HEADERS)


MESSAGE_END: Final = b"\n"


def message(reply: Reply) -> bytes:
    """One message of a stream, which is one line and one chunk."""
    return _encoder.encode(Streamed(reply)) + MESSAGE_END
