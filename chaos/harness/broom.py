"""What a load leaves in a cluster that goes on: its keys, which are taken away again.

Law: nothing but keys below the prefix is touched, and these were this run's alone.
"""

from typing import Final

from ...client import AsyncClient, Txn

DELETED_AT_ONCE: Final = 100
SWEEP_SECONDS_MAX: Final = 30.0
SWEEPS_MAX: Final = 5


async def sweep(client: AsyncClient, prefix: str) -> None:
    """Delete all keys below `prefix`. Raises QuorateError."""
    # Writes that were given up may come after the first look.
    for _ in range(SWEEPS_MAX):
        if not await _sweep_once(client, prefix):
            return


async def _sweep_once(client: AsyncClient, prefix: str) -> int:
    """How many there were."""
    pager = client.range(prefix, keys_only=True, timeout=SWEEP_SECONDS_MAX)
    keys = [entry.key async for entry in pager]
    for first in range(0, len(keys), DELETED_AT_ONCE):
        txn = Txn()
        for key in keys[first : first + DELETED_AT_ONCE]:
            txn.delete(key)
        await client.commit(txn, timeout=SWEEP_SECONDS_MAX)
    return len(keys)
