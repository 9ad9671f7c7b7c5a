"""The process around a node: uvloop, signals, collector, exit codes.

Law: everything here is the process's business, not the node's. Exit codes: 0 after a
clean stop, 1 when the node failed or could not start (the reason is the log's last
line).
"""

import asyncio
import gc
import logging
import os
import signal
import sys

from ..storage.env import Env, RealEnv
from ..storage.errors import StorageError
from ..storage.hold_back_env import HoldBackEnv
from .api.errors import ParserMissing
from .client_tokens import TokenFileError
from .config import NodeConfig
from .database import NotUnderstood
from .descriptors import raise_limit
from .fault_door import FAULTS, FaultDoor
from .identity import IdentityError
from .logs import start_logging
from .node import Node
from .pid_file import LIFELINE
from .stable import NotBootstrapped
from .tls import TlsError

HOLD_BACK = "QUORATE_HOLD_BACK"
# Few allocations survive on the hot path: collecting seldom keeps pauses rare.
_COLLECTOR_THRESHOLDS = (50_000, 50, 100)
_SWITCH_INTERVAL_S = 0.0002

logger = logging.getLogger("quorate.process")


def run_node(config: NodeConfig) -> int:
    """Run one node until it is told to stop; the process's exit code."""
    log = start_logging(config.log.format, config.log.level)
    code = 1
    try:
        raise_limit()
        door = _door()
        env = _env(config)
        code = _run(config, env if door is None else door.env(env), door)
    finally:
        if not log.stop_in_time():
            # The node has ended: whoever does not read its log must not keep the
            # process, which a supervisor would take for one that runs.
            os._exit(code)
    return code


def _env(config: NodeConfig) -> Env:
    """The real disk, or, for a harness only, one that loses what was not synced."""
    if os.environ.get(HOLD_BACK) != "1":
        return RealEnv()
    if LIFELINE not in os.environ:
        raise SystemExit(f"{HOLD_BACK} is for nodes that a harness started")
    RealEnv().make_directory(config.data_dir)
    logger.warning("writes are held back until they are synced (%s)", HOLD_BACK)
    return HoldBackEnv(config.data_dir)


def _door() -> FaultDoor | None:
    """The way in for a harness, and for nobody else."""
    pipe = os.environ.get(FAULTS)
    if pipe is None:
        return None
    if LIFELINE not in os.environ:
        raise SystemExit(f"{FAULTS} is for nodes that a harness started")
    logger.warning("the disk fails when a harness says so (%s)", FAULTS)
    return FaultDoor(pipe)


def _run(config: NodeConfig, env: Env, door: FaultDoor | None) -> int:
    import uvloop

    gc.set_threshold(*_COLLECTOR_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(config, env, door))
    except (
        IdentityError,
        NotBootstrapped,
        NotUnderstood,
        OSError,
        StorageError,
        ParserMissing,
        TlsError,
        TokenFileError,
    ) as error:
        logger.critical("%s can't start: %s", config.name, error)
        return 1


async def _serve(config: NodeConfig, env: Env, door: FaultDoor | None) -> int:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    _watch_lifeline(loop, told)
    node = Node(config, env)
    await node.start()
    loop.add_signal_handler(signal.SIGHUP, node.credentials.renew)
    if door is not None:
        door.open(node)
    gc.freeze()
    assert node.failed is not None
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait({waiting, node.failed}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if door is not None:
        door.close()
    await node.stop()
    return 1 if node.failed.done() else 0


def _watch_lifeline(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
    """End with whoever started this process: the pipe's other end closes then."""
    text = os.environ.get(LIFELINE)
    if text is None:
        return
    number = int(text)
    os.set_blocking(number, False)

    def readable() -> None:
        try:
            ended = os.read(number, 4096) == b""
        except BlockingIOError:
            return
        if ended:
            loop.remove_reader(number)
            told.set()

    loop.add_reader(number, readable)
