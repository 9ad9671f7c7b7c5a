"""Bad inputs of every handler: each is answered with the error that is documented.

Whether a parameter, a body or a header is known at all, test_openapi asks of every
route. Here it is known, and wrong.
"""

import json
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote_from_bytes

import pytest

from .openapi import OPERATIONS, Described, Node, faults, resolved
from .samples import LEASE, PROBES, SAMPLES, Sample, prepare
from .support import Port, Reply, connect, head, http, open_port

PROBLEM = {"$ref": "#/components/schemas/Problem"}
NUMBERS = (
    *("", "x", "-1", "1.5", "1e3", "%2b1", "01", "%201", "1%20", "0x1", "1_0"),
    *("%d9%a3", "18446744073709551616", "9" * 5000, "%00", "%ff", "1%00", "NaN"),
)
DURATIONS = (
    *("", "x", "1", "-1s", "%2b1s", "1.5s", "s", "1S", "1%20s", "1d", "10m1s"),
    *("9999999999s", "999999999h", "%d9%a3s", "%ff", "1s%00"),
)
IDS = (
    *("", "x", "694d71d8a5a0ad0", "694d71d8a5a0ad0c0", "694D71D8A5A0AD0C"),
    *("0x4d71d8a5a0ad0c", "0000000000000000", "%ff" * 16, "-694d71d8a5a0ad0"),
)
WORDS = ("", "x", "0.5", "true", "LINEARIZABLE", "%00", "%ff", "%d9%a3")
BASE64 = ("*", "a", "====", "YQ===", "Y%00Q=", "%ff", "YWJj%0a")
TOKENS = ("", "x", "1.", ".YQ", "-1.YQ", "1.*", "9" * 40 + ".YQ", "%ff", "1%20.YQ")
# Any text is one of these.
FREE = {"prefix", "key", "serializable", "exclude", "verbose"}

DEEP = b"[" * 100_000
LISTS = (b"[]", b"null", b"1", b'"x"', b"true")
BROKEN = (
    *(b"{", b"}", b"{]", b'{"a"', b"{,}", b'{"a": 1,}', b"\xff", b"\xef\xbb\xbf{}"),
    *("{}".encode("utf-16"), b"{} {}", b"NaN", b"{'a': 1}", b'{"a": "\x01"}'),
    *(b'{"a": "\xff"}', b'{"a": "\\x"}', b'{"a": "\\ud800"}', b'{"\\ud800": 1}'),
    *(DEEP, b'{"a": ' * 50_000, b'{"x": ' + DEEP, b"9" * 100_000),
)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        prepare(opened.service)
        yield opened


def named(sample: Sample) -> str:
    return f"{sample.method} {sample.route}"


every_route = pytest.mark.parametrize("sample", SAMPLES, ids=named)
with_documents = pytest.mark.parametrize(
    "sample",
    [
        each
        for each in SAMPLES
        if (body := OPERATIONS[each.route, each.method].body) is not None
        and "application/json" in body["content"]
    ],
    ids=named,
)
with_bodies = pytest.mark.parametrize(
    "sample",
    [each for each in SAMPLES if OPERATIONS[each.route, each.method].body is not None],
    ids=named,
)


def of(sample: Sample) -> Described:
    return OPERATIONS[sample.route, sample.method]


def refused(sample: Sample, reply: Reply, *codes: str) -> None:
    """It was refused with one of these codes, as the documents have it."""
    described = of(sample)
    if sample.method == "HEAD":
        assert any(described.allows(reply.status, code) for code in codes), reply
        return
    problem = reply.json()
    assert not list(faults(problem, resolved(PROBLEM))), reply
    assert problem["code"] in codes, reply
    assert described.allows(reply.status, str(problem["code"])), reply
    reads = sample.method in ("GET", "HEAD")
    assert problem.get("outcome") == (None if reads else "not_applied")
    # What was sent is not given back, but for a little of it.
    assert len(reply.body) < 1000


async def asked(port: Port, sample: Sample, headers: dict[str, str]) -> Reply:
    """A good request with more headers."""
    return await http(port, sample.method, sample.target, sample.body, **headers)


def with_query(sample: Sample, name: str, value: str) -> str:
    """The target of a good request, with this parameter instead of its own."""
    path, _, query = sample.target.partition("?")
    others = [each for each in query.split("&") if each.partition("=")[0] != name]
    return path + "?" + "&".join(each for each in (*others, f"{name}={value}") if each)


def wrong(parameter: Node) -> tuple[str, ...]:
    """Values that a query parameter can't have."""
    name, schema = parameter["name"], parameter["schema"]
    if name in ("token", "fence"):
        return TOKENS
    if name in ("key64", "prefix64", "cursor"):
        return BASE64
    if "enum" in schema:
        return WORDS
    if schema.get("type") == "integer":
        return NUMBERS
    if str(schema.get("pattern", "")).startswith("^[0-9]{"):
        return DURATIONS
    if "pattern" in schema:
        return IDS
    assert name in FREE, name
    # The key of a watch is a key.
    return ("",) if name == "key" else ()


