"""What etcd and quorate said to the same, field by field.

Law: pure, and strict. All of an answer counts, but for what names a cluster. A
difference is forgiven by a rule alone: each is as narrow as a row of "What differs" in
docs/etcd-compatibility.md, and names that row. Where the two understand one request
differently, the rule says what etcd has to be asked instead, so that its answer still
has to be the same.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from .asking import NO_ORDER, Body

# What is different in every cluster; who asks sees to it that it stays as it is.
SPEAKER: Final = ("cluster_id", "member_id", "raft_term")
NO_LEASE: Final = "etcdserver: requested lease not found"
NO_KEY: Final = "etcdserver: key not found"


class Said(NamedTuple):
    """A status, and the documents that came with it."""

    status: int
    replies: list[Any]


class Sent(NamedTuple):
    """One request, with revisions as numbers, and how long leases have been there."""

    path: str
    body: Body
    revisions: Mapping[str, int]
    seconds: float = 0.0


# -- what etcd is asked instead --------------------------------------------------------


def sorted_before_the_limit(sent: Sent) -> Body:
    """`sort_target` with `sort_order` `NONE` and a `limit`"""
    if sent.path == "kv/txn":
        return _changed(sent.body, "request_range", _with_an_order)
    return _with_an_order(sent.body) if sent.path == "kv/range" else sent.body


def deletion_from_a_key_on(sent: Sent) -> Body:
    """a `put` and a `deleterange` from a key on in one `txn`"""
    if sent.path != "kv/txn":
        return sent.body
    return _changed(sent.body, "request_delete_range", _with_an_end)


def old_revision_in_any_branch(sent: Sent) -> Body:
    """an old `revision` in a `txn`"""
    if sent.path != "kv/txn":
        return sent.body
    for wanted in _parts("request_range", sent.body):
        revision = max(0, wanted.get("revision", 0))
        kept = sent.revisions["compacted"] <= revision <= sent.revisions["now"]
        if revision and not kept:
            alone = {"key": b"\0", "revision": revision}
            # All of it is still judged as a document, and this alone is done.
            return {
                "success": [{"request_range": alone}],
                "failure": [{"request_txn": sent.body}],
            }
    return sent.body


ASKED_INSTEAD: Final = (
    sorted_before_the_limit,
    deletion_from_a_key_on,
    old_revision_in_any_branch,
)


def for_etcd(sent: Sent) -> Body:
    """The document that means to etcd what `sent` means here."""
    for rule in ASKED_INSTEAD:
        sent = sent._replace(body=rule(sent))
    return sent.body


def _with_an_order(wanted: Body) -> Body:
    unordered = wanted.get("sort_order", "NONE") == "NONE"
    targeted = wanted.get("sort_target", "KEY") != "KEY"
    if unordered and targeted and wanted.get("limit", 0) > 0:
        return {**wanted, "sort_order": "ASCEND"}
    return wanted


def _with_an_end(wanted: Body) -> Body:
    """No key is that large, so that it is the same range."""
    if wanted.get("range_end") == b"\0":
        return {**wanted, "range_end": b"\xff" * 8}
    return wanted


def _changed(txn: Body, kind: str, change: Callable[[Body], Body]) -> Body:
    """With all operations of that kind changed, at all depths."""
    branches = {
        name: [_changed_part(part, kind, change) for part in txn[name]]
        for name in ("success", "failure")
        if name in txn
    }
    return {**txn, **branches}


def _changed_part(part: Body, kind: str, change: Callable[[Body], Body]) -> Body:
    ((name, body),) = part.items()
    if name == "request_txn":
        return {name: _changed(body, kind, change)}
    return {name: change(body)} if name == kind else part


def _parts(kind: str, txn: Body) -> Iterator[Body]:
    """Its operations of one kind, at all depths, in both branches."""
    for part in (*txn["success"], *txn.get("failure", ())):
        ((name, inside),) = part.items()
        if name == kind:
            yield inside
        elif name == "request_txn":
            yield from _parts(kind, inside)


def _puts(sent: Sent) -> list[Body]:
    """All puts, in whichever branch."""
    if sent.path == "kv/put":
        return [sent.body]
    return list(_parts("request_put", sent.body)) if sent.path == "kv/txn" else []


# -- what both have answered -----------------------------------------------------------


class Answers(NamedTuple):
    """Of both, as rules go over them."""

    etcd: Said
    here: Said


def errors_in_all_shapes(sent: Sent, answers: Answers) -> Answers:
    """errors"""
    return answers._replace(here=_without_details(answers.here))


def leases_in_any_order(sent: Sent, answers: Answers) -> Answers:
    """`lease/leases`"""
    document = _only(answers.etcd)
    if not sent.path.endswith("lease/leases") or "leases" not in document:
        return answers
    by_id = sorted(document["leases"], key=lambda lease: int(lease["ID"]) % 2**64)
    etcd = Said(answers.etcd.status, [{**document, "leases": by_id}])
    return answers._replace(etcd=etcd)


def time_that_is_left(sent: Sent, answers: Answers) -> Answers:
    """a lease just granted"""
    if not sent.path.endswith("timetolive"):
        return answers
    return Answers(*(_without_time(said, sent.seconds) for said in answers))


def unknown_numbers_refused(sent: Sent, answers: Answers) -> Answers:
    """a number that an enum does not have"""
    if sent.path != "kv/range" or sent.body.get("sort_order") != NO_ORDER:
        return answers
    status, code, _ = _error(answers.here)
    refused = (status, code) == (400, 3)
    return answers._replace(here=answers.etcd) if refused else answers


def two_reasons(sent: Sent, answers: Answers) -> Answers:
    """a write that lacks a key and a lease"""
    puts = _puts(sent)
    keyed = any(put.get("ignore_value") or put.get("ignore_lease") for put in puts)
    if not (keyed and any(put.get("lease") for put in puts)):
        return answers
    etcd, here = (_error(said) for said in answers)
    if etcd == (404, 5, NO_LEASE) and here == (400, 3, NO_KEY):
        return answers._replace(here=answers.etcd)
    return answers


FORGIVEN: Final = (
    errors_in_all_shapes,
    leases_in_any_order,
    time_that_is_left,
    unknown_numbers_refused,
    two_reasons,
)


def differences(sent: Sent, etcd: Said, here: Said) -> list[str]:
    """What is not the same, and not forgiven; one line each."""
    answers = Answers(_spoken(etcd), _spoken(here))
    for rule in FORGIVEN:
        answers = rule(sent, answers)
    return list(unequal("", list(answers.etcd), list(answers.here)))


def _only(said: Said) -> Body:
    """The document, if it is one and no other; else an empty one."""
    if len(said.replies) != 1 or not isinstance(said.replies[0], dict):
        return {}
    return cast(Body, said.replies[0])


def _error(said: Said) -> tuple[int, int, str]:
    """Status, code and text of a refusal."""
    document = _only(said)
    return said.status, document.get("code", 0), document.get("message", "")


def _without_details(said: Said) -> Said:
    """The field that etcd has only from 3.6 on, as long as it is empty."""
    document = dict(_only(said))
    if said.status == 200 or document.pop("details", None) != []:
        return said
    return Said(said.status, [document])


def _without_time(said: Said, seconds: float) -> Said:
    """Not more than was granted, and not less than the time that went by."""
    document = _only(said)
    if "grantedTTL" not in document:
        return said
    left, granted = int(document.get("TTL", 0)), int(document["grantedTTL"])
    if granted - seconds - 2 <= left <= granted:
        return Said(said.status, [{**document, "TTL": "what is left"}])
    return said


# -- watches ---------------------------------------------------------------------------


class Told(NamedTuple):
    """What one watch was told: all but its events, and these, each alone."""

    messages: list[Body]
    events: list[Body]


def told(messages: list[Body]) -> dict[str, Told]:
    """Of each watch of a stream. Their messages come in any order among each other."""
    watches: dict[str, Told] = {}
    for line in messages:
        message = dict(cast(Body, line["result"]))
        watch = watches.setdefault(message.get("watch_id", "0"), Told([], []))
        events = message.pop("events", [])
        watch.events.extend(events)
        if events:
            # What is said beside events, which is nothing, counts as one.
            rest = {n: v for n, v in message.items() if n not in ("header", "watch_id")}
            watch.events.extend([rest] if rest else [])
        else:
            watch.messages.append(without_speaker(message))
    return watches


def headers_of_events(messages: list[Body], here: bool) -> Iterator[str]:
    """revision in the header of a watch's events"""
    last: dict[str, int] = {}
    for line in messages:
        message = cast(Body, line["result"])
        revisions = [
            int(each["kv"]["mod_revision"]) for each in message.get("events", ())
        ]
        if not revisions:
            continue
        header = int(message["header"]["revision"])
        if header < max(revisions) or (here and {header} != set(revisions)):
            yield f"header of events: {message!r}"
        watch_id = message.get("watch_id", "0")
        if here and last.get(watch_id, 0) >= header:
            yield f"a revision in two messages: {message!r}"
        last[watch_id] = header


