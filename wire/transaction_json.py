"""Transactions in JSON: how people and HTTP spell what `Transaction` means.

Law: pure, and only a spelling: what is said twice, left open or unknown is refused with
the name of the field, and nothing is guessed. Limits of keys and values, and that a
branch writes a key once, are judged where all transactions are: by their bytes.

Not among the names of the package: whoever only gets and puts needs none of it.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from .base64_text import decode_base64
from .errors import CommandRefused, ErrorCode
from .fences import Fence, parse_token
from .ids import named_id
from .limits import FORMAT_LIMITS
from .strict_json import decode_json, refuse_repeated
from .transactions import (
    OPERATIONS_MAX,
    OPERATORS,
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnOperation,
    TxnPut,
)

_NUMBER_MAX: Final = 2**64 - 1
# What is named where no part of it is to blame.
_WHOLE: Final = "the transaction"
# How msgspec says where a value is over, counting from 1.
_TRAILING: Final = re.compile(r"trailing characters \(byte ([0-9]+)\)")
# A document that may be looked at as a whole, whatever is in it.
_SMALL_BYTES: Final = 1 << 16
_BLANKS: Final = re.compile(rb"[ \t\r\n]*")
_COMMA, _LIST, _END_OF_LIST, _OBJECT, _END_OF_OBJECT = b",[]{}"

_T = TypeVar("_T")


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # The lists stay raw until their parts are counted: one of the largest size could
    # hold millions, and takes thirty times its bytes once it is one.
    compares: msgspec.Raw | UnsetType = msgspec.field(default=UNSET, name="if")
    then: msgspec.Raw | UnsetType = UNSET
    otherwise: msgspec.Raw | UnsetType = msgspec.field(default=UNSET, name="else")
    fence: msgspec.Raw | UnsetType = UNSET


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str | UnsetType = UNSET
    key64: str | UnsetType = UNSET


class _Condition(_Key, frozen=True, forbid_unknown_fields=True):
    value: str | UnsetType = UNSET
    value64: str | UnsetType = UNSET
    mod_revision: int | UnsetType = UNSET
    create_revision: int | UnsetType = UNSET
    version: int | UnsetType = UNSET
    lease: str | UnsetType = UNSET
    exists: bool | UnsetType = UNSET
    op: str | UnsetType = UNSET


class _Put(_Key, frozen=True, forbid_unknown_fields=True):
    value: str | UnsetType = UNSET
    value64: str | UnsetType = UNSET
    lease: str | UnsetType = UNSET


class _Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    put: _Put | UnsetType = UNSET
    delete: _Key | UnsetType = UNSET
    get: _Key | UnsetType = UNSET


class Spelled(NamedTuple):
    """What a document asks for, and the fences that have to hold first."""

    transaction: Transaction
    fences: tuple[Fence, ...]


_raws: Final = msgspec.json.Decoder(msgspec.Raw)
_documents: Final = msgspec.json.Decoder(_Document)
_conditions: Final = msgspec.json.Decoder(_Condition)
_operations: Final = msgspec.json.Decoder(_Operation)
_lists: Final = msgspec.json.Decoder(list[msgspec.Raw])
_fence_lists: Final = msgspec.json.Decoder(str | list[msgspec.Raw])
_tokens: Final = msgspec.json.Decoder(str)


def parse_transaction(data: bytes) -> Spelled:
    """What a JSON document spells, or CommandRefused."""
    document = _decode(_documents, data, "")
    if len(data) > _SMALL_BYTES:
        # Of a field that is there twice only the last is counted; so in the end, when
        # all is looked at, the other one must not be there.
        _refuse_repeated_lists(data)
    if document.then is UNSET and document.otherwise is UNSET:
        raise _refused("", "it needs `then` or `else`")
    transaction = Transaction(
        tuple(
            [_compare(part, where) for part, where in _counted("if", document.compares)]
        ),
        _branch("then", document.then),
        _branch("else", document.otherwise),
    )
    fences = _fences(document.fence)
    refuse_repeated(data, _WHOLE)
    return Spelled(transaction, fences)


def _fences(raw: msgspec.Raw | UnsetType) -> tuple[Fence, ...]:
    if isinstance(raw, UnsetType):
        return ()
    _refuse_many("fence", raw)
    said = _decode(_fence_lists, raw, "fence")
    if isinstance(said, str):
        return (_fence(said, "fence"),)
    if not said:
        # Whoever means to have a fence must not write without one.
        raise _refused("fence", "no token is in the list")
    return tuple(
        [
            _fence(_decode(_tokens, part, where), where)
            for part, where in _named("fence", said)
        ]
    )


def _fence(token: str, where: str) -> Fence:
    try:
        return parse_token(token, FORMAT_LIMITS)
    except CommandRefused as error:
        raise _refused(where, error.reason, error.code) from None


def _branch(name: str, raw: msgspec.Raw | UnsetType) -> tuple[TxnOperation, ...]:
    return tuple([_operation(part, where) for part, where in _counted(name, raw)])


def _counted(name: str, raw: msgspec.Raw | UnsetType) -> list[tuple[msgspec.Raw, str]]:
    """Each part of a list and what to call it."""
    if isinstance(raw, UnsetType):
        return []
    _refuse_many(name, raw)
    return _named(name, _decode(_lists, raw, name))


def _named(name: str, parts: list[msgspec.Raw]) -> list[tuple[msgspec.Raw, str]]:
    return [(part, f"{name}[{number}]") for number, part in enumerate(parts)]


def _refuse_many(name: str, raw: msgspec.Raw) -> None:
    try:
        many = has_more_parts(raw, OPERATIONS_MAX)
    except RecursionError:
        raise _refused(name, "nested too deep") from None
    if many:
        reason = f"more than {OPERATIONS_MAX} parts"
        raise _refused(name, reason, ErrorCode.REQUEST_TOO_LARGE)


def _compare(part: msgspec.Raw, where: str) -> Compare:
    said = _decode(_conditions, part, where)
    key = _key(said, where)
    found: list[tuple[Target, int | bytes]] = []
    value = _bytes("value", said.value, said.value64, where)
    if value is not None:
        found.append((Target.VALUE, value))
    for name, target, number in (
        ("mod_revision", Target.MOD_REVISION, said.mod_revision),
        ("create_revision", Target.CREATE_REVISION, said.create_revision),
        ("version", Target.VERSION, said.version),
    ):
        if isinstance(number, UnsetType):
            continue
        if not 0 <= number <= _NUMBER_MAX:
            reason = f"not a number from 0 to {_NUMBER_MAX}"
            raise _refused(f"{where}.{name}", reason)
        found.append((target, number))
    if said.lease is not UNSET:
        # All zeros: on none.
        found.append((Target.LEASE, _lease(said.lease, where)))
    if len(found) + (said.exists is not UNSET) != 1:
        raise _refused(
            where,
            "one of `value`, `value64`, `mod_revision`, `create_revision`, `version`,"
            " `lease` and `exists` has to be there",
        )
    if isinstance(said.exists, bool):
        if said.op is not UNSET:
            raise _refused(f"{where}.op", "it does not go with `exists`")
        # An absent key has version 0.
        relation = Relation.GREATER if said.exists else Relation.EQUAL
        return Compare(key, Target.VERSION, relation, 0)
    operator = "==" if isinstance(said.op, UnsetType) else said.op
    if operator not in OPERATORS:
        raise _refused(f"{where}.op", f"not one of {' '.join(OPERATORS)}")
    ((target, operand),) = found
    return Compare(key, target, OPERATORS[operator], operand)


def _operation(part: msgspec.Raw, where: str) -> TxnOperation:
    match _decode(_operations, part, where):
        case _Operation(put=_Put() as put, delete=UnsetType(), get=UnsetType()):
            where += ".put"
            key = _key(put, where)
            value = _bytes("value", put.value, put.value64, where)
            if value is None:
                raise _refused(where, "`value` or `value64` has to be there")
            lease = _lease(put.lease, where)
            if put.lease is not UNSET and not lease:
                raise _refused(f"{where}.lease", "all zeros are no lease")
            return TxnPut(key, value, lease)
        case _Operation(put=UnsetType(), delete=_Key() as delete, get=UnsetType()):
            return TxnDelete(_key(delete, f"{where}.delete"))
        case _Operation(put=UnsetType(), delete=UnsetType(), get=_Key() as get):
            return TxnGet(_key(get, f"{where}.get"))
        case _:
            raise _refused(where, "one of `put`, `delete` and `get` has to be there")


def _key(said: _Key, where: str) -> bytes:
    key = _bytes("key", said.key, said.key64, where)
    if key is None:
        raise _refused(where, "`key` or `key64` has to be there")
    if not key:
        raise _refused(where, "the key is empty")
    return key


def _lease(text: str | UnsetType, where: str) -> int:
    """The id that 16 hex digits name; 0 when nothing is there."""
    if isinstance(text, UnsetType):
        return 0
    lease = named_id(text)
    if lease is None:
        raise _refused(f"{where}.lease", "not 16 hex digits")
    return lease


def _bytes(
    name: str, text: str | UnsetType, text64: str | UnsetType, where: str
) -> bytes | None:
    """The bytes that stand there as text or in base64; None when neither does."""
    if isinstance(text64, UnsetType):
        return None if isinstance(text, UnsetType) else text.encode()
    if text is not UNSET:
        raise _refused(where, f"`{name}` and `{name}64` are the same thing twice")
    data = decode_base64(text64.encode())
    if data is None:
        raise _refused(f"{where}.{name}64", "not base64")
    return data


# -- pieces of JSON, told apart without being decoded ----------------------------------


def piece_end(data: memoryview, start: int) -> int:
    """Where the JSON value that begins at `start`, and the blanks behind it, end.

    Nothing is copied. Raises msgspec.DecodeError, and RecursionError.
    """
    try:
        _raws.decode(data[start:])
    except msgspec.DecodeError as error:
        trailing = _TRAILING.search(str(error))
        if trailing is None:
            raise
        return start + int(trailing[1]) - 1
    return len(data)


def has_more_parts(raw: msgspec.Raw, most: int) -> bool:
    """Is it a list of more than `most`? One part more is all that is looked at."""
    if bytes(raw).count(b",") < most:
        return False
    data = memoryview(raw)
    at = _first(data, _LIST)
    count = 0
    while at and data[at] != _END_OF_LIST:
        count += 1
        if count > most:
            return True
        at = piece_end(data, at)
        at += data[at] == _COMMA
    return False


def _refuse_repeated_lists(data: bytes) -> None:
    """Refuse a field that is there twice, before the lists in it are looked at."""
    names: set[str] = set()
    for name in _field_names(memoryview(data)):
        if name in names:
            raise _refused("", f"the field {name[:32]!a} is repeated")
        names.add(name)


def _field_names(data: memoryview) -> Iterator[str]:
    """The names in an object that was found well-formed, one after the other."""
    at = _first(data, _OBJECT)
    while data[at] != _END_OF_OBJECT:
        colon = piece_end(data, at)
        yield _tokens.decode(data[at:colon])
        at = piece_end(data, colon + 1)
        at += data[at] == _COMMA
        at = _blanks_end(data, at)


def _first(data: memoryview, opening: int) -> int:
    """Where the first thing in a list or object is; 0: it is something else."""
    at = _blanks_end(data, 0)
    return _blanks_end(data, at + 1) if data[at] == opening else 0


def _blanks_end(data: memoryview, start: int) -> int:
    match = _BLANKS.match(data, start)
    assert match is not None, "none are blanks, too"
    return match.end()


# -- what is wrong, and where ----------------------------------------------------------


def _decode(
    decoder: "msgspec.json.Decoder[_T]", data: bytes | msgspec.Raw, where: str
) -> _T:
    return decode_json(decoder, data, where, _WHOLE)


def _refused(
    where: str, reason: str, code: ErrorCode = ErrorCode.INVALID_REQUEST
) -> CommandRefused:
    return CommandRefused(f"{where or _WHOLE}: {reason}", code)
