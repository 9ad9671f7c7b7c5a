"""The cluster and this member, as etcd tells of them; and is it healthy?

Law: what is told without asking anybody is this node's own view. Nothing here changes
anything: what etcd has to be told to do, this store does by itself or not at all.
"""

from collections.abc import Collection
from typing import Final
from zlib import crc32

import msgspec
from aiohttp import web

from ....wire.frames import RequestKind
from ....wire.requests import Level, RangeRequest, encode_range
from ..connections import ClientPort
from ..errors import Problem
from ..http_requests import ask
from ..service import DISK_FULL, NO_LEADER
from .errors import NO_LEADER as NO_LEADER_TEXT
from .errors import UNIMPLEMENTED, EtcdProblem, translated
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
# Who asks for health wants to know soon.
HEALTH_TIMEOUT_MS: Final = 2000

NO_SPACE_ALARM: Final = "NOSPACE"
_GET, _ACTIVATE, _DEACTIVATE = "GET", "ACTIVATE", "DEACTIVATE"
ALARM_ACTIONS: Final = (_GET, _ACTIVATE, _DEACTIVATE)


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
        reason = self._port.service.ready() or ""
        if reason == DISK_FULL:
            reason = f"ALARM {NO_SPACE_ALARM}"
            if NO_SPACE_ALARM.encode() in excluded:
                reason = ""
        elif reason == NO_LEADER:
            reason = "" if serializable else "RAFT NO LEADER"
        reason = reason or await self._unreadable(serializable)
        document = _Health("false" if reason else "true", reason)
        return web.Response(
            status=503 if reason else 200,
            body=encode(document),
            headers={
                "Content-Type": "text/plain; charset=utf-8",
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def _unreadable(self, serializable: bool) -> str:
        level = Level.LOCAL if serializable else Level.LINEARIZABLE
        body = encode_range(RangeRequest(level, 0, 0, b"", b"", 1, True))
        try:
            await ask(self._port, RequestKind.RANGE, body, HEALTH_TIMEOUT_MS)
        except Problem as problem:
            return f"RANGE ERROR:{translated(problem)[1]}"
        return ""

    def _disk_is_full(self) -> bool:
        return self._port.service.ready() == DISK_FULL
