"""The OpenAPI document says what the handlers do: no more, and no less."""

import json
from collections.abc import AsyncIterator

import pytest
from quorate.node.api.http import OPENAPI

from ...docs.markdown import read
from ...docs.test_reference import routes_of
from .openapi import DOCUMENT, OPERATIONS, STATUS, Described, faults, resolved
from .samples import PROBES, SAMPLES, Sample, prepare
from .support import Port, Reply, connect, head, http, open_port

every_route = pytest.mark.parametrize(
    "sample", SAMPLES, ids=[f"{each.method} {each.route}" for each in SAMPLES]
)
NAMES = {name for each in OPERATIONS.values() for name in each.names("query")}
# Of another method, and of those who join, which they do at the peer port.
ELSEWHERE = {
    *("method_not_allowed", "member_exists", "too_many_members"),
    # Of the native protocol alone.
    "session_not_found",
}
# Headers that mean something only to some; others mean nothing to anybody.
HEADERS = {"If-Match": '"1"', "If-None-Match": "*"}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        prepare(opened.service)
        yield opened


def of(sample: Sample) -> Described:
    return OPERATIONS[sample.route, sample.method]


async def ask(port: Port, sample: Sample, query: str = "", **headers: str) -> Reply:
    target = sample.target
    if query:
        target += ("&" if "?" in target else "?") + query
    return await http(port, sample.method, target, sample.body, **headers)


# -- the document ------------------------------------------------------------------


