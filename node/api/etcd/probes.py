"""`/livez` and `/readyz`, as etcd has them since 3.5.11: checks, each with a line.

Law: whether it lives asks nobody. What a restart does not heal (no leader, too much to
do, data that is being replaced) is no reason for one. Whether it is ready is found out
as a client would: by reading. No check waits for another.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from ....wire.frames import RequestKind
from ....wire.requests import Level, RangeRequest, encode_range
from .. import targets
from ..connections import ClientPort
from ..errors import RETRY_AFTER_S, Problem
from ..http_body import refuse_body
from ..http_requests import ask
from ..service import DAMAGED, DISK_FULL, NO_LEADER, SHUTTING_DOWN
from ..targets import Target
from .errors import NO_LEADER as NO_LEADER_TEXT
from .errors import translated

METHODS: Final = ("GET", "HEAD")
# Who asks for health wants to know soon.
HEALTH_TIMEOUT_MS: Final = 2000
TEXT_HEADERS: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
}

_SERIALIZABLE: Final = "serializable_read"
_LINEARIZABLE: Final = "linearizable_read"
# What makes a node unready whatever it reads, by the name of its check.
_TROUBLES: Final = {
    "shutdown": SHUTTING_DOWN,
    "data_corruption": DAMAGED,
    "disk_space": DISK_FULL,
}
# Each check has a path of its own, below its probe's.
CHECKS: Final[dict[str, tuple[str, ...]]] = {
    "/livez": ("process",),
    "/readyz": (*_TROUBLES, _SERIALIZABLE, _LINEARIZABLE),
}
# All paths, each with what it checks.
PATHS: Final[dict[str, tuple[str, ...]]] = CHECKS | {
    f"{probe}/{name}": (name,) for probe, names in CHECKS.items() for name in names
}
# The label of each, in the metrics.
OPERATIONS: Final = {path: path.split("/")[1] for path in PATHS}


class Probes:
    """The handler of all PATHS."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port

    async def answer(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve a probe: `verbose` shows what is well, too; `exclude` leaves out."""
        await refuse_body(request)
        names: Sequence[str] = PATHS[target.path]
        if target.path in CHECKS:
            # As in etcd: others mean nothing, neither names nor parameters.
            excluded = targets.values(target.query, "exclude")
            names = [name for name in names if name.encode() not in excluded]
        reasons = await asyncio.gather(*map(self._reason, names))
        lines = "".join(map(_line, names, reasons))
        if any(reasons):
            later = TEXT_HEADERS | {"Retry-After": str(RETRY_AFTER_S)}
            return web.Response(status=503, text=f"{lines}\n", headers=later)
        shown = lines if targets.values(target.query, "verbose") else ""
        return web.Response(text=f"{shown}ok\n", headers=TEXT_HEADERS)

    async def _reason(self, name: str) -> str:
        """Why a check fails; "" when it does not."""
        troubles = self._port.service.troubles()
        if name == _SERIALIZABLE:
            return await unreadable(self._port, Level.LOCAL)
        if name == _LINEARIZABLE:
            if NO_LEADER in troubles:
                return NO_LEADER_TEXT
            return await unreadable(self._port, Level.LINEARIZABLE)
        trouble = _TROUBLES.get(name)
        return trouble if trouble in troubles else ""


async def unreadable(port: ClientPort, level: Level) -> str:
    """Why nothing can be read at this level, in etcd's words; "" when it can.

    A range without keys is asked for: who looks every second reads no block of the
    disk, and a node that has nothing but what is left of its data ends at none.
    """
    body = encode_range(RangeRequest(level, 0, 0, b"\0", b"\0", 1, True))
    try:
        await ask(port, RequestKind.RANGE, body, HEALTH_TIMEOUT_MS)
    except Problem as problem:
        return translated(problem)[1]
    return ""


def _line(name: str, reason: str) -> str:
    return f"[-]{name} failed: {reason}\n" if reason else f"[+]{name} ok\n"
