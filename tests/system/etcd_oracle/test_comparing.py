"""The comparer is a liar's enemy: every field counts, and each rule is narrow."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ...docs.markdown import rows, section
from ..etcd_recording import recorded, requests
from .asking import (
    ENUMS,
    NO_ORDER,
    At,
    Body,
    Call,
    reads,
    resolved,
    transactions,
    writes,
    written,
)
from .comparing import (
    ASKED_INSTEAD,
    FORGIVEN,
    Said,
    Sent,
    deletion_at_the_compacted_revision,
    differences,
    for_etcd,
    watch_differences,
)

ROOT = Path(__file__).resolve().parents[3]
REVISIONS = {"now": 20, "compacted": 10}
SPOKEN = {"cluster_id": "1", "member_id": "2", "raft_term": "3"}
HEADER = {**SPOKEN, "revision": "9"}


def sent(path: str, body: Body | None = None, seconds: float = 0.0) -> Sent:
    empty: Body = {"success": []} if path == "kv/txn" else {}
    return Sent(path, empty if body is None else body, REVISIONS, seconds)


def ok(**document: Any) -> Said:
    return Said(200, [{"header": HEADER, **document}])


def refused(status: int, code: int, message: str, **more: Any) -> Said:
    return Said(status, [{"error": message, "code": code, "message": message, **more}])


# -- lies ------------------------------------------------------------------------------


def lies(value: Any) -> Iterator[Any]:
    """The document with one thing changed, taken away, added or doubled."""
    if isinstance(value, dict):
        document = cast(Body, value)
        yield {**document, "more": not document.get("more", False)}
        for name, inside in document.items():
            yield {n: v for n, v in document.items() if n != name}
            for lie in lies(inside):
                yield {**document, name: lie}
    elif isinstance(value, list):
        every = cast("list[Any]", value)
        yield [*every, every[-1] if every else {}]
        yield every[1:]
        if every[::-1] != every:
            yield every[::-1]
        for at, inside in enumerate(every):
            for lie in lies(inside):
                yield [*every[:at], lie, *every[at + 1 :]]
    else:
        yield f"{value}1"
        yield None
        if isinstance(value, str) and value.isdigit():
            yield int(value)


def recorded_answers() -> list[tuple[str, Said]]:
    """What a real etcd once said, by path; without what is compared in other ways."""
    found: dict[str, tuple[str, Said]] = {}
    for (path, _), (status, reply) in zip(requests(), recorded(), strict=True):
        replies = cast("list[Any]", reply if isinstance(reply, list) else [reply])
        text = json.dumps(replies)
        elsewhere = isinstance(reply, str) or path.endswith("timetolive")
        if not elsewhere and len(text) < 1500:
            found[f"{status} {text}"] = path.split("/", 2)[2], Said(status, replies)
    return list(found.values())


ANSWERS = recorded_answers()


def test_there_is_enough_to_lie_about() -> None:
    assert len(ANSWERS) > 100
    assert {"kv/range", "kv/txn", "lease/keepalive"} <= {path for path, _ in ANSWERS}


@pytest.mark.parametrize("number", range(0, len(ANSWERS), 10))
def test_no_lie_in_a_recorded_answer_goes_unseen(number: int) -> None:
    for path, said in ANSWERS[number : number + 10]:
        assert differences(sent(path), said, copy.deepcopy(said)) == []
        told = 0
        for lie in lies(said.replies):
            told += 1
            here = Said(said.status, lie)
            if lie == said.replies:
                continue  # it changed what is not there
            assert differences(sent(path), said, here), (path, lie)
            assert differences(sent(path), here, said), (path, lie)
        assert told
        other = Said(said.status + 1, said.replies)
        assert differences(sent(path), said, other)


# -- rules -----------------------------------------------------------------------------


RULES = [*ASKED_INSTEAD, *FORGIVEN, deletion_at_the_compacted_revision]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_each_rule_is_a_row_of_what_differs(rule: object) -> None:
    text = (ROOT / "docs/etcd-compatibility.md").read_text()
    named = {row[0] for row in rows(section(text, "What differs"))}
    assert rule.__doc__ in named


def test_details_are_forgiven_while_they_are_empty() -> None:
    one = refused(400, 3, "x")
    asked = sent("kv/range")
    assert differences(asked, one, refused(400, 3, "x", details=[])) == []
    assert differences(asked, one, refused(400, 3, "x", details=[1]))
    assert differences(asked, ok(), ok(details=[]))


def test_leases_are_forgiven_their_order_and_nothing_else() -> None:
    here = ok(leases=[{"ID": "5"}, {"ID": "71"}, {"ID": "-7"}])
    etcd = ok(leases=[{"ID": "-7"}, {"ID": "71"}, {"ID": "5"}])
    assert differences(sent("lease/leases"), etcd, here) == []
    # Here they have an order.
    assert differences(sent("lease/leases"), here, etcd)
    assert differences(sent("lease/leases"), etcd, ok(leases=[{"ID": "5"}]))
    assert differences(sent("kv/range"), etcd, here)


@pytest.mark.parametrize(("left", "right"), [(600, True), (597, True), (595, False)])
def test_time_may_go_by_as_fast_as_it_does(left: int, right: bool) -> None:
    asked = sent("lease/timetolive", seconds=2.0)
    etcd, here = (ok(ID="71", TTL=str(ttl), grantedTTL="600") for ttl in (600, left))
    assert (differences(asked, etcd, here) == []) is right
    assert differences(asked, etcd, ok(ID="71", TTL="601", grantedTTL="600"))
    assert differences(asked, ok(ID="71", TTL="-1"), ok(ID="71", TTL="-2"))


def test_a_number_that_an_enum_does_not_have_may_be_refused_there_alone() -> None:
    asked = sent("kv/range", {"key": b"a", "sort_order": NO_ORDER})
    assert differences(asked, ok(), refused(400, 3, "unknown")) == []
    assert differences(asked, ok(), refused(400, 9, "unknown"))
    assert differences(asked, ok(), ok(count="1"))
    known = sent("kv/range", {"key": b"a", "sort_order": "ASCEND"})
    assert differences(known, ok(), refused(400, 3, "unknown"))


def test_which_of_two_reasons_is_told_is_forgiven_where_there_may_be_two() -> None:
    etcd = refused(404, 5, "etcdserver: requested lease not found")
    here = refused(400, 3, "etcdserver: key not found")
    puts = [{"key": b"a", "ignore_value": True}, {"key": b"b", "lease": 5}]
    both: Body = {"success": [{"request_put": put} for put in puts]}
    assert differences(sent("kv/txn", both), etcd, here) == []
    assert differences(sent("kv/txn", both), here, etcd)
    assert differences(sent("kv/txn", both), ok(), here)
    for put in puts:
        one: Body = {"success": [{"request_put": put}]}
        assert differences(sent("kv/txn", one), etcd, here)
        assert differences(sent("kv/put", put), etcd, here)
    assert differences(sent("kv/put", {**puts[0], "lease": 5}), etcd, here) == []


def test_etcd_is_asked_to_sort_before_the_limit() -> None:
    wanted = {"key": b"a", "sort_target": "MOD", "limit": 2}
    ordered = {**wanted, "sort_order": "ASCEND"}
    assert for_etcd(sent("kv/range", wanted)) == ordered
    inside: Body = {
        "success": [{"request_txn": {"success": [{"request_range": wanted}]}}]
    }
    (part,) = for_etcd(sent("kv/txn", inside))["success"]
    assert part["request_txn"]["success"] == [{"request_range": ordered}]
    for other in (
        {**wanted, "limit": 0},
        {**wanted, "sort_target": "KEY"},
        {**wanted, "sort_order": "DESCEND"},
    ):
        assert for_etcd(sent("kv/range", other)) == other


@pytest.mark.parametrize("revision", [9, 21])
@pytest.mark.parametrize("branch", ["success", "failure"])
def test_etcd_is_asked_for_an_old_revision_alone(branch: str, revision: int) -> None:
    read = {"request_range": {"key": b"a", "revision": revision}}
    body: Body = {"success": [], branch: [{"request_put": {"key": b"a"}}, read]}
    instead = for_etcd(sent("kv/txn", body))
    assert instead["success"] == [
        {"request_range": {"key": b"\0", "revision": revision}}
    ]
    assert instead["failure"] == [{"request_txn": body}]


def test_etcd_is_asked_to_delete_up_to_an_end() -> None:
    part = {"request_delete_range": {"key": b"a", "range_end": b"\0"}}
    (instead,) = for_etcd(sent("kv/txn", {"success": [part]}))["success"]
    assert instead["request_delete_range"]["range_end"] == b"\xff" * 8


@pytest.mark.slow
@settings(max_examples=30)
@given(transactions(2))
def test_all_else_is_asked_as_it_is(body: Body) -> None:
    """What no rule speaks of is in the document, where rules would change it."""
    plain = resolved(body, {"now": 15, "compacted": 15})
    text = repr(plain)
    assume(not any(name in text for name in ("'limit'", "'revision'", "'range_end'")))
    assert for_etcd(sent("kv/txn", plain)) == plain


# -- what is sent ----------------------------------------------------------------------


def read_back(name: str, value: Any) -> Any:
    """What a reader makes of any style: snake case, text, names of enums."""
    if isinstance(value, dict):
        document = cast(Body, value)
        names = {
            n: "".join(f"_{c.lower()}" if c.isupper() else c for c in n)
            for n in document
        }
        return {
            (n if n in ("ID", "TTL") else names[n]): read_back(names[n], v)
            for n, v in document.items()
        }
    if isinstance(value, list):
        return [read_back(name, each) for each in cast("list[Any]", value)]
    if name in ENUMS and isinstance(value, int) and value != NO_ORDER:
        return ENUMS[name][value]
    return value if isinstance(value, bool) else str(value)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.one_of(writes(), reads()))
def test_every_style_says_the_same(call: Call) -> None:
    body = resolved(call.body, REVISIONS)
    plain, *others = (json.loads(written(body, style)) for style in range(8))
    for other in others:
        assert read_back("", other) == read_back("", plain)


def test_a_revision_is_said_from_where_the_store_is() -> None:
    body: Body = {"a": [At("now", -2), {"b": At("compacted", 1)}]}
    assert resolved(body, REVISIONS) == {"a": [18, {"b": 11}]}


# -- watches ---------------------------------------------------------------------------


def message(revision: int, **more: Any) -> Body:
    header = {**SPOKEN, "revision": str(revision)}
    return {"result": {"header": header, **more}}


def events(revision: int, *revisions: int, **more: Any) -> Body:
    told = [{"kv": {"key": "YQ==", "mod_revision": str(each)}} for each in revisions]
    return message(revision, events=told, **more)


CREATED = message(5, created=True)
ENDED = message(0, canceled=True, compact_revision="3")
ALONE = [CREATED, events(6, 6), events(7, 7), events(8, 8, 8), ENDED]


def test_revisions_may_come_together_from_etcd() -> None:
    assert watch_differences(ALONE, ALONE) == []
    together = [CREATED, events(9, 6, 7), events(9, 8), events(9, 8), ENDED]
    assert watch_differences(together, ALONE) == []
    assert watch_differences(ALONE, together)


def test_watches_of_one_stream_may_come_in_any_order() -> None:
    other = [message(5, created=True, watch_id="1"), events(7, 7, watch_id="1")]
    assert watch_differences([*ALONE, *other], [*other, *ALONE]) == []
    assert watch_differences([*ALONE, *other], [*ALONE, *other[::-1]]) == []


LIES = {
    "an event is missing": [*ALONE[:2], *ALONE[3:]],
    "a part of a revision is missing": [*ALONE[:3], events(8, 8), ENDED],
    "an event comes twice": [*ALONE[:3], *ALONE[2:]],
    "events are swapped": [CREATED, ALONE[2], ALONE[1], *ALONE[3:]],
    "a revision is split": [*ALONE[:3], events(8, 8), events(8, 8), ENDED],
    "a header is later": [CREATED, events(7, 6), *ALONE[2:]],
    "a header is older": [CREATED, events(5, 6), *ALONE[2:]],
    "it was not begun": ALONE[1:],
    "it was begun at another revision": [message(6, created=True), *ALONE[1:]],
    "it does not end": ALONE[:-1],
    "it ends for another reason": [*ALONE[:-1], message(0, canceled=True)],
    "another watch is told": [*ALONE[:2], events(7, 7, watch_id="1"), *ALONE[3:]],
    "something is said beside": [*ALONE[:2], events(7, 7, fragment=True), *ALONE[3:]],
    "nothing is said": [],
}


@pytest.mark.parametrize("name", LIES)
def test_no_lie_of_a_watch_goes_unseen(name: str) -> None:
    assert watch_differences(ALONE, LIES[name])


def test_a_deletion_is_forgiven_at_the_compacted_revision_alone() -> None:
    def deletion(revision: int) -> Body:
        kv = {"key": "YQ==", "mod_revision": str(revision)}
        return message(revision, events=[{"type": "DELETE", "kv": kv}])

    without, told = [CREATED, events(7, 7)], [CREATED, deletion(6), events(7, 7)]
    assert watch_differences(without, told, 6) == []
    assert watch_differences(told, told, 6) == []
    assert watch_differences(without, told, 5)
    before = copy.deepcopy(told)
    before[1]["result"]["events"][0]["prev_kv"] = {"key": "YQ==", "mod_revision": "5"}
    assert watch_differences(told, before, 6) == []
    assert watch_differences(told, before, 5)
    # What etcd tells is to be told here, and a put is no deletion.
    assert watch_differences(told, without, 6)
    assert watch_differences(without, [CREATED, events(6, 6), events(7, 7)], 6)


def test_an_event_counts_with_all_its_fields() -> None:
    def stream(event: Body) -> list[Body]:
        return [CREATED, message(6, events=[event])]

    kv = {"key": "YQ==", "mod_revision": "6", "version": "1", "value": "eA=="}
    event = {"type": "DELETE", "kv": kv, "prev_kv": {**kv, "mod_revision": "5"}}
    for lie in lies(event):
        if (
            isinstance(lie.get("kv"), dict)
            and str(lie["kv"].get("mod_revision")) == "6"
        ):
            assert watch_differences(stream(event), stream(lie)), lie
