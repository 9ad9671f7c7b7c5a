"""Where the time of an operation goes: processor time by file, of one process.

    python -m quorate.benchmarks.profiles put|get leader|follower|client [--in-flight N]

Law: py-spy samples who holds the interpreter's lock; a sample belongs to the innermost
frame of quorate, with whatever C code that called. The shares are told as microseconds
of each operation, by what /proc says that the process has used. Leader and follower are
profiled under prebuilt frames, the client alone under what it does itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from . import frames, machine, python_client, tools
from .clusters import Place, Quorate, put_all
from .pairs import Leg
from .rows import CONNECTIONS, VALUE_BYTES
from .tools import TOOLS

RATE = 250
SHOWN = 24
OTHER = "(others)"
_OURS = f"{Path(__file__).resolve().parent.parent}/"


class Profile(NamedTuple):
    """Samples by file, and by function."""

    total: int
    files: Counter[str]
    functions: Counter[str]


def parse(raw: str) -> Profile:
    """py-spy's raw format: `outermost (file:line);…;innermost (file:line) count`."""
    files: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        function, file = _innermost_of_ours(stack.split(";"))
        files[file] += int(count)
        functions[f"{function}  {file}"] += int(count)
    return Profile(files.total(), files, functions)


def _innermost_of_ours(stack: list[str]) -> tuple[str, str]:
    for frame in reversed(stack):
        function, _, place = frame.rpartition(" (")
        file = place.rpartition(":")[0]
        if file.startswith(_OURS):
            return function, file.removeprefix(_OURS)
    return OTHER, OTHER


def lines_of(profile: Profile, cpu_us: float) -> list[str]:
    """The dearest files, then the dearest functions."""
    lines: list[str] = []
    for counter in (profile.files, profile.functions):
        for name, count in counter.most_common(SHOWN):
            share = count / profile.total
            lines.append(f"{share:6.1%} {share * cpu_us:7.2f} µs  {name}")
        lines.append("")
    return lines


def record(
    spy: str, pid: int, seconds: float, work: Callable[[], Leg], *how: str
) -> None:
    """Sample a process while `work` is done, and print."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "raw"
        before_s = machine.cpu_seconds([pid])
        command = [
            *(
                spy,
                "record",
                "--nonblocking",
                "--gil",
                "--rate",
                str(RATE),
                "--full-filenames",
                "--format",
                "raw",
            ),
            *("--duration", str(max(1, round(seconds)))),
            *("--pid", str(pid), "--output", str(file)),
        ]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=quiet, stderr=quiet) as sampler:
            leg = work()
        if sampler.returncode != 0:
            raise tools.ToolFailed("py-spy: it may not look at this process")
        profile = parse(file.read_text())
    # What the client told of itself, else what the system says of the node.
    used_us = (machine.cpu_seconds([pid]) - before_s) / leg.operations * 1e6
    cpu_us = leg.cpu_us or used_us
    print(f"{leg.figure:,.0f} operations/s, {cpu_us:.1f} µs of the process for each")
    print("\n".join(lines_of(profile, cpu_us)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time goes.")
    parser.add_argument("what", choices=["put", "get"])
    parser.add_argument("who", choices=["leader", "follower", "client"])
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--tools", type=Path, default=TOOLS, help="where py-spy lies")
    given = parser.parse_args()
    about = machine.describe()
    print("\n".join(f"{name}: {text}" for name, text in about.items()))
    spy = tools.need("py-spy", given.tools)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="profile-"))
        quorate = Quorate(Path(folder) / "quorate")
        stack.callback(quorate.stop)
        _profile(spy, quorate, given)


def _profile(spy: str, quorate: Quorate, given: argparse.Namespace) -> None:
    places, number = quorate.places(), quorate.leader()
    leader, follower = places[number], places[number - 1]
    frames.drive(leader.port, frames.puts(given.in_flight, VALUE_BYTES), 1, 0.5)
    if given.who == "client":
        _profile_client(spy, leader, given)
        return
    requests = frames.puts(given.in_flight, VALUE_BYTES)
    if given.what == "get":
        requests = frames.gets(given.in_flight)
    connections = min(CONNECTIONS, given.in_flight)
    pid = leader.pid if given.who == "leader" else follower.pid
    record(
        *(spy, pid, given.seconds),
        lambda: frames.drive(leader.port, requests, connections, given.seconds),
        # A leader that is stopped for each sample would lose its leadership.
        "--nonblocking",
    )


def _profile_client(spy: str, leader: Place, given: argparse.Namespace) -> None:
    """`python_client.py`, with as many tasks as are in flight."""
    put_all(leader.port, map(python_client.key_of, range(python_client.KEYS)))
    script = Path(__file__).with_name("python_client.py")
    command = [
        *(sys.executable, str(script), "quorate", str(leader.port), given.what),
        *(str(given.seconds), str(given.in_flight)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()

        def work() -> Leg:
            told = json.loads(client.communicate()[0])
            operations = int(told["operations"])
            cpu_us = told["cpu_s"] / operations * 1e6
            return Leg(operations / told["seconds"], operations, cpu_us=cpu_us)

        record(spy, client.pid, given.seconds, work)


if __name__ == "__main__":
    main()
