"""Addresses of this machine: one to be reached at, and one where nobody answers."""

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

HERE: Final = "127.0.0.1"
ELSEWHERE: Final = "127.0.0.2"


@contextmanager
def silent_port() -> Generator[int]:
    """A port ELSEWHERE at which nobody answers: what would has no room for more."""
    with ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind((ELSEWHERE, 0))
        listener.listen(0)
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]