# -- parameters --------------------------------------------------------------------


@every_route
async def test_a_parameter_with_a_wrong_value_is_refused(
    port: Port, sample: Sample
) -> None:
    for parameter in of(sample).parameters:
        if parameter["in"] != "query":
            continue
        name = parameter["name"]
        for value in wrong(parameter):
            target = with_query(sample, name, value)
            reply = await http(port, sample.method, target, sample.body)
            assert reply.status == 400, (target[:200], reply)
            refused(sample, reply, "invalid_request")
    assert not port.service.asked


@every_route
async def test_a_parameter_that_is_there_twice_is_refused(
    port: Port, sample: Sample
) -> None:
    path = sample.target.partition("?")[0]
    names = () if sample.route in PROBES else of(sample).names("query")
    for name in names:
        reply = await http(
            port, sample.method, f"{path}?{name}=1&{name}=1", sample.body
        )
        refused(sample, reply, "invalid_request")
    assert not port.service.asked


@every_route
async def test_a_name_in_a_path_that_is_none_is_refused(
    port: Port, sample: Sample
) -> None:
    named = of(sample).names("path")
    if not named:
        return
    before, _, after = sample.route.partition("{")
    after = after.partition("}")[2]
    if named == {"id"}:
        values = [each for each in IDS if each and "/" not in each]
    else:
        values = ["a/../b", "..", "./a", "%ff" * 5000]
    _, _, query = sample.target.partition("?")
    for value in values:
        target = before + value + after + ("?" + query if query else "")
        reply = await http(port, sample.method, target, sample.body)
        # Of checks there are only a few, each a path.
        none = ("not_found",) if named == {"check"} else ()
        refused(sample, reply, "invalid_request", "key_too_long", *none)
    assert not port.service.asked


async def test_a_key_may_have_any_bytes_and_is_what_was_sent(port: Port) -> None:
    keys = [bytes([byte]) for byte in range(256)]
    keys += [bytes(range(256)), b"../../etc/passwd", b"//", b"%2F", b"\xff" * 4096]
    for key in keys:
        escaped = quote_from_bytes(key, safe="").replace(".", "%2E")
        target = f"/v1/kv/{escaped}"
        assert (await http(port, "PUT", target, key)).status == 200
        assert (await http(port, "GET", target)).body == key
        assert port.service.records[key].value == key


# -- headers -----------------------------------------------------------------------


@every_route
async def test_a_page_of_another_origin_gets_nothing(
    port: Port, sample: Sample
) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
    ):
        reply = await asked(port, sample, headers)
        refused(sample, reply, "forbidden")
        assert reply.status == 403
        assert not [n for n in reply.headers if n.startswith("access-control")]
    assert not port.service.asked


@every_route
async def test_a_condition_that_is_malformed_is_refused(
    port: Port, sample: Sample
) -> None:
    for name in of(sample).names("header") & {"If-Match", "If-None-Match"}:
        for value in ("x", '"', '"a', "1", '"1" "2"', "W/", '"\u00e9'):
            headers = {name.replace("-", "_"): value.encode().decode("latin-1")}
            reply = await asked(port, sample, headers)
            refused(sample, reply, "invalid_request")
    assert not port.service.asked


async def test_a_fence_in_a_header_that_is_none_is_refused(port: Port) -> None:
    for sample in SAMPLES:
        if "Quorate-Fence" not in of(sample).names("header"):
            continue
        for value in (*TOKENS[1:-2], "x" * 8000):
            reply = await http(port, sample.method, sample.target, Quorate_Fence=value)
            refused(sample, reply, "invalid_request", "key_too_long")
    assert not port.service.asked


@pytest.mark.parametrize("value", [each for each in NUMBERS if "%" not in each])
async def test_a_last_event_that_is_no_number_is_refused(
    port: Port, value: str
) -> None:
    reply = await http(port, "GET", "/v1/watch?wait=0s", Last_Event_ID=value)
    assert reply.json()["code"] == "invalid_request"
    assert not port.service.asked


# -- bodies ------------------------------------------------------------------------


def repeated(document: bytes) -> Iterator[bytes]:
    """The document with each of its fields there twice, inside of parts as well."""
    for name in ("ttl", "then", "with", "get", "key", "voters"):
        field = f'"{name}": '.encode()
        before, found, after = document.partition(field)
        if found:
            value, _ = json.JSONDecoder().raw_decode(after.decode())
            again = json.dumps(value).encode()
            yield before + field + again + b", " + field + after


@with_documents
async def test_a_document_that_is_none_is_refused(port: Port, sample: Sample) -> None:
    for document in (*BROKEN, *LISTS):
        reply = await http(port, sample.method, sample.target, document)
        refused(sample, reply, "invalid_request", "request_too_large")
    assert not port.service.asked


