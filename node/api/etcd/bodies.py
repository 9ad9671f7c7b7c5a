"""From JSON to values, as proto3 has it: the one place that knows the spellings.

Law: what etcd's gateway takes is taken, and what it refuses is refused with its words
where these are worth it: both spellings of a name, numbers as numbers or as text, null
for what is not there, unknown names ignored, an empty body for an empty document. The
limits come first: nothing is decoded that was not counted.
"""

import binascii
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Generic, TypeVar

import msgspec

from ....wire.transaction_json import has_more_parts, piece_end
from .errors import EtcdProblem, invalid_argument

INT64_MAX: Final = 2**63 - 1
_INT64_MIN: Final = -(2**63)
_UINT64: Final = 2**64

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_GOT: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_TRAILING: Final = re.compile(r"trailing characters \(byte ([0-9]+)\)")
_BYTE: Final = re.compile(r"\(byte ([0-9]+)\)")
_KINDS: Final = {"int": "number", "float": "number", "str": "string"}
# What msgspec says, and how Go ends the same sentence.
_MALFORMED: Final = {
    "object keys must be strings": "looking for beginning of object key string",
    "trailing comma in object": "looking for beginning of object key string",
    "trailing comma in array": "looking for beginning of value",
    "expected ':'": "after object key",
    "expected ',' or '}'": "after object key:value pair",
    "expected ',' or ']'": "after array element",
    "invalid character": "looking for beginning of value",
}
_BLANK: Final = b" \t\r\n"
_NO_UTF8: Final = "a text is not UTF-8"

T = TypeVar("T", bound=msgspec.Struct)
E = TypeVar("E", bound=IntEnum)
V = TypeVar("V")

Number = int | str | None
Text = str | None


class Body(Generic[T]):
    """A kind of document. Its fields are named in snake case; None is not there."""

    def __init__(self, kind: type[T]) -> None:
        self._empty: T = kind()
        self._plain: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
        fields = msgspec.structs.fields(kind)
        self._other_names: list[tuple[str, bytes]] = []
        for field in fields:
            name = _camel(field.name)
            if name != field.encode_name:
                self._other_names.append((field.name, name.encode()))
        other = msgspec.defstruct(
            f"Camel{kind.__name__}",
            [(field.name, field.type, field.default) for field in fields],
            rename=_camel,
        )
        self._camel: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(other)

    def parse(self, data: bytes | msgspec.Raw) -> T:
        """The document in `data`; what comes behind it is ignored, as etcd does."""
        found = self.parse_first(bytes(data))
        return self._empty if found is None else found

    def parse_first(self, data: bytes) -> T | None:
        """The first document in `data`; None if there is none."""
        try:
            return self._parse(data)
        except msgspec.DecodeError as error:
            trailing = _TRAILING.search(str(error))
            if trailing is not None:
                # Once more, for whatever is wrong before that.
                return self.parse_first(data[: int(trailing[1]) - 1])
            if not data.strip(_BLANK):
                return None
            if data.strip(_BLANK) == b"null":
                return self._empty
            raise _refused(error, data) from None
        except UnicodeDecodeError:
            raise invalid_argument(_NO_UTF8) from None
        except RecursionError:
            raise invalid_argument("exceeded max depth") from None

    def _parse(self, data: bytes) -> T:
        found = self._plain.decode(data)
        if any(name in data for _, name in self._other_names):
            other = self._camel.decode(data)
            for name, _ in self._other_names:
                value = getattr(other, name)
                if is_there(value):
                    # Of two that are both there, etcd takes this one.
                    setattr(found, name, value)
        return found


def documents(data: bytes) -> Iterator[bytes]:
    """The documents that stand in `data`, one after the other, each as it is asked for.

    What is no JSON comes as it is, with all that follows.
    """
    view, start = memoryview(data), 0
    while start < len(data):
        try:
            end = piece_end(view, start)
        except (msgspec.DecodeError, RecursionError):
            end = len(data)
        yield data[start:end]
        start = end


def listed(
    decoder: "msgspec.json.Decoder[list[V]]", raw: msgspec.Raw, most: int
) -> list[V] | None:
    """The parts of a list that may not be there; None: there are more than `most`."""
    if not is_there(raw):
        return []
    if has_more_parts(raw, most):
        return None
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise _refused(error, bytes(raw)) from None
    except UnicodeDecodeError:
        raise invalid_argument(_NO_UTF8) from None


