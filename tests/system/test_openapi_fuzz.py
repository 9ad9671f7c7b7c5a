"""A real node under requests that the OpenAPI document makes up, good and bad ones.

Whatever is sent: the answer has a status and a code that are documented for that very
operation, a document that is as described, and never says that the node is at fault.
"""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..node.api.openapi import OPERATIONS, Described, Node, faults, resolved
from ..node.api.samples import SAMPLES
from .harness import Cluster, Running, running_cluster

pytestmark = pytest.mark.slow

EXAMPLES = 500
TIMEOUT_S = 30.0
PROBLEM = {"$ref": "#/components/schemas/Problem"}
# What would wait for long, or for ever, waits for this; other values are wrong ones.
SHORT = {
    "timeout": ["20ms", "200ms"],
    "wait": ["0s", "1ms", "20ms"],
    "watch": ["0"],
    # A state as new as that never comes.
    "min_revision": ["0", "1", "2"],
}
NAMES = st.sampled_from([b"a", b"b", b"c/d", b"\xff\x00", b"%2F", "ü".encode()])
HOSTILE = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"", b"\0", b"-1", b"1e9", b"18446744073709551616", b"9" * 400, b"%", b"\xff"]
    ),
)


def escaped(value: bytes) -> str:
    return quote_from_bytes(value, safe="").replace(".", "%2E")


def like(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True)


def text_like(schema: Node) -> st.SearchStrategy[bytes]:
    """Values of a parameter that the schema allows."""
    if "enum" in schema:
        return st.sampled_from([str(each).encode() for each in schema["enum"]])
    if schema.get("type") == "integer":
        low: int = schema["minimum"]
        high: int = schema["maximum"]
        some: st.SearchStrategy[int] = st.integers(low, low + 9)
        return st.one_of(some, st.integers(low, high)).map(str).map(str.encode)
    if "pattern" in schema:
        return like(schema["pattern"]).map(str.encode)
    return NAMES


def value_like(schema: Node) -> st.SearchStrategy[object]:
    """JSON that the schema allows."""
    schema = resolved(schema)
    if "oneOf" in schema:
        one_of: list[Node] = schema["oneOf"]
        return st.one_of([value_like(each) for each in one_of])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "pattern" in schema:
        return like(schema["pattern"])
    kinds: str | list[str] = schema.get("type", "string")
    match kinds if isinstance(kinds, str) else kinds[0]:
        case "object":
            known = {n: value_like(s) for n, s in schema["properties"].items()}
            required = {n: known.pop(n) for n in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=known)
        case "array":
            return st.lists(value_like(schema["items"]), max_size=3)
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return st.floats(-1, 2, allow_nan=False)
        case "boolean":
            return st.booleans()
        case _:
            return st.sampled_from(["a", "b", "", "YQ==", "ü", "1.YQ"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts),
    max_leaves=9,
)


BODIES = {(each.route, each.method): each.body for each in SAMPLES}


class Made:
    """A request that was made up; a `tame` one is meant to be good."""

    def __init__(self, described: Described, tame: bool, draw: st.DrawFn) -> None:
        self.described = described
        self.tame = tame
        self.target = self._target(draw)
        self.headers = self._headers(draw)
        self.body = self._body(draw)

    def _value(self, parameter: Node, draw: st.DrawFn) -> bytes:
        name = parameter["name"]
        good, wrong = text_like(parameter["schema"]), HOSTILE
        if name in SHORT:
            good = st.sampled_from([each.encode() for each in SHORT[name]])
            wrong = st.sampled_from([b"x", b""])
        if parameter["in"] == "path":
            wrong = st.binary(min_size=1, max_size=9)
        return draw(good if self.tame else good | wrong)

    def _target(self, draw: st.DrawFn) -> str:
        target, query = self.described.path, dict[str, str]()
        for each in self.described.parameters:
            name = each["name"]
            if each["in"] == "path":
                value = self._value(each, draw)
                target = target.replace(f"{{{name}}}", escaped(value))
            elif each["in"] == "query":
                needed = each.get("required", False) or name in ("timeout", "wait")
                often = 9 if needed else 2 if self.tame else 5
                if draw(st.integers(0, 9)) < often:
                    query[name] = escaped(self._value(each, draw))
        if self.described.path == "/v1/watch" and "wait" not in query:
            # A stream would not end.
            query["wait"] = "0s"
        if not self.tame and draw(st.integers(0, 9)) == 0:
            query["pretty"] = "1"
        parts = [f"{name}={value}" for name, value in query.items()]
        return target + ("?" + "&".join(parts) if parts else "")

    def _headers(self, draw: st.DrawFn) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.tame:
            return headers
        names = self.described.names("header") | {"Origin", "Authorization"}
        for name in sorted(names):
            if draw(st.integers(0, 5)) == 0:
                values = ['"1"', "*", "1.YQ", "x", '"', "7", "", "Bearer x", "null"]
                headers[name] = draw(st.sampled_from(values))
        return headers

    def _body(self, draw: st.DrawFn) -> bytes | None:
        body = self.described.body
        if body is None:
            return None if self.tame else draw(st.sampled_from([None, b"", b"{}"]))
        sample = BODIES[self.described.path, self.described.method]
        schema = body["content"].get("application/json", {}).get("schema")
        good = JSON if schema is None else value_like(schema)
        documents = good.map(json.dumps).map(str.encode)
        if self.tame:
            return draw(st.just(sample) | documents)
        wild = JSON.map(json.dumps).map(str.encode) | st.binary(max_size=50)
        return draw(documents | wild)


@st.composite
def requests(draw: st.DrawFn) -> Made:
    described = draw(st.sampled_from(list(OPERATIONS.values())))
    return Made(described, draw(st.booleans()), draw)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("fuzz") / "c", 1) as cluster:
        yield cluster


def answered(node: Running, made: Made) -> tuple[int, str, bytes]:
    """Status, Content-Type and body."""
    address = node.node.client
    connection = http.client.HTTPConnection(
        address.host, address.port, timeout=TIMEOUT_S
    )
    try:
        method = made.described.method
        connection.request(method, made.target, made.body, made.headers)
        response = connection.getresponse()
        kind = (response.getheader("Content-Type") or "").partition(";")[0]
        return response.status, kind, response.read()
    finally:
        connection.close()


@settings(
    max_examples=EXAMPLES,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(made=requests())
def check(node: Running, made: Made) -> None:
    status, kind, body = answered(node, made)
    described = made.described
    told = (described.method, made.target, made.headers, made.body, status, body[:300])
    assert status != 500, told
    if described.method == "HEAD" and status >= 400:
        assert any(described.allows(status, code) for code in described.codes), told
        return
    if kind == "application/problem+json":
        problem = json.loads(body)
        assert not list(faults(problem, PROBLEM)), told
        assert described.allows(status, problem["code"]), told
        return
    assert described.allows(status, None), told
    content = described.responses[str(status)].get("content")
    if kind == "application/json" and described.method != "HEAD":
        assert content is not None, told
        assert not list(faults(json.loads(body), content[kind]["schema"])), told


def test_whatever_is_asked_is_answered_as_the_document_says(alone: Cluster) -> None:
    node = alone.nodes[0]
    before = node.pid
    check(node)
    assert node.process.alive
    assert node.pid == before
    assert node.request("PUT", "/v1/kv/after", b"it").status == 200
    assert "Traceback" not in node.log()
