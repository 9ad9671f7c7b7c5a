"""Who comes last on processors that stand for several machines.

Law: a session's share is changed, of this process's or of one that it started; nothing
is asked of the system that it may not grant.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LAST: Final = 19
_CAP_SYS_NICE: Final = 23


def give_way(pid: int | str = "self", nice: int = LAST) -> None:
    """What this process's session uses of processors comes last, or as `nice` says.

    Where sessions share the processors in equal parts, nice counts within one alone.
    Elsewhere, or when the process has ended, nothing happens.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


@contextmanager
def giving_way(pid: int) -> Generator[None]:
    """The same for a while."""
    give_way(pid)
    try:
        yield
    finally:
        give_way(pid, 0)


def may_take_back() -> bool:
    """May this process raise a priority that it has lowered (CAP_SYS_NICE)?"""
    status = Path("/proc/self/status").read_text()
    rights = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return rights is not None and bool(int(rights[1], 16) >> _CAP_SYS_NICE & 1)
