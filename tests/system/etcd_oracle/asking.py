"""Random requests of etcd's JSON gateway, in sequences that Hypothesis can shrink.

Law: pure. Values are plain (bytes, numbers, names of enums); how they are written, as
camel case or snake case, numbers or text, is drawn with them and is no part of what is
asked. A revision is said from where the store is, and becomes a number when it is sent.

Nothing is drawn that one of the two refuses and the other does, since they would not
have the same state any more: transactions that are deeper or larger than ours may be,
numbers that an enum does not have in a transaction. Nor what is of chance, or of time:
leases whose id the server chooses, or that end by themselves.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from hypothesis import strategies as st

Body: TypeAlias = dict[str, Any]
Strategy: TypeAlias = st.SearchStrategy[Any]


class At(NamedTuple):
    """A revision, as far from where the store is or was compacted."""

    anchor: Literal["now", "compacted"]
    offset: int


class Call(NamedTuple):
    """One request with one answer, or a stream that ends with the body."""

    path: str
    body: Body
    style: int = 0


class Watch(NamedTuple):
    """A stream of watches, and what is done while it is open."""

    creates: list[Body]
    during: list[Call]
    style: int = 0


Step: TypeAlias = Call | Watch

# No more keys than a sort keeps in order where they are alike: etcd sorts them as Go
# does, whose order of equal ones is fixed only up to six.
KEYS = (b"a", b"a\0", b"ab", b"b", b"\0", b"\xff\xff")
VALUES = (b"", b"x", b"y", b"x" * 40, b"\x00\xff")
LEASES = (71, 72, 2**63 - 1, -7)
# Nobody grants this one.
NO_LEASE = 999
# No number of a `sort_order`.
NO_ORDER = 7
ENUMS: Mapping[str, tuple[str, ...]] = {
    "sort_order": ("NONE", "ASCEND", "DESCEND"),
    "sort_target": ("KEY", "VERSION", "CREATE", "MOD", "VALUE"),
    "target": ("VERSION", "CREATE", "MOD", "VALUE", "LEASE"),
    "result": ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"),
    "filters": ("NOPUT", "NODELETE"),
}
# Whose lock it is, and who leads: one lease each, so that nobody ever waits.
LOCKS = {b"l": 71, b"m": -7}
ELECTIONS = {b"e": 72, b"": 2**63 - 1}
OPERANDS = {
    "VERSION": "version",
    "CREATE": "create_revision",
    "MOD": "mod_revision",
    "VALUE": "value",
    "LEASE": "lease",
}

# -- how it is written -----------------------------------------------------------------

_CAMEL, _TEXT, _NUMBERED, _NOISY = 1, 2, 4, 8
STYLES = st.integers(0, _CAMEL | _TEXT | _NUMBERED | _NOISY)
# What says nothing: names that no message has, and fields that are null.
_NOISE: Body = {"unknown": {"key": [1.5, None, "\u00f6", {}]}, "": 7, "KEY": "!"}
_NULLS = ("lease", "limit", "prev_kv", "range_end", "sort_order", "compare", "filters")


def resolved(value: Any, revisions: Mapping[str, int]) -> Any:
    """With numbers for revisions."""
    if isinstance(value, At):
        return revisions[value.anchor] + value.offset
    if isinstance(value, dict):
        body = cast(Body, value)
        return {name: resolved(each, revisions) for name, each in body.items()}
    if isinstance(value, list):
        return [resolved(each, revisions) for each in cast("list[Any]", value)]
    return value


def written(body: Body, style: int) -> str:
    """The document as it is sent."""
    return json.dumps(_plain("", body, style))


def _plain(name: str, value: Any, style: int) -> Any:
    if isinstance(value, dict):
        body = cast(Body, value)
        said = {_named(n, style): _plain(n, v, style) for n, v in body.items()}
        return _noisy(said, style) if style & _NOISY else said
    if isinstance(value, list):
        return [_plain(name, each, style) for each in cast("list[Any]", value)]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str) and style & _NUMBERED:
        return ENUMS[name].index(value)
    if isinstance(value, int) and not isinstance(value, bool) and style & _TEXT:
        return value if name in ENUMS else str(value)
    return value


def _noisy(said: Body, style: int) -> Body:
    nulls = {_named(name, style): None for name in _NULLS}
    return {**_NOISE, **nulls, **said}


def _named(name: str, style: int) -> str:
    if not style & _CAMEL:
        return name
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


# -- what is asked ---------------------------------------------------------------------


@st.composite
def message(
    draw: st.DrawFn, always: dict[str, Strategy], sometimes: dict[str, Strategy]
) -> Body:
    """One in four of what is only sometimes there."""
    body = {name: draw(strategy) for name, strategy in always.items()}
    for name, strategy in sometimes.items():
        if draw(st.integers(0, 3)) == 3:
            body[name] = draw(strategy)
    return body


def enum(name: str) -> Strategy:
    return st.sampled_from(ENUMS[name])


def mostly(usual: Strategy, other: Strategy) -> Strategy:
    """The other one in eight times."""
    return st.integers(0, 7).flatmap(lambda n: other if n == 7 else usual)


KEY = mostly(st.sampled_from(KEYS), st.sampled_from([b"", b"c"]))
END = st.sampled_from([b"\0", b"b", b"a", b"b\0", b"\xff\xff\0", b"", b"a\1", b"c"])
VALUE = st.sampled_from(VALUES)
LEASE = mostly(st.sampled_from(LEASES), st.sampled_from([0, NO_LEASE, -1]))
YES = st.booleans()
NOW = st.builds(At, st.just("now"), st.integers(-8, 3))
COMPACTED = st.builds(At, st.just("compacted"), st.integers(-2, 2))
PAST = st.builds(At, st.just("now"), st.integers(-6, 0))
REVISION = mostly(NOW, st.one_of(COMPACTED, st.sampled_from([0, -5, 1, 2**62])))
SMALL = st.integers(-1, 3)


def ranges(order: Strategy) -> Strategy:
    return message(
        {"key": KEY},
        {
            "range_end": END,
            "limit": st.sampled_from([1, 2, 3, 0, -1, 7, 2**40]),
            "revision": REVISION,
            "sort_order": order,
            "sort_target": enum("sort_target"),
            "serializable": YES,
            "keys_only": YES,
            "count_only": YES,
            "min_mod_revision": REVISION,
            "max_mod_revision": REVISION,
            "min_create_revision": REVISION,
            "max_create_revision": REVISION,
        },
    )


def listings() -> Strategy:
    """Ranges of more than a key, at revisions that are there."""
    return message(
        {"key": st.just(b"\0"), "range_end": END},
        {
            "limit": st.integers(1, 4),
            "revision": PAST,
            "sort_order": enum("sort_order"),
            "sort_target": enum("sort_target"),
            "keys_only": YES,
            "min_mod_revision": PAST,
            "max_mod_revision": PAST,
            "min_create_revision": PAST,
            "max_create_revision": PAST,
        },
    )


def puts() -> Strategy:
    return st.one_of(
        message({"key": KEY, "value": VALUE}, {"prev_kv": YES}),
        message({"key": KEY, "value": VALUE, "lease": LEASE}, {"prev_kv": YES}),
        message({"key": KEY, "ignore_value": YES}, {"lease": LEASE, "prev_kv": YES}),
        message({"key": KEY, "value": VALUE, "ignore_lease": YES}, {"prev_kv": YES}),
        message(
            {"key": KEY},
            {"value": VALUE, "lease": LEASE, "ignore_value": YES, "ignore_lease": YES},
        ),
    )


def deletions() -> Strategy:
    return message({"key": KEY}, {"range_end": END, "prev_kv": YES})


@st.composite
def comparisons(draw: st.DrawFn) -> Body:
    """With what it compares, or now and then something else, or nothing."""
    target = draw(enum("target"))
    body = draw(message({"key": KEY, "target": st.just(target)}, {"range_end": END}))
    if draw(st.integers(0, 3)):
        body["result"] = draw(enum("result"))
    operands = {
        "version": SMALL,
        "create_revision": st.one_of(NOW, SMALL),
        "mod_revision": st.one_of(NOW, SMALL),
        "value": VALUE,
        "lease": LEASE,
    }
    name = draw(mostly(st.just(OPERANDS[target]), st.sampled_from(sorted(operands))))
    if draw(st.integers(0, 7)) < 7:
        body[name] = draw(operands[name])
    return body


def transactions(depth: int = 3) -> Strategy:
    """Up to so deep: what may hold an ignoring put can't be deeper here."""
    kinds = {
        "request_range": ranges(enum("sort_order")),
        "request_put": puts(),
        "request_delete_range": deletions(),
    }
    operations = [
        strategy.map(lambda body, name=name: {name: body})
        for name, strategy in kinds.items()
    ]
    if depth > 1:
        inner = st.deferred(lambda: transactions(depth - 1))
        operations.append(inner.map(lambda body: {"request_txn": body}))
    branch = st.lists(st.one_of(operations), max_size=3)
    return st.fixed_dictionaries(
        {"compare": st.lists(comparisons(), max_size=2), "success": branch},
        optional={"failure": branch},
    )


