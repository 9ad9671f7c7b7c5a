"""quorate: a peer-to-peer replicated key-value store.

The repository's root is this package. Public names load on first use (PEP 562), so
that `import quorate` and the command line start quickly.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.client import AsyncClient, Client, Event, KeyValue, Txn

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Event", "KeyValue", "Txn", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("AsyncClient", "Client", "Event", "KeyValue", "Txn"):
        import importlib

        return getattr(importlib.import_module("quorate.client"), name)
    raise AttributeError(f"module 'quorate' has no attribute {name!r}")
