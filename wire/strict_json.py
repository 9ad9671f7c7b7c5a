"""JSON that somebody sent: decoded exactly, and what is wrong told with its place.

Law: pure. A refusal names the field, and carries no more than a little of what was
sent.
"""

import json
import re
from typing import Final, TypeVar

import msgspec

from .errors import CommandRefused

# Where msgspec says that something is wrong. Names of fields that it does not know, and
# which come from outside, may look like it; so what is taken for a place is short.
_PLACE: Final = re.compile(r" - at `\$([a-z0-9_.\[\]]{1,32})`")
_UNKNOWN: Final = "Object contains unknown field `"

T = TypeVar("T")


def decode_json(
    decoder: "msgspec.json.Decoder[T]",
    data: bytes | msgspec.Raw,
    where: str,
    whole: str,
) -> T:
    """The value, or CommandRefused; `where` is this part's place in the `whole`."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        place, reason = _translated(str(error), where)
    except UnicodeDecodeError:
        place, reason = where, "a text is not UTF-8"
    except RecursionError:
        place, reason = where, "nested too deeply"
    raise CommandRefused(f"{place or whole}: {reason}")


def refuse_repeated(data: bytes, whole: str) -> None:
    """Raise CommandRefused when a field is there twice: nobody can mean both.

    `data` has been decoded exactly: it is as deep and as large as what it may say.
    """

    def fields(pairs: list[tuple[str, object]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise CommandRefused(f"{whole}: the field {name[:32]!a} is repeated")
            names.add(name)

    # Numbers stay text: how long they are was looked at before.
    json.loads(data, object_pairs_hook=fields, parse_int=str, parse_float=str)


def _translated(text: str, where: str) -> tuple[str, str]:
    """What msgspec has to say, without more than a little of what was sent."""
    place = _PLACE.search(text)
    if place is not None:
        where = (where + place[1]).removeprefix(".")
    if text.startswith(_UNKNOWN):
        name = text.removeprefix(_UNKNOWN).partition("`")[0]
        return where, f"unknown field {name[:32]!a}"
    reason = text.partition(" - at `")[0]
    if not reason.startswith("JSON"):
        reason = reason[:1].lower() + reason[1:]
    return where, reason
