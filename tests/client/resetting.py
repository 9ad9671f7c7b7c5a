"""Connects, under uvloop, to a server that resets each one in its TLS handshake.

Prints how many connections failed. Where a descriptor is closed under a transport,
uvloop takes the next one for it, or libuv aborts the process.
"""

import asyncio
import random
import socket
import ssl
import struct
import threading
import time
from itertools import cycle
from typing import Final

import uvloop
from quorate.client.endpoints import Endpoint
from quorate.client.links import ConnectFailed, Link

ATTEMPTS: Final = 60
TOGETHER: Final = 16
PAUSES_S: Final = (0.0, 0.0, 0.001)
_RESET: Final = struct.pack("ii", 1, 0)


def reset(listener: socket.socket) -> None:
    for pause_s in cycle(PAUSES_S):
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        time.sleep(pause_s)
        accepted.close()


async def ask(link: Link) -> int:
    failed = 0
    for _ in range(ATTEMPTS):
        try:
            await link.connect(60)
        except ConnectFailed:
            failed += 1
        await asyncio.sleep(random.choice(PAUSES_S))
    return failed


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=reset, args=(listener,), daemon=True).start()
    endpoint = Endpoint("127.0.0.1", listener.getsockname()[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    links = [Link(endpoint, context, lambda _: None) for _ in range(TOGETHER)]
    print(sum(await asyncio.gather(*map(ask, links))))


if __name__ == "__main__":
    uvloop.run(main())
