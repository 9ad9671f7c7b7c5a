"""The replicated state machine. See core for its law, layout for where things are."""

from .applied import Applied, StateAt
from .core import Database
from .founding import FIRST_REVISION, begin
from .meta import Meta, decode_meta, encode_meta
from .versions import NotUnderstood, Understood

__all__ = [
    "FIRST_REVISION",
    "Applied",
    "Database",
    "Meta",
    "NotUnderstood",
    "StateAt",
    "Understood",
    "begin",
    "decode_meta",
    "encode_meta",
]
