"""`quorate bench`: put a load on a cluster and tell how long operations took.

Law: prints what the load generator tells, figures on standard output, all else on
standard error; measures nothing itself. With one client process that is this one.
"""

import asyncio
import math
import random
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from .bench_output import Screen, print_result
from .settings import (
    Failure,
    NobodyToAsk,
    Settings,
    connection_options,
    current_settings,
    duration,
    exit_codes,
    run_time,
    to_bytes,
)

if TYPE_CHECKING:
    from ..chaos.load import LoadOptions, Result, Worker

DURATION_DEFAULT_S = 10.0
PREFIX_BYTES_MAX = 1024
PROCESSES_MAX = 64
KEYS_MAX = 10_000_000
# Names of chaos/load's, which is not loaded for the help; a test compares them.
WORKLOADS = ("put", "get", "mixed", "A", "B", "C", "D", "E", "F")
DISTRIBUTIONS = ("uniform", "zipf", "latest")
ARRIVALS = ("constant", "poisson")
LEVELS = ("linearizable", "bounded", "local")
MAX_STALENESS_DEFAULT = 1.0


@click.command("bench")
@click.option(
    "--workload",
    type=click.Choice(WORKLOADS, case_sensitive=False),
    default="put",
    show_default=True,
    help="Plain, or one of YCSB's mixes.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.001, 10_000_000),
    metavar="R",
    help="Open loop: R operations a second, of all processes together.",
)
@click.option(
    "--arrivals", type=click.Choice(ARRIVALS), default="constant", show_default=True
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 65_536),
    metavar="N",
    help="Of each process: 64; with --rate, from where on operations wait (10000).",
)
@click.option(
    "--processes",
    type=click.IntRange(1, PROCESSES_MAX),
    default=1,
    show_default=True,
    help="Client processes.",
)
@click.option("--duration", "duration_s", type=run_time, help="Default 10s.")
@click.option(
    "--operations", type=click.IntRange(1), metavar="N", help="End after so many."
)
@click.option(
    "--warmup", type=str, default="1s", show_default=True, help="Not measured; 0: none."
)
@click.option(
    "--value-bytes", type=click.IntRange(0, 4 << 20), default=256, show_default=True
)
@click.option(
    "--keys", type=click.IntRange(1, KEYS_MAX), default=100_000, show_default=True
)
@click.option(
    "--distribution",
    type=click.Choice(DISTRIBUTIONS),
    help="Of keys; default: the workload's own.",
)
@click.option(
    "--consistency",
    type=click.Choice(LEVELS),
    default="linearizable",
    show_default=True,
    help="Of reads.",
)
@click.option("--max-staleness", type=duration, help="With bounded reads (default 1s).")
@click.option("--seed", type=click.IntRange(0), help="Draws keys, kinds and values.")
@click.option(
    "--load", is_flag=True, help="Put all keys first, as workloads that read do."
)
@click.option("--no-load", is_flag=True, help="The keys are there already.")
@click.option(
    "--prefix", default="bench/", show_default=True, help="Of all keys that it touches."
)
@click.option("--cleanup", is_flag=True, help="Delete what was written.")
@connection_options()
def command(
    workload: str,
    rate: float | None,
    arrivals: str,
    in_flight: int | None,
    processes: int,
    duration_s: float | None,
    operations: int | None,
    warmup: str,
    value_bytes: int,
    keys: int,
    distribution: str | None,
    consistency: str,
    max_staleness: float | None,
    seed: int | None,
    load: bool,
    no_load: bool,
    prefix: str,
    cleanup: bool,
) -> None:
    """Measure a cluster: operations a second, and how long they take.

    By default a closed loop: --in-flight operations at once, each of which is followed
    by the next. With --rate an open loop: operations have their times, and latency
    counts from those, whether or not the cluster keeps up. Ctrl-C ends it with the
    results so far, a second one at once. Exit code 1 when an operation failed for
    another reason than overload, 5 when nobody could be asked, or all was refused.
    """
    import msgspec

    from ..chaos.load import IN_FLIGHT_CLOSED, IN_FLIGHT_OPEN, LoadOptions
    from ..chaos.load import WORKLOADS as MIXES

    if load and no_load:
        raise click.UsageError("give --load or --no-load")
    if rate is not None and math.isnan(rate):
        # It is neither below nor above a range, and no moment would ever be due.
        raise click.UsageError("--rate is not a number")
    if max_staleness is not None and consistency != "bounded":
        raise click.UsageError("--max-staleness is for --consistency bounded")
    key_prefix = to_bytes(prefix)
    if not 0 < len(key_prefix) <= PREFIX_BYTES_MAX:
        raise click.UsageError(f"--prefix has 1 to {PREFIX_BYTES_MAX} bytes")
    if in_flight is None:
        in_flight = IN_FLIGHT_CLOSED if rate is None else IN_FLIGHT_OPEN
    if duration_s is None and operations is None:
        duration_s = DURATION_DEFAULT_S
    if consistency == "bounded" and max_staleness is None:
        max_staleness = MAX_STALENESS_DEFAULT
    mix = MIXES[workload]
    options = msgspec.convert(
        {
            "workload": workload,
            "distribution": distribution or mix.distribution,
            "seed": random.SystemRandom().getrandbits(32) if seed is None else seed,
            "processes": processes,
            "in_flight": in_flight,
            "rate": rate,
            "arrivals": arrivals,
            "duration_s": duration_s,
            "operations": operations,
            "warmup_s": 0.0 if warmup in ("0", "0s") else duration(warmup),
            "value_bytes": value_bytes,
            "keys": keys,
            "level": consistency,
            "max_staleness_s": max_staleness,
            "load": load or (mix.reads and not no_load),
            "cleanup": cleanup,
            "prefix": key_prefix,
        },
        LoadOptions,
    )
    settings = current_settings()
    with exit_codes():
        version = asyncio.run(_probe(settings, options))
    result = _run(settings, options)
    print_result(options, result, version, json=settings.output == "json")
    _end(result)


