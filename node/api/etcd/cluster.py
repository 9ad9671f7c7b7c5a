"""The cluster and this member, as etcd tells of them; and is it healthy?

Law: what is told without asking anybody is this node's own view. Nothing here changes
anything: what etcd has to be told to do, this store does by itself or not at all.
"""

from collections.abc import Collection
from typing import Final
from zlib import crc32

import msgspec
from aiohttp import web

from ....wire.requests import Level
from ..connections import ClientPort
from ..service import DISK_FULL, NO_LEADER
from .errors import NO_LEADER as NO_LEADER_TEXT
from .errors import UNIMPLEMENTED, EtcdProblem
from .probes import TEXT_HEADERS, unreadable
from .replies import (
    AlarmsReply,
    AlarmStatus,
    HashReply,
    Reply,
    Speaker,
    StatusReply,
    encode,
    number,
)

# What clients compare with the versions of etcd that they know.
SERVER_VERSION: Final = "3.5.21"

NO_SPACE_ALARM: Final = "NOSPACE"
_GET, _ACTIVATE, _DEACTIVATE = "GET", "ACTIVATE", "DEACTIVATE"
ALARM_ACTIONS: Final = (_GET, _ACTIVATE, _DEACTIVATE)
# How etcd's health tells of what is wrong; the rest is told as it is.
_REASONS: Final = {DISK_FULL: f"ALARM {NO_SPACE_ALARM}", NO_LEADER: "RAFT NO LEADER"}


class _Health(msgspec.Struct):
    health: str
    reason: str


class Cluster:
    """The handlers of /v3/maintenance/… and /health."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker

    def status(self) -> Reply:
        now = self._port.service.statistics()
        leader = int(now.leader, 16) if now.leader else 0
        size = number(now.journal_size_bytes)
        return StatusReply(
            self._speaker.header(now.revision),
            version=SERVER_VERSION,
            db_size=size,
            leader=number(leader),
            raft_index=number(now.commit_index),
            raft_term=number(now.term),
            raft_applied_index=number(now.applied_index),
            errors=[] if leader else [NO_LEADER_TEXT],
            db_size_in_use=size,
            is_learner=now.role == "learner",
        )

    def hash(self) -> Reply:
        """Equal on all nodes that have applied the same."""
        now = self._port.service.statistics()
        return HashReply(
            self._speaker.header(now.revision), crc32(now.state_hash.encode())
        )

    def alarm(self, action: str, alarm: str) -> Reply:
        if action == _ACTIVATE and alarm not in ("", "NONE"):
            detail = "alarms are not raised by hand: a full disk raises its own"
            raise EtcdProblem(UNIMPLEMENTED, detail)
        alarms: list[AlarmStatus] = []
        if action == _GET and alarm != "CORRUPT" and self._disk_is_full():
            member = str(self._port.options.member_id)
            alarms.append(AlarmStatus(member, NO_SPACE_ALARM))
        return AlarmsReply(self._speaker.header(), alarms)

    async def health(
        self, serializable: bool, excluded: Collection[bytes]
    ) -> web.Response:
        """Can it serve? By this node alone, if that is enough; but for some alarms."""
        level = Level.LOCAL if serializable else Level.LINEARIZABLE
        troubles = list(self._port.service.troubles())
        if NO_SPACE_ALARM.encode() in excluded and DISK_FULL in troubles:
            troubles.remove(DISK_FULL)
        if serializable and NO_LEADER in troubles:
            troubles.remove(NO_LEADER)
        reason = ""
        if troubles:
            reason = _REASONS.get(troubles[0], troubles[0])
        elif said := await unreadable(self._port, level):
            reason = f"RANGE ERROR:{said}"
        document = _Health("false" if reason else "true", reason)
        return web.Response(
            status=503 if reason else 200,
            body=encode(document),
            headers=TEXT_HEADERS,
        )

    def _disk_is_full(self) -> bool:
        return DISK_FULL in self._port.service.troubles()