async def test_it_is_served_as_it_stands_in_the_file(port: Port) -> None:
    reply = await http(port, "GET", "/v1/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.body == OPENAPI.read_bytes()
    assert reply.json()["openapi"] == "3.1.0"


def test_everything_that_it_refers_to_is_there_and_everything_there_is_used() -> None:
    text = json.dumps(DOCUMENT)
    components = DOCUMENT["components"]
    for kind, parts in components.items():
        for name in parts:
            used = f'"#/components/{kind}/{name}"' in text or kind == "securitySchemes"
            assert used, name
    pointers = [part.partition('"')[0] for part in text.split('{"$ref": "')[1:]]
    assert len(pointers) > 100
    for pointer in pointers:
        assert resolved({"$ref": pointer})


def test_operations_have_names_of_their_own() -> None:
    items = DOCUMENT["paths"].values()
    ids = [operation["operationId"] for item in items for operation in item.values()]
    assert len(ids) == len(set(ids))


# -- routes and methods ------------------------------------------------------------


def test_it_has_the_routes_and_methods_that_are_documented_and_served() -> None:
    """That the table of http-api.md is the handlers', test_reference says."""
    found: dict[str, set[str]] = {}
    for path, method in OPERATIONS:
        found.setdefault(path, set()).add(method)
    table = routes_of(read("docs/http-api.md"))
    table.pop("/v3/…")
    assert found == {path: set(methods.split(", ")) for path, methods in table.items()}


def test_every_route_has_a_sample() -> None:
    assert [(each.route, each.method) for each in SAMPLES] == list(
        dict.fromkeys((each.route, each.method) for each in SAMPLES)
    )
    assert {(each.route, each.method) for each in SAMPLES} == OPERATIONS.keys()


@every_route
async def test_other_methods_are_told_the_documented_ones(
    port: Port, sample: Sample
) -> None:
    documented = {method for path, method in OPERATIONS if path == sample.route}
    for method in {"GET", "PUT", "POST", "DELETE", "PATCH", "TRACE"} - documented:
        reply = await http(port, method, sample.target)
        assert reply.status == 405
        assert reply.json()["code"] == "method_not_allowed"
        assert set(reply.headers["allow"].split(", ")) == documented


# -- parameters --------------------------------------------------------------------


@every_route
async def test_a_query_parameter_is_known_when_it_is_documented_and_not_else(
    port: Port, sample: Sample
) -> None:
    named = of(sample).names("query")
    for name in (*NAMES, "pretty"):
        target = sample.target.partition("?")[0] + f"?{name}="
        reply = await http(
            port,
            "GET" if sample.method == "HEAD" else sample.method,
            target,
            sample.body,
        )
        unknown = b"unknown query parameter" in reply.body
        if sample.route in (*PROBES, "/version", "/metrics"):
            assert not unknown
            continue
        # It is known beside a key in the path, and refused for being there, too.
        twice = sample.route == "/v1/kv/{key}" and name == "key64"
        assert unknown != (name in named or twice), (name, reply.body)


@every_route
async def test_conditions_are_taken_where_they_are_documented_and_refused_else(
    port: Port, sample: Sample
) -> None:
    if sample.route in ("/v1/watch", "/v1/kv/") or not sample.route.startswith("/v1/"):
        # They ask for no change, and look at no such header.
        return
    if sample.route in ("/v1/status", "/v1/openapi.json"):
        return
    for name, value in HEADERS.items():
        reply = await ask(port, sample, **{name.replace("-", "_"): value})
        refused = reply.status == 400
        assert refused != (name in of(sample).names("header")), (name, reply.body)


@every_route
async def test_what_is_required_is_required(port: Port, sample: Sample) -> None:
    described = of(sample)
    for each in described.parameters:
        if each["in"] == "query" and each.get("required", False):
            target = sample.target.partition("?")[0]
            reply = await http(port, sample.method, target, sample.body)
            assert reply.status == 400
    if described.body is not None and described.body.get("required", False):
        reply = await http(port, sample.method, sample.target, b"")
        assert reply.status == 400


@every_route
async def test_a_body_is_taken_where_one_is_documented_and_refused_else(
    port: Port, sample: Sample
) -> None:
    reply = await http(port, sample.method, sample.target, b"{}")
    # Where etcd looks at none, clients of its API send one: it is overlooked.
    taken = of(sample).body is not None or of(sample).path in ("/version", "/health")
    if sample.method != "HEAD":
        assert (b"takes no body" in reply.body) != taken
    if not taken:
        assert reply.status == 400


# -- answers -----------------------------------------------------------------------


@every_route
async def test_a_good_request_is_answered_as_documented(
    port: Port, sample: Sample
) -> None:
    async with connect(port) as raw:
        headers = {"Connection": "close"}
        if sample.body is not None:
            headers["Content_Length"] = str(len(sample.body))
        raw.send(head(sample.method, sample.target, **headers) + (sample.body or b""))
        start, _, body = (await raw.read_to_end()).partition(b"\r\n\r\n")
    status, *lines = start.decode().split("\r\n")
    told = dict(line.split(": ", 1) for line in lines)
    response = of(sample).responses[status.split(" ")[1]]
    ours = {n for n in told if n.startswith("Quorate-") or n == "ETag"}
    assert ours <= set(response.get("headers", ())), ours
    if sample.method == "HEAD":
        assert body == b""
        return
    if "content" not in response:
        assert body == b""
        return
    kind = told["Content-Type"].partition(";")[0]
    schema = response["content"][kind]["schema"]
    if kind == "application/json":
        assert not list(faults(json.loads(body), schema))


def test_the_reader_of_schemas_sees_faults() -> None:
    record = {"$ref": "#/components/schemas/Record"}
    good = {"key": None, "key64": "", "create_revision": 1, "mod_revision": 1}
    assert list(faults(good, record)) == ["$ lacks version"]
    for change in ({"version": -1}, {"version": "1"}, {"version": 1, "lease": "x"}):
        assert list(faults(good | change, record))
    assert list(faults(good | {"version": 1, "other": 1}, record))
    assert not list(faults(good | {"version": 1}, record))


# -- problems ----------------------------------------------------------------------


def test_every_problem_is_documented_somewhere_and_each_has_its_status() -> None:
    named = {code for each in OPERATIONS.values() for code in each.codes}
    assert named | ELSEWHERE == STATUS.keys()
    for each in OPERATIONS.values():
        own = each.codes - set(DOCUMENT["x-problems"])
        statuses = {str(STATUS[code]) for code in own}
        listed = {s for s in each.responses if s[0] in "45"}
        # What is not well is told as etcd tells it.
        listed -= {"503"} if each.path in PROBES else set()
        assert listed == statuses, (each.path, each.method)
        assert "default" in each.responses


def test_the_codes_of_the_document_are_those_of_a_problem() -> None:
    problem = resolved({"$ref": "#/components/schemas/Problem"})
    assert set(problem["properties"]["code"]["enum"]) == STATUS.keys()
