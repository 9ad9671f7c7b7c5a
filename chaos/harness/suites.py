"""Runs with a name: what faults, on how many nodes, how often.

Law: data only. A suite is a set of options and no code of its own; whatever else is
given on the command line wins over it. What each is for, docs/testing.md tells.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from .workloads import DEFAULT_MIX


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a run, under a name; see `HarnessOptions` for what they mean."""

    about: str
    faults: tuple[str, ...]
    nodes: int = 3
    rounds: int | None = None
    duration_s: float | None = None
    at_once: int = 1
    writers: int = 32
    rest_s: float = 0.0
    replicas: int = 1
    load: Mapping[str, float] = DEFAULT_MIX
    power_loss: bool = True


SUITES: Final[Mapping[str, Suite]] = MappingProxyType(
    {
        "quick": Suite(
            about="one of everything that matters most, in less than two minutes",
            faults=(
                *("kill-leader", "kill-all", "stop-one", "pause-leader"),
                *("isolate-leader", "bridge", "one-way-out", "flapping"),
                *("slow", "reset", "half-open", "flip", "client-cut"),
            ),
            rounds=13,
            writers=16,
        ),
        "processes": Suite(
            about="kills with power loss, clean stops, pauses, restart storms",
            faults=("kill", "stop", "pause", "storm"),
            rounds=30,
        ),
        "partitions": Suite(
            about="five nodes, and every shape in which links can be cut",
            faults=("partition",),
            nodes=5,
            rounds=33,
        ),
        "links": Suite(
            about="links that are slow, break, vanish or damage what they carry",
            faults=("links", "clients"),
            rounds=24,
        ),
        "disk": Suite(
            about="disks that fail, fill up, are slow, rot; clocks, loops, failpoints",
            faults=("disk", "machine"),
            rounds=26,
            writers=16,
        ),
        "membership": Suite(
            about="members that come, change and go, restarts, backups, another CA",
            faults=("members", "kill-leader", "kill-all", "pause-leader"),
            rounds=24,
            writers=16,
        ),
        "mixed": Suite(
            about="everything, three kinds at a time, on five nodes",
            faults=("all",),
            nodes=5,
            rounds=30,
            at_once=3,
        ),
        "soak": Suite(
            about="everything, two kinds at a time, for an hour",
            faults=("all",),
            nodes=5,
            duration_s=3600.0,
            at_once=2,
            writers=16,
            # What an hour makes has to fit into memory.
            rest_s=0.05,
            load={name: rate / 2 for name, rate in DEFAULT_MIX.items()},
        ),
    }
)
