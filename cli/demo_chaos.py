"""`quorate demo --chaos`: the demo with a prompt by which its nodes are hurt.

Law: a thin face of chaos/prompt: which terminal there is, signals, and the words of the
end. The first signal ends the commands, the second everything. Exit codes are those of
`quorate chaos run`: 0 valid, 1 violated, 3 void.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..node.launcher import LauncherError, LocalCluster, check_ports
from .chaos_output import print_findings
from .settings import Failure

if TYPE_CHECKING:
    from ..chaos.prompt import Outcome

# How long a node whose demo was killed may take to end.
ORPHAN_SECONDS_MAX = 15.0


def run_chaos(
    cluster: LocalCluster, temporary: Path | None, ready: Callable[[], None]
) -> "Outcome":
    """The whole session; `ready` is called when it serves. Raises Failure."""
    from ..chaos.harness.errors import SetupFailed

    try:
        for node in cluster.nodes:
            # Children of a demo that was killed are about to end: let them.
            node.wait_for_orphan(ORPHAN_SECONDS_MAX)
        resting = [node for node in cluster.nodes if node.running_pid() is None]
        check_ports(address for node in resting for address in (node.client, node.peer))
        # Until here what runs is somebody else's, and stays.
        try:
            return asyncio.run(_run(cluster, temporary, ready))
        finally:
            # Those that were started by hand, too.
            for node in cluster.nodes:
                node.stop_process()
    except (LauncherError, SetupFailed) as error:
        raise Failure(str(error)) from error


async def _run(
    cluster: LocalCluster, temporary: Path | None, ready: Callable[[], None]
) -> "Outcome":
    from ..chaos.prompt import Keyboard, Screen, Session, run_prompt

    typed = sys.stdin.isatty()
    live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    screen = Screen(sys.stdout, live=live, echo=not typed)
    ending, stop = asyncio.Event(), asyncio.Event()
    _catch_signals(ending, stop)
    keyboard = Keyboard(sys.stdin.fileno())
    session = Session(cluster, keyboard, screen, ending, ready)
    try:
        return await run_prompt(session, temporary, stop)
    finally:
        screen.close()


def _catch_signals(ending: asyncio.Event, stop: asyncio.Event) -> None:
    def note() -> None:
        (stop if ending.is_set() else ending).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a closed terminal is to be ignored.
        if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):
            loop.add_signal_handler(number, note)


def print_outcome(outcome: "Outcome") -> None:
    """The verdict, and what it was found by."""
    click.echo(outcome.load)
    print_findings(outcome)
    click.echo(f"verdict: {outcome.verdict}")
