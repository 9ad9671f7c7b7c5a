"""quorate's own client under load, in processes of their own: those of `quorate bench`.

Law: nothing of the load is made here (chaos/load does that); this starts the processes,
points all of them at the leader, and adds up what they tell.
"""

import asyncio
import time
from contextlib import AsyncExitStack

from quorate.chaos.load import (
    LoadOptions,
    RealClock,
    Result,
    Target,
    run_load,
    start_children,
)

from .frames import RunFailed
from .pairs import Leg

PREFIX = b"bench-native/"
KEYS = 10_000
TIMEOUT_S = 30.0


def options(
    workload: str, in_flight: int, processes: int, seconds: float, *, load: bool = False
) -> LoadOptions:
    """`in_flight` is of all processes together."""
    return LoadOptions(
        workload=workload,
        distribution="uniform",
        seed=time.time_ns() % 2**32,
        processes=processes,
        in_flight=max(1, in_flight // processes),
        duration_s=seconds,
        keys=KEYS,
        load=load,
        prefix=PREFIX,
    )


def run(port: int, what: LoadOptions) -> Result:
    """What all processes told; raises RunFailed when one failed or none was done."""
    result = asyncio.run(_run(_target(port), what))
    total = result.report.total()
    if result.failures or total.errors:
        raise RunFailed(f"{result.failures or total.errors}")
    if not total.latency.count:
        raise RunFailed("not one operation was done in its time")
    return result


def leg_of(result: Result) -> Leg:
    """The rate is the figure."""
    report = result.report
    operations = report.total().latency.count
    rate = operations / report.seconds
    cpu_us = report.cpu_s / max(operations, 1) * 1e6
    return Leg(rate, operations, client_cpu_us=cpu_us)


async def _run(target: Target, what: LoadOptions) -> Result:
    async with AsyncExitStack() as stack:
        workers = await start_children(target, what, stack)
        never = asyncio.Event()
        return await run_load(
            what, workers, RealClock(), lambda _: None, stop=never, abort=never
        )


def _target(port: int) -> Target:
    return Target(endpoints=(f"127.0.0.1:{port}",), timeout_s=TIMEOUT_S)