def deletion_at_the_compacted_revision(
    etcd: dict[str, Told], here: dict[str, Told], compacted: int
) -> tuple[dict[str, Told], dict[str, Told]]:
    """a deletion at the very revision that was compacted"""

    def kept(watch: Told, told: frozenset[str]) -> Told:
        events = [
            each for each in watch.events if _deleted(each, compacted) not in told
        ]
        return watch._replace(events=events)

    # What etcd tells all the same, as its compaction is not done yet, is told here.
    told_here = {
        name: frozenset(_deleted(each, compacted) for each in watch.events) - {""}
        for name, watch in here.items()
    }
    none: frozenset[str] = frozenset()
    return (
        {name: kept(watch, told_here.get(name, none)) for name, watch in etcd.items()},
        {name: kept(watch, told_here[name]) for name, watch in here.items()},
    )


def _deleted(event: Body, revision: int) -> str:
    """The key that it deletes at that revision; else nothing."""
    if event.get("type") != "DELETE":
        return ""
    at = event["kv"].get("mod_revision") == str(revision)
    return str(event["kv"].get("key", "")) if at else ""


def watch_differences(
    etcd: list[Body], here: list[Body], compacted: int = 0
) -> list[str]:
    """Of two streams that have been read to the same point."""
    alike = deletion_at_the_compacted_revision(told(etcd), told(here), compacted)
    both = [{name: list(watch) for name, watch in each.items()} for each in alike]
    return [
        *unequal("", *both),
        *headers_of_events(etcd, here=False),
        *headers_of_events(here, here=True),
    ]