@with_documents
async def test_a_field_that_is_unknown_repeated_or_of_another_type_is_refused(
    port: Port, sample: Sample
) -> None:
    good = sample.body or b'{"to": "694d71d8a5a0ad0c"}'
    documents = [good.replace(b"{", b'{"pretty": 1, ', 1), *repeated(good)]
    if sample.route == "/v1/leader":
        documents.append(b'{"to": null, "to": "694d71d8a5a0ad0c"}')
    assert len(documents) > 1
    for name in json.loads(good):
        others: list[object] = [1.5, -1, 10**30, 1e300, "", "\0", "x", True, {}, [[]]]
        documents += [json.dumps({name: other}).encode() for other in others]
    for document in documents:
        reply = await http(port, sample.method, sample.target, document)
        if sample.route.startswith(("/v1/locks", "/v1/elections")) and (
            reply.status == 200
        ):
            # 1.5 seconds are a time to live.
            assert document == b'{"ttl": 1.5}', document
            continue
        refused(sample, reply, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": 10, "wait": -1},
        {"ttl": 10, "wait": 601},
        {"ttl": 10, "wait": "601s"},
        {"ttl": 10, "wait": "soon"},
        {"ttl": 0},
        {"ttl": 0.5},
        {"ttl": "٣s"},
        {"ttl": 10, "lease": f"{LEASE:016x}"},
        {"wait": 0},
        {"lease": "0" * 16},
        {"lease": "x"},
    ],
)
async def test_a_wish_for_a_place_that_makes_no_sense_is_refused(
    port: Port, fields: dict[str, object]
) -> None:
    for sample in SAMPLES:
        if sample.route[:6] in ("/v1/lo", "/v1/el") and sample.method == "POST":
            body = json.dumps(fields).encode()
            reply = await http(port, "POST", sample.target, body)
            refused(sample, reply, "invalid_request")
    assert not port.service.asked


@pytest.mark.parametrize(
    "part",
    [
        {"put": {"key": "", "value": "v"}},
        {"put": {"key": "a"}},
        {"put": {"key": "a", "key64": "YQ==", "value": "v"}},
        {"put": {"key64": "*", "value": "v"}},
        {"put": {"key": "a", "value64": "a"}},
        {"put": {"key": "a", "value": "v", "lease": "0" * 16}},
        {"get": {"key": "a"}, "delete": {"key": "a"}},
        {"get": {"key": "a", "value": "v"}},
        {"get": {}},
        {},
    ],
)
async def test_a_part_of_a_transaction_that_makes_no_sense_is_refused(
    port: Port, part: dict[str, object]
) -> None:
    (sample,) = [each for each in SAMPLES if each.route == "/v1/txn"]
    for branch in ("then", "else"):
        body = json.dumps({branch: [part]}).encode()
        reply = await http(port, "POST", sample.target, body)
        refused(sample, reply, "invalid_request")
    assert not port.service.asked


@with_bodies
async def test_a_body_in_a_coding_is_refused(port: Port, sample: Sample) -> None:
    body = sample.body or b"{}"
    for headers, status, code in (
        ({"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "x"}, 415, "unsupported_media_type"),
        ({"Transfer-Encoding": "gzip, chunked"}, 501, "unsupported"),
        ({"Expect": "200-ok"}, 417, "expectation_failed"),
    ):
        data, told = body, headers | {"Content-Length": str(len(body))}
        if "Transfer-Encoding" in headers:
            data, told = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), headers
        async with connect(port) as raw:
            raw.send(head(sample.method, sample.target, **told) + data)
            reply = await raw.http_reply()
        refused(sample, reply, code)
        assert reply.status == status
    assert not port.service.asked


@with_bodies
@pytest.mark.parametrize("codings", [("identity", "gzip"), ("gzip", "identity")])
async def test_a_coding_in_a_second_line_is_refused_as_well(
    port: Port, sample: Sample, codings: tuple[str, str]
) -> None:
    """Only the first line was looked at: compressed bytes were stored as the value."""
    body = sample.body or b"{}"
    lines = "".join(f"Content-Encoding: {coding}\r\n" for coding in codings)
    start = head(sample.method, sample.target, Content_Length=str(len(body)))
    async with connect(port) as raw:
        raw.send(start.removesuffix(b"\r\n") + lines.encode() + b"\r\n" + body)
        reply = await raw.http_reply()
    refused(sample, reply, "unsupported_media_type")
    assert reply.status == 415
    assert not port.service.asked


@with_bodies
async def test_a_body_over_its_limit_is_refused_from_its_head(
    port: Port, sample: Sample
) -> None:
    for length in (2**23 + 1, 2**40, 2**63 - 1):
        async with connect(port) as raw:
            raw.send(head(sample.method, sample.target, Content_Length=str(length)))
            reply = await raw.http_reply()
        refused(sample, reply, "request_too_large", "value_too_large")
        assert reply.status == 413
    assert not port.service.asked
