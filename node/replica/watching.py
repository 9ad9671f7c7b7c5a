"""Between a replica and its watches: when they are told, and when they end.

Law: pure. Nothing is told of a state that is damaged or not yet again what it was. A
node that has had no leader for long can't know what it misses: its watches end, and
go on at another node from where they were (I-61).
"""

from typing import TYPE_CHECKING, Final, cast

from ...storage.errors import CorruptionError
from ...wire import ErrorCode, RequestKind
from . import rules
from .effects import Effects, Reply, WatchSink
from .requests import Request, refuse
from .watches import Watches

if TYPE_CHECKING:
    from .core import Replica

_NO_LEADER_MS: Final = 3000
# All who watch are told how far they are once in this time.
_REMIND_MS: Final = 10_000

_ALONE: Final = "this node has had no leader for a while"


class Watching:
    """`watches` of one replica."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.watches = Watches(replica.database, replica.options.limits)
        self._alone_ms = 0

    @property
    def open(self) -> bool:
        """Is there anybody to be told of anything?"""
        return bool(self.watches.open or self.watches.pushes)

    def due(self) -> bool:
        """Could a turn now tell anybody anything?"""
        watches = self.watches
        return bool(watches.pushes) or (watches.could_catch_up() and self._may_tell())

    def _may_tell(self) -> bool:
        replica = self.replica
        return replica.healing.damage is None and not replica.reads.barred

    def take(self, request: Request) -> None:
        """Begin a watch, or end one."""
        sink = cast("WatchSink", request.sink)
        if request.kind == RequestKind.CANCEL:
            self.watches.cancel(sink, request)
        elif rules.alone_too_long(self._alone_ms, _NO_LEADER_MS):
            self.replica.replies.append(refuse(request, ErrorCode.NO_LEADER, _ALONE))
        elif self.watches.disowned:
            reason = self.replica.reads.barred
            self.replica.replies.append(refuse(request, ErrorCode.DAMAGED, reason))
        else:
            self.watches.add(sink, request)

    def turn(self, effects: Effects) -> None:
        """Tell what was applied, and go on with those that are behind."""
        replica = self.replica
        if self._may_tell():
            self.watches.applied()
            try:
                if self.watches.catch_up():
                    effects.again = True
            except CorruptionError as error:
                replica.healing.found(error)
        effects.pushes = self.watches.take_pushes()

    def tick(self, ticks: int) -> None:
        """So many ticks have passed since the last call."""
        replica = self.replica
        passed_ms = ticks * replica.options.tick_ms
        if replica.raft.leader_id:
            self._alone_ms = 0
            self.watches.remind(max(1, _REMIND_MS // passed_ms))
            return
        self._alone_ms += passed_ms
        alone = rules.alone_too_long(self._alone_ms, _NO_LEADER_MS)
        if self.watches.open and alone:
            self.watches.end_all(ErrorCode.NO_LEADER, _ALONE)

    def stop(self) -> None:
        self.watches.end_all(ErrorCode.STOPPING, "this node is shutting down")

    def last_replies(self) -> list[Reply]:
        """What is still to be said when the node ends."""
        return [
            Reply(push.sink, push.request_id, push.kind, push.status, push.body)
            for push in self.watches.take_pushes()
            if push.last
        ]
