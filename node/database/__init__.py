"""The replicated state machine. See core for its law."""

from .checkpoint import (
    CheckpointReader,
    DamagedCheckpoint,
    Header,
    header_of,
    write_checkpoint,
)
from .core import Applied, Database, Meta
from .store import MemoryStore, Store, View

__all__ = [
    "Applied",
    "CheckpointReader",
    "DamagedCheckpoint",
    "Database",
    "Header",
    "MemoryStore",
    "Meta",
    "Store",
    "View",
    "header_of",
    "write_checkpoint",
]
