"""Loads and checks against a running cluster of somebody's own.

Law: nothing is hurt but by commands that the user wrote down; keys are below a prefix
of the run's own and go in the end. What judges is what judges `chaos run`.
"""

from .faults import FaultFile, NamedFault, Planned, draw_plan, load_faults
from .options import AttachOptions
from .run import run_attached

__all__ = [
    "AttachOptions",
    "FaultFile",
    "NamedFault",
    "Planned",
    "draw_plan",
    "load_faults",
    "run_attached",
]
