"""A program that behaves as a node does towards its launcher, and does nothing else.

Run as `fake_node.py node --dir DIR`, or --config DIR/quorate.toml, or with `=`. It
answers GETs on the client port of DIR/quorate.toml (200 for /readyz, else 404), ends
with 0 on SIGTERM and with 7 when its lifeline ends, and writes its environment to
DIR/environment. FAKE_NODE may ask for `die` (say so and exit 3), `deaf` (never answer)
or `stubborn` (ignore SIGTERM).
"""

import os
import selectors
import signal
import socket
import sys
from types import FrameType


def main() -> None:
    named = sys.argv[-1].removeprefix("--dir=").removeprefix("--config=")
    directory = named.removesuffix("/quorate.toml")
    mood = os.environ.get("FAKE_NODE", "")
    if mood == "die":
        print("the fake node dies at once", flush=True)
        sys.exit(3)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mood == "stubborn" else end)
    with open(f"{directory}/environment", "w") as file:
        file.writelines(f"{key}={value}\n" for key, value in os.environ.items())
    with open(f"{directory}/quorate.toml") as file:
        client = file.read().partition("[client]")[2].partition('"')[2].partition('"')
    host, _, port = client[0].rpartition(":")
    listener = socket.create_server((host, int(port)))
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ)
    lifeline = int(os.environ.get("QUORATE_LIFELINE", "-1"))
    if lifeline >= 0:
        watched.register(lifeline, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            if key.fd == lifeline:
                assert os.read(lifeline, 1) == b""
                os._exit(7)
            if mood != "deaf":
                answer(listener.accept()[0])


def end(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def answer(connection: socket.socket) -> None:
    with connection:
        request = connection.recv(65536)
        good = request.startswith((b"GET /readyz ", b"GET /health?"))
        status = "200 OK" if good else "404 Absent"
        head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())


if __name__ == "__main__":
    main()