def is_there(value: object) -> bool:
    """Was this field given, and with something?"""
    if isinstance(value, msgspec.Raw):
        return bytes(value) not in (b"", b"null")
    return value is not None


def int64(value: Number) -> int:
    """A number, wherever it stood; 0 when it did not."""
    if value is None:
        return 0
    if isinstance(value, str):
        if _INTEGER.fullmatch(value) is None:
            raise _no_number(value)
        value = int(value)
    if not _INT64_MIN <= value <= INT64_MAX:
        raise _out_of_range(str(value))
    return value


def uint64(value: Number) -> int:
    """The same without a sign: the id of a member."""
    if value is None:
        return 0
    if isinstance(value, str):
        if _INTEGER.fullmatch(value) is None:
            raise _no_number(value, "uint64")
        value = int(value)
    if not 0 <= value < _UINT64:
        raise _out_of_range(str(value), "uint64")
    return value


def unsigned(value: int) -> int:
    """An int64 as the bits that it stands for: ids of leases have no sign here."""
    return value % _UINT64


def signed(value: int) -> int:
    """The other way round."""
    return value - _UINT64 if value > INT64_MAX else value


def octets(value: Text) -> bytes:
    """The bytes of a field in base64; b"" when it was not there.

    Standard and URL-safe, padded or not: etcd takes all of them from 3.6 on.
    """
    if not value:
        return b""
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        pass
    plain = value.replace("-", "+").replace("_", "/")
    plain = plain.replace("\r", "").replace("\n", "").rstrip("=")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError:
        raise _no_base64(value) from None


def choice(kind: type[E], name: str, value: Number) -> E:
    """One of an enum, by name or number; the one with 0 when it was not there."""
    if isinstance(value, str):
        try:
            return kind[value]
        except KeyError:
            shown = f'"\\"{value[:32]}\\""'
            raise invalid_argument(f"unknown value {shown} for enum {name}") from None
    number = int64(value)
    try:
        return kind(number)
    except ValueError:
        # Here etcd goes on with something: a sort that is none, a comparison that
        # always holds.
        raise invalid_argument(f"unknown value {number} for enum {name}") from None


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join([other.capitalize() for other in others])


# -- what is wrong ---------------------------------------------------------------------


def _refused(error: msgspec.DecodeError, data: bytes) -> EtcdProblem:
    text = str(error)
    got = _GOT.search(text)
    if got is not None:
        kind = _KINDS.get(got[2], got[2])
        return invalid_argument(
            f"json: cannot unmarshal {kind} into Go value of type {_go_type(got[1])}"
        )
    if "truncated" in text:
        return invalid_argument("unexpected EOF")
    place = _BYTE.search(text)
    for ours, theirs in _MALFORMED.items():
        if place is not None and f": {ours}" in text:
            at = int(place[1])
            if "trailing comma" in ours:
                at += len(data[at:]) - len(data[at:].lstrip(_BLANK + b","))
            character = data[at : at + 1].decode("latin-1")
            if not character.isprintable():
                break
            shown = {"'": "\\'"}.get(character, character)
            return invalid_argument(f"invalid character '{shown}' {theirs}")
    return invalid_argument(text)


def _go_type(expected: str) -> str:
    if expected.startswith("int"):
        return "int64"
    if expected.startswith("bool"):
        return "bool"
    if expected.startswith("array"):
        return "[]json.RawMessage"
    return "[]uint8" if expected.startswith("str") else "map[string]json.RawMessage"


def _no_number(text: str, kind: str = "int64") -> EtcdProblem:
    if not text:
        return invalid_argument("unexpected end of JSON input")
    if text[0] in "-0123456789":
        return _out_of_range(text, kind)
    return invalid_argument(
        f"invalid character {text[0]!a} looking for beginning of value"
    )


def _out_of_range(text: str, kind: str = "int64") -> EtcdProblem:
    return invalid_argument(
        f"json: cannot unmarshal number {text[:24]} into Go value of type {kind}"
    )


def _no_base64(text: str) -> EtcdProblem:
    wrong = re.search(r"[^A-Za-z0-9+/\r\n]", text)
    at = len(text) // 4 * 4 if wrong is None else wrong.start()
    return invalid_argument(f"illegal base64 data at input byte {at}")
