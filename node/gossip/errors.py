"""The errors of gossip.

GossipError      what came is not gossip of this cluster: its connection ends
"""


class GossipError(Exception):
    """Garbage, another cluster, or a message in another member's name."""
