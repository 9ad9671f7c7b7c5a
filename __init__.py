"""quorate: a peer-to-peer replicated key-value store.

The repository's root is this package. Public names load on first use (PEP 562), so
that `import quorate` and the command line start quickly.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.client import AsyncClient, Client, Event, KeyValue, Pipeline, Txn

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Client",
    "Event",
    "KeyValue",
    "Pipeline",
    "Txn",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name != "__version__" and name in __all__:
        import importlib

        return getattr(importlib.import_module("quorate.client"), name)
    raise AttributeError(f"module 'quorate' has no attribute {name!r}")
