"""What clients do beside plain reads and writes, each kind with a verdict of its own.

Law: a workload has its own keys, paces itself, notes every operation before its first
byte leaves and after its last has come, and is judged by a checker of chaos/histories
that knows nothing of how it works.
"""

from .mix import DEFAULT_MIX, WORKLOADS, Loads, Mix, format_mix, parse_mix
from .shared import Shared

__all__ = [
    "DEFAULT_MIX",
    "WORKLOADS",
    "Loads",
    "Mix",
    "Shared",
    "format_mix",
    "parse_mix",
]
