"""Half-open ranges of keys: an empty end is no bound."""


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that start with `prefix`, b"" when there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b""
