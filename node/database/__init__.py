"""The replicated state machine. See core for its law, layout for where things are."""

from .core import FIRST_REVISION, Applied, Database, begin
from .meta import Meta, decode_meta, encode_meta

__all__ = [
    "FIRST_REVISION",
    "Applied",
    "Database",
    "Meta",
    "begin",
    "decode_meta",
    "encode_meta",
]