def grants() -> Strategy:
    ttl = mostly(st.integers(600, 700), st.sampled_from([9_000_000_001, 9_000_000_000]))
    return message({"ID": st.sampled_from(LEASES), "TTL": ttl}, {})


def about_leases() -> Strategy:
    return message({"ID": LEASE}, {})


def compactions() -> Strategy:
    at = st.one_of(st.builds(At, st.just("now"), st.integers(-4, 1)), COMPACTED)
    revision = mostly(at, st.sampled_from([0, -3, 1, 2**62]))
    return message({"revision": revision}, {"physical": YES})


def calls(path: str, bodies: Strategy) -> Strategy:
    return st.builds(Call, st.just(path), bodies, STYLES)


def writes() -> Strategy:
    """What changes something, most of the time."""
    return st.one_of(
        calls("kv/put", puts()),
        calls("kv/put", message({"key": KEY, "value": VALUE}, {})),
        calls("kv/deleterange", deletions()),
        calls("kv/txn", transactions()),
        calls("lease/grant", grants()),
        calls("lease/revoke", about_leases()),
        calls("kv/lease/revoke", about_leases()),
    )


def reads() -> Strategy:
    return st.one_of(
        calls("kv/range", ranges(mostly(enum("sort_order"), st.just(NO_ORDER)))),
        calls("kv/range", listings()),
        calls("lease/timetolive", message({"ID": LEASE}, {"keys": YES})),
        calls("kv/lease/timetolive", message({"ID": LEASE, "keys": YES}, {})),
        calls("lease/leases", st.just({})),
        calls("kv/lease/leases", st.just({})),
        calls("lease/keepalive", about_leases()),
    )


