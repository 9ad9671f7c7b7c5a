"""A load generator: operations in a closed or an open loop, and how long they took.

Law: a client like any other, of `client` alone; no node knows that it is measured. What
decides (histogram, distributions, mixes, schedule, report) is pure; the clock of what
acts is handed in.
"""

from .clock import Clock, RealClock, new_loop
from .distributions import DISTRIBUTIONS, Distribution
from .errors import LoadError, PhaseFailed, WorkerLost
from .generator import Generator, Progress
from .histogram import Histogram
from .mixes import KINDS, WORKLOADS, Kind, Mix
from .options import IN_FLIGHT_CLOSED, IN_FLIGHT_OPEN, LoadOptions, Target
from .report import OVERLOAD, Report, Tally
from .run import BulkMoment, Moment, Result, RunMoment, run_load
from .schedule import ARRIVALS, Arrivals
from .worker import ChildWorker, Worker, start_children

__all__ = [
    "ARRIVALS",
    "DISTRIBUTIONS",
    "IN_FLIGHT_CLOSED",
    "IN_FLIGHT_OPEN",
    "KINDS",
    "OVERLOAD",
    "WORKLOADS",
    "Arrivals",
    "BulkMoment",
    "ChildWorker",
    "Clock",
    "Distribution",
    "Generator",
    "Histogram",
    "Kind",
    "LoadError",
    "LoadOptions",
    "Mix",
    "Moment",
    "PhaseFailed",
    "Progress",
    "RealClock",
    "Report",
    "Result",
    "RunMoment",
    "Tally",
    "Target",
    "Worker",
    "WorkerLost",
    "new_loop",
    "run_load",
    "start_children",
]
