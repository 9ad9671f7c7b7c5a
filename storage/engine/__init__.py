"""The LSM engine: an ordered map of bytes, flushed and compacted into tables.

`Engine` is the store (core has its law); `EngineOptions` are its sizes; `View` is one
moment of it; `Worker` is a process that flushes and compacts for it.
"""

from .core import Engine
from .manifest import Manifest, TableMeta
from .options import EngineOptions
from .transfer import Incoming, Pinned
from .view import View
from .worker import Worker

__all__ = [
    "Engine",
    "EngineOptions",
    "Incoming",
    "Manifest",
    "Pinned",
    "TableMeta",
    "View",
    "Worker",
]