def watches() -> Strategy:
    create = message(
        {"key": KEY},
        {
            "range_end": END,
            "start_revision": REVISION,
            "filters": st.lists(enum("filters"), max_size=2),
            "prev_kv": YES,
            # Below 0 etcd tells a watch nothing once another one is refused.
            "watch_id": st.integers(0, 2),
            "fragment": YES,
            "progress_notify": YES,
        },
    )
    creates = st.lists(create, min_size=1, max_size=3)
    # etcd may lose what it has not read of a body before it answers: it is short.
    style = st.integers(0, _NOISY - 1)
    return st.builds(Watch, creates, st.lists(writes(), max_size=3), style)


@st.composite
def places(draw: st.DrawFn) -> Call:
    """A lock or an election, and whoever holds it, or another place there."""
    if draw(YES):
        name, lease = draw(st.sampled_from(sorted(LOCKS.items())))
        wanted = {"name": name, "lease": lease}
        key = {"key": draw(mostly(st.just(_place(name, lease)), KEY))}
        path = draw(st.sampled_from(["lock/lock", "lock/lock", "lock/unlock"]))
        return Call(path, key if path == "lock/unlock" else wanted, draw(STYLES))
    name, lease = draw(st.sampled_from(sorted(ELECTIONS.items())))
    wanted = {"name": name, "lease": lease}
    leader = {
        "name": name,
        "key": draw(mostly(st.just(_place(name, lease)), KEY)),
        "rev": draw(mostly(PAST, SMALL)),
        "lease": draw(mostly(st.just(lease), LEASE.filter(bool))),
    }
    path, body = draw(
        st.sampled_from(
            [
                ("election/campaign", {**wanted, "value": draw(VALUE)}),
                ("election/campaign", wanted),
                ("election/proclaim", {"leader": leader, "value": draw(VALUE)}),
                ("election/resign", {"leader": leader}),
                ("election/leader", {"name": name}),
            ]
        )
    )
    return Call(path, body, draw(STYLES))


def _place(name: bytes, lease: int) -> bytes:
    return b"%s/%x" % (name, lease)


def contests() -> st.SearchStrategy[list[Step]]:
    """Of locks and elections. Their keys make more than a sort keeps in order."""
    everything = {"key": st.just(b"\0"), "range_end": st.just(b"\0")}
    other = st.one_of(
        calls("lease/revoke", about_leases()),
        calls("kv/put", message({"key": KEY, "value": VALUE, "lease": LEASE}, {})),
        calls("kv/deleterange", message({"key": KEY}, {})),
        calls("kv/range", message(everything, {"limit": SMALL, "revision": PAST})),
        calls("lease/timetolive", message({"ID": LEASE, "keys": YES}, {})),
        watches(),
    )
    grant = st.sampled_from(LEASES).map(
        lambda lease: Call("lease/grant", {"ID": lease, "TTL": 600})
    )
    granted = st.lists(grant, max_size=6)
    steps = st.lists(mostly(places(), other), max_size=24)
    return st.tuples(granted, steps).map(lambda both: [*both[0], *both[1]])


def sequences() -> st.SearchStrategy[list[Step]]:
    """What is sent, in order, to two stores that have nothing."""
    usual = st.one_of(writes(), reads())
    other = st.one_of(watches(), calls("kv/compaction", compactions()))
    # A single list is short, however long it may be.
    part = st.lists(mostly(usual, other), max_size=12)
    parts = st.tuples(part, part, part)
    return mostly(parts.map(lambda all_of: [s for p in all_of for s in p]), contests())
