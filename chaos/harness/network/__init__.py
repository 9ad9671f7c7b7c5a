"""The network between the processes of a run: every link through a relay of ours.

Law: relays live in one child process, so that what they delay is not delayed by the
load as well; it ends when its standard input closes. What a link does is a `Rule` for
each direction of bytes; rules are values, and only the child acts on them. Nobody needs
privileges, and no node knows that it is not dialling its peer.
"""

from .network import CLIENTS, Network, touched
from .rules import PASS, Rule, Way, merge_tables
from .worker import Told

__all__ = [
    "CLIENTS",
    "PASS",
    "Network",
    "Rule",
    "Told",
    "Way",
    "merge_tables",
    "touched",
]
