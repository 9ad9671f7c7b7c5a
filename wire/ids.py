"""Ids as text, but in etcd's API: 16 hex digits, of members, tokens and leases alike.

Law: one spelling each.
"""

import re
from typing import Final

PATTERN: Final = r"[0-9a-f]{16}"
_NAME: Final = re.compile(PATTERN)


def id_name(number: int) -> str:
    """An id as it is shown."""
    return f"{number:016x}"


def named_id(text: str) -> int | None:
    """The id that a text says, also 0, which is nobody's; None: it says none."""
    return int(text, 16) if _NAME.fullmatch(text) else None
