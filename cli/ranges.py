"""Which keys a command means: one, or a range of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from .settings import to_bytes

F = TypeVar("F", bound=Callable[..., Any])


class Keys(NamedTuple):
    """`key` alone, or a range that begins there."""

    key: bytes
    prefix: bool
    from_key: bool
    end: bytes | None

    @property
    def single(self) -> bool:
        """Is one key meant?"""
        return not (self.prefix or self.from_key or self.end is not None)

    @property
    def none(self) -> bool:
        """Does the range end where it begins, or before?

        To the server an empty end would mean "no end", and a lower one is an error.
        """
        return self.end is not None and self.end <= self.key


def range_options(command: F) -> F:
    """KEY may be a range: the options that say so, as `keys_of` takes them."""
    for option in (
        click.option(
            "--range-end", metavar="END", help="All keys from KEY to before END."
        ),
        click.option("--from-key", is_flag=True, help="All keys from KEY on."),
        click.option("--prefix", is_flag=True, help="All keys that begin with KEY."),
    ):
        command = option(command)
    return command


def keys_of(key: str, prefix: bool, from_key: bool, range_end: str | None) -> Keys:
    """What was given. Raises UsageError."""
    if sum([prefix, from_key, range_end is not None]) > 1:
        raise click.UsageError("give one of --prefix, --from-key and --range-end")
    end = None if range_end is None else to_bytes(range_end)
    return Keys(to_bytes(key), prefix, from_key, end)
