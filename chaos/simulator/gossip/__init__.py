"""Gossip alone, in simulated time: many members, a bad network, and what must hold.

Law: deterministic under a seed; the real core of node/gossip, no replica. Each world is
one story (worlds), judged while it goes on (checks) and at its end.
"""

from .mutants import GOSSIP_MUTANTS
from .worlds import GOSSIP_WORLDS

__all__ = ("GOSSIP_MUTANTS", "GOSSIP_WORLDS")
