"""`quorate node` in whose memory a byte flips when somebody sends it SIGUSR1.

    flipping_node.py node --dir DIRECTORY

The next command that this node applies ends in another byte here than in the log: after
its checksums were looked at, before it is written.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from quorate.node import process
from quorate.node.config import CONFIG_FILE, load_config
from quorate.node.database import Applied
from quorate.node.database.applied import LogEntry
from quorate.node.node import Node
from quorate.raft import COMMAND, Entry
from quorate.wire import EnvelopeKind, decode_envelope

FLIPPED = "a byte has flipped"


def main() -> int:
    _, directory = sys.argv[2:]
    start = Node.start

    async def and_listen(self: Node) -> None:
        await start(self)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, flip_next, self)

    Node.start = and_listen
    return process.run_node(load_config(Path(directory) / CONFIG_FILE, {}))


def flip_next(node: Node) -> None:
    """Of the next command of a client."""
    database = node.replica.database
    apply = database.apply

    def flipped(entries: Sequence[LogEntry], most: int) -> list[Applied]:
        for place, entry in enumerate(entries):
            if entry.kind == COMMAND and _of_client(entry):
                database.apply = apply  # type: ignore[method-assign]
                logging.getLogger("flipping").warning(FLIPPED)
                wrong = [*entries[:place], _wrong(entry), *entries[place + 1 :]]
                return apply(wrong, most)
        return apply(entries, most)

    database.apply = flipped  # type: ignore[method-assign]


def _of_client(entry: LogEntry) -> bool:
    return decode_envelope(entry.data).kind == EnvelopeKind.CLIENT_COMMAND


def _wrong(entry: LogEntry) -> Entry:
    data = entry.data[:-1] + bytes([entry.data[-1] ^ 1])
    return Entry(entry.index, entry.term, entry.kind, data)


if __name__ == "__main__":
    sys.exit(main())