# -- equality --------------------------------------------------------------------------


def unequal(where: str, etcd: Any, here: Any) -> Iterator[str]:
    """Where two documents differ, down to single fields."""
    if type(etcd) is not type(here):
        yield f"{where or 'all'}: etcd {etcd!r}, here {here!r}"
    elif isinstance(etcd, dict):
        one, other = cast(Body, etcd), cast(Body, here)
        for name in sorted(one.keys() | other.keys()):
            path = f"{where}.{name}"
            yield from unequal(path, one.get(name, "absent"), other.get(name, "absent"))
    elif isinstance(etcd, list) and len(cast(list[Any], etcd)) == len(here):
        pairs = zip(cast(list[Any], etcd), here, strict=True)
        for number, pair in enumerate(pairs):
            yield from unequal(f"{where}[{number}]", *pair)
    elif etcd != here:
        yield f"{where or 'all'}: etcd {etcd!r}, here {here!r}"


def without_speaker(value: Any) -> Any:
    """The header without what names the cluster."""
    if not isinstance(value, dict):
        return value
    document = cast(Body, value)
    if "result" in document:
        return {**document, "result": without_speaker(document["result"])}
    header = document.get("header")
    if not isinstance(header, dict):
        return document
    rest = {n: v for n, v in cast(Body, header).items() if n not in SPEAKER}
    return {**document, "header": rest}


def _spoken(said: Said) -> Said:
    return Said(said.status, [without_speaker(reply) for reply in said.replies])
