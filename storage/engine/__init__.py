"""The LSM engine: an ordered map of bytes, flushed and compacted into tables.

`Engine` is the store (core has its law); `EngineOptions` are its sizes; `View` is one
moment of it; `Worker` is a process that flushes and compacts for it; `Droppable` says
what the owner needs no more. A key's record is `VALUE` and its value, or `TOMBSTONE`.
"""

from .compression import Codec
from .core import Engine
from .manifest import Manifest, TableMeta
from .merge import Droppable
from .options import EngineOptions
from .table_format import TOMBSTONE, VALUE
from .transfer import Incoming, Pinned
from .view import View
from .worker import Worker

__all__ = [
    "TOMBSTONE",
    "VALUE",
    "Codec",
    "Droppable",
    "Engine",
    "EngineOptions",
    "Incoming",
    "Manifest",
    "Pinned",
    "TableMeta",
    "View",
    "Worker",
]