async def _probe(settings: Settings, options: "LoadOptions") -> str:
    """Ask for something, so that a cluster that is not there ends it; its version."""
    async with settings.connect() as client:
        version = (await client.status()).get("version", "")
        if options.level == "bounded":
            await client.get(
                options.prefix, level="bounded", max_staleness=options.max_staleness_s
            )
        else:
            await client.get(options.prefix, level=options.level)
    return str(version)


def _run(settings: Settings, options: "LoadOptions") -> "Result":
    from ..chaos.load import new_loop

    here = options.processes == 1
    open_loop = here and options.rate is not None
    make = (lambda: new_loop(open_loop=open_loop)) if here else None
    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(_run_load(settings, options))


async def _run_load(settings: Settings, options: "LoadOptions") -> "Result":
    from ..chaos.load import RealClock, run_load

    stop, abort = asyncio.Event(), asyncio.Event()
    _on_signals(stop, abort)
    screen = Screen(options)
    async with AsyncExitStack() as stack:
        workers = await _workers(settings, options, stack)
        try:
            return await run_load(
                options, workers, RealClock(), screen.tell, stop=stop, abort=abort
            )
        finally:
            screen.close()


async def _workers(
    settings: Settings, options: "LoadOptions", stack: AsyncExitStack
) -> "Sequence[Worker]":
    """The client processes; the stack ends them."""
    from ..chaos.load import Generator, RealClock, Target, start_children

    if options.processes == 1:
        client = await stack.enter_async_context(settings.connect())
        return [Generator(client, options, 0, RealClock())]
    target = Target(
        endpoints=tuple(settings.endpoint_list()),
        timeout_s=settings.timeout,
        cafile=settings.cacert,
        certfile=settings.cert,
        keyfile=settings.key_file,
        token=settings.token(),
    )
    return await start_children(target, options, stack)


def _on_signals(stop: asyncio.Event, abort: asyncio.Event) -> None:
    """The first signal ends the run in order, another one at once."""

    def caught() -> None:
        (abort if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, caught)


def _end(result: "Result") -> None:
    """The exit code, and the reason if it is not 0."""
    from ..chaos.load import OVERLOAD, PhaseFailed

    unavailable = {"unavailable", OVERLOAD}
    for failure in result.failures:
        gone = isinstance(failure, PhaseFailed) and failure.code in unavailable
        raise (NobodyToAsk if gone else Failure)(str(failure))
    total = result.report.total()
    if total.errors and not total.latency.count and total.errors.keys() <= unavailable:
        busy = OVERLOAD in total.errors
        raise NobodyToAsk(
            "no operation was done: all were refused as too busy, or nobody was there"
            if busy
            else "no operation could be asked of anybody"
        )
    failed = sum(n for code, n in total.errors.items() if code != OVERLOAD)
    if failed:
        raise Failure(f"{failed} operations failed")
