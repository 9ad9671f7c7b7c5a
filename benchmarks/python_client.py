"""A Python client under load: 64 tasks, each of which puts or gets, for some seconds.

    python python_client.py quorate|aetcd PORT put|get SECONDS TASKS

Law: the same loop for both clients, each at its best: aetcd in an environment of its
own, as it needs gRPC, so nothing of quorate is imported unless it is measured. Prints
operations, seconds and processor seconds, as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

KEYS = 1000
VALUE = b"v" * 256

Act = Callable[[bytes], Awaitable[object]]


def key_of(number: int) -> bytes:
    return b"bench-python-%06d" % (number % KEYS)


def connect(client: str, port: int) -> Any:
    if client == "aetcd":
        return import_module("aetcd").Client("127.0.0.1", port)
    return import_module("quorate").AsyncClient(f"127.0.0.1:{port}", timeout=30.0)


async def measure(
    client: str, port: int, what: str, seconds: float, tasks: int
) -> dict[str, float]:
    async with connect(client, port) as kv:

        async def put(key: bytes) -> None:
            await kv.put(key, VALUE)

        async def get(key: bytes) -> None:
            found = await kv.get(key)
            if found is None or found.value != VALUE:
                raise SystemExit(f"{client}: {key!r} is not what was put")

        # Connects; what is read has to be there already.
        await put(key_of(0))
        act: Act = put if what == "put" else get
        print("begun", flush=True)
        begin_s, cpu_s = time.perf_counter(), time.process_time()
        counts = await asyncio.gather(
            *(repeat(act, task * 16, begin_s + seconds) for task in range(tasks))
        )
        return {
            "operations": sum(counts),
            "seconds": time.perf_counter() - begin_s,
            "cpu_s": time.process_time() - cpu_s,
        }


async def repeat(act: Act, number: int, end_s: float) -> int:
    count = 0
    while time.perf_counter() < end_s:
        await act(key_of(number + count))
        count += 1
    return count


def main() -> None:
    client, port, what, seconds, tasks = sys.argv[1:]
    work = measure(client, int(port), what, float(seconds), int(tasks))
    try:
        # Both clients at their best.
        loop = import_module("uvloop").new_event_loop
    except ImportError:
        loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=loop) as runner:
        print(json.dumps(runner.run(work)))


if __name__ == "__main__":
    main()
