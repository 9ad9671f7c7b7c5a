"""Real processes under load and faults, and what must be true of them afterwards.

Law: the nodes are ordinary nodes, reached in ways that users have too: their processes,
their client ports. What judges (ledger, schedule, verdict) is pure; what acts is thin.
"""

from .faults import FAULTS, Fault, Kind, Round, draw_rounds, usable
from .ledger import Attempt, Found, Ledger
from .options import HarnessOptions
from .run import Harness, Moment, Started, run_harness
from .suites import SUITES, Suite
from .verdict import (
    FaultCount,
    FaultResult,
    Summary,
    Verdict,
    Violation,
    WorkloadCount,
    quantile,
)
from .workloads import DEFAULT_MIX, WORKLOADS, Mix, parse_mix

__all__ = [
    "DEFAULT_MIX",
    "FAULTS",
    "SUITES",
    "WORKLOADS",
    "Attempt",
    "Fault",
    "FaultCount",
    "FaultResult",
    "Found",
    "Harness",
    "HarnessOptions",
    "Kind",
    "Ledger",
    "Mix",
    "Moment",
    "Round",
    "Started",
    "Suite",
    "Summary",
    "Verdict",
    "Violation",
    "WorkloadCount",
    "draw_rounds",
    "parse_mix",
    "quantile",
    "run_harness",
    "usable",
]
