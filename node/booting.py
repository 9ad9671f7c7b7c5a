"""A boot: counted before anybody hears of it, and not when it came to nothing.

Law: a shell. What a peer may have heard of stays counted, whatever it costs.
"""

import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .identity import Identity, begin_boot, open_identity, take_back_boot

if TYPE_CHECKING:
    from .node import Node

logger = logging.getLogger("quorate.node")


@asynccontextmanager
async def boot(node: "Node") -> AsyncGenerator[None]:
    """Count a boot, and let it not have been when what follows fails unheard."""
    env, config = node.env, node.config
    before = open_identity(env, config, node.credentials.shown.identity)
    nonce = random.SystemRandom().getrandbits(64) or 1
    node.identity = begin_boot(env, config.data_dir, nonce)
    try:
        yield
    except BaseException:
        await _take_back(node, before)
        raise


async def _take_back(node: "Node", before: Identity) -> None:
    """Let the boot not count that followed `before`, unless somebody heard of it."""
    if hasattr(node, "transport"):
        # From here on it introduces itself to nobody.
        await node.transport.close()
    if node.introduced:
        return
    try:
        take_back_boot(node.env, node.config.data_dir, before)
    except OSError as error:
        logger.warning("boot %d stays counted: %s", node.identity.boot_count, error)
