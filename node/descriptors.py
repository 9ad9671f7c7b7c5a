"""How many files and sockets this process may have open, and how many clients get.

Law: clients are many and come uncalled, and the journal can't do without a file: who
opens one too many must never be the disk (I-19 would end the node). So the process
takes what the system gives at most, and clients are let have all but a reserve.
"""

import logging
import resource
from typing import Final

# For the journal, tables, peers, handshakes, joins, the worker, and surprises.
RESERVED: Final = 512

logger = logging.getLogger("quorate.process")


def raise_limit() -> None:
    """Take as many descriptors as an ordinary process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.warning("this process stays at %d open files: %s", soft, error)


def room_for_clients(wanted: int) -> int:
    """How many clients may be connected: `wanted`, or what the limit leaves for them.

    Of a small limit the node keeps half.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    left = max(1, soft - min(RESERVED, soft // 2))
    if left < wanted:
        logger.warning(
            "limits.connections_max is %d, but only %d clients can be connected: this"
            " process may have %d files open (LimitNOFILE, ulimit -n)",
            *(wanted, left, soft),
        )
    return min(wanted, left)
