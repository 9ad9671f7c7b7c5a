"""Clusters that are written to and left alone: worlds with a name begin with one.

Law: small worlds, so that every voter keeps all its log in few files.
"""

from collections.abc import Iterator
from typing import Final

from .run import Cluster, RunOptions
from .world import SECOND

_CALM: Final = RunOptions(only=frozenset(), members=False)
_BUSY_US: Final = 3 * SECOND
_SEEDS_TRIED_MAX: Final = 1000


def calm_clusters(seed: int) -> Iterator[Cluster]:
    """Those of a thousand seeds, others for each `seed`, that have several voters."""
    first = seed * _SEEDS_TRIED_MAX
    for tried in range(first, first + _SEEDS_TRIED_MAX):
        cluster = Cluster(tried, _CALM)
        if cluster.shape.voters == 1:
            continue
        cluster.start()
        cluster.world.run_until(_BUSY_US)
        yield cluster
