"""`/v1/leases`, and keys that hang on leases, over real sockets."""

import json
from collections.abc import AsyncIterator
from typing import cast

import pytest
from quorate.wire.commands import Put, decode_command
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import RequestKind
from quorate.wire.leases import (
    LEASES_PAGE_MAX,
    TTL_MS_MAX,
    Grant,
    KeepAlive,
    ListLeases,
    Revoke,
    TimeToLive,
)
from quorate.wire.limits import Limits
from quorate.wire.requests import error_reply

from .support import Asked, Port, Reply, connect, head, http, open_port, wait_for

PATH = "/v1/leases"
ID = "00000000000000a7"
ONE = f"{PATH}/{ID}"
KEEP = f"{ONE}/keepalive"
MISSING = f"{PATH}/00000000000000ff"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port whose service has one lease of 30 seconds."""
    async with open_port() as opened:
        opened.service.leases[0xA7] = 30_000
        yield opened


def refused(
    reply: Reply, status: int, code: str, outcome: str | None = "not_applied"
) -> dict[str, object]:
    problem = reply.json()
    assert (reply.status, problem["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem.get("outcome") == outcome
    return problem


def commands(port: Port) -> list[object]:
    """What the service was asked to do."""
    return [decode_command(asked.body, Limits()) for asked in port.service.asked]


# -- the routes ------------------------------------------------------------------------


async def test_a_lease_is_granted_with_a_random_id_or_the_one_that_is_given(
    port: Port,
) -> None:
    reply = await http(port, "POST", f"{PATH}?ttl=10s")
    assert reply.status == 201
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["quorate-revision"] == "1"
    shown = reply.json()
    number = int(str(shown["lease"]), 16)
    assert 0 < number < 2**63
    assert shown == {"lease": f"{number:016x}", "ttl_ms": 10_000}
    given = await http(port, "POST", f"{PATH}?ttl=2m&id=ffffffffffffffff")
    assert (given.status, given.body) == (
        201,
        b'{"lease":"ffffffffffffffff","ttl_ms":120000}',
    )
    assert commands(port) == [Grant(number, 10_000), Grant(2**64 - 1, 120_000)]
    again = await http(port, "POST", f"{PATH}?ttl=10s&id={ID}")
    refused(again, 409, "lease_exists")


@pytest.mark.parametrize(
    ("ttl", "ttl_ms"),
    [
        *(("1s", 1000), ("1000ms", 1000), ("1001ms", 1001), ("1m", 60_000)),
        *(("1h", 3_600_000), ("2500000h", TTL_MS_MAX)),
        *(("9000000000s", TTL_MS_MAX), ("9000000000000ms", TTL_MS_MAX)),
    ],
)
async def test_a_time_to_live_has_a_unit(port: Port, ttl: str, ttl_ms: int) -> None:
    reply = await http(port, "POST", f"{PATH}?ttl={ttl}")
    assert (reply.status, reply.json()["ttl_ms"]) == (201, ttl_ms)


TTLS = [
    *("", "10", "0s", "999ms", "-1s", "1.5s", "1d", "s", "1%20s", "+10s", "1e3s"),
    *(
        "2500001h",
        "999999999h",
        "9000000001s",
        "9" * 13 + "ms",
        "9" * 5000,
        "%D9%A1s",
        "1s%00",
        "%FF",
    ),
]


@pytest.mark.parametrize("ttl", TTLS)
async def test_another_time_to_live_is_refused(port: Port, ttl: str) -> None:
    reply = await http(port, "POST", f"{PATH}?ttl={ttl}")
    assert "ttl" in str(refused(reply, 400, "invalid_request")["detail"])
    put = await http(port, "PUT", f"/v1/kv/a?ttl={ttl}", b"1")
    assert "ttl" in str(refused(put, 400, "invalid_request")["detail"])
    assert not port.service.asked


IDS = [
    *("a7", "0" * 16, "0" * 15 + "g", "A" * 16, "1" * 17, "1" * 15, "-" + "1" * 15),
    *("0x" + "1" * 14, "%31" * 16, "%D9%A1" * 16, "1" * 16 + "%0A", "1" * 15 + "%FF"),
]


@pytest.mark.parametrize("number", IDS)
async def test_an_id_has_16_hex_digits(port: Port, number: str) -> None:
    replies = [
        await http(port, "GET", f"{PATH}/{number}"),
        await http(port, "DELETE", f"{PATH}/{number}"),
        await http(port, "POST", f"{PATH}/{number}/keepalive"),
    ]
    if number != "%31" * 16:
        # In a query, they are what they stand for.
        replies += [
            await http(port, "POST", f"{PATH}?ttl=10s&id={number}"),
            await http(port, "PUT", f"/v1/kv/a?lease={number}", b"1"),
        ]
    for reply in replies:
        problem = reply.json()
        assert (reply.status, problem["code"]) == (400, "invalid_request")
        assert "16 hex digits" in str(problem["detail"])
    assert not port.service.asked


async def test_leases_are_listed(port: Port) -> None:
    await http(port, "POST", f"{PATH}?ttl=10s&id=00000000000000a1")
    reply = await http(port, "GET", PATH)
    assert reply.status == 200
    assert reply.headers["quorate-revision"] == "1"
    everything = {"revision": 1, "more": False, "cursor": None}
    assert reply.json() == everything | {"leases": ["00000000000000a1", ID]}
    head = await http(port, "HEAD", PATH)
    assert (head.status, head.body) == (200, b"")
    assert commands(port)[1:] == 2 * [ListLeases(0, LEASES_PAGE_MAX)]


async def test_leases_are_listed_page_by_page(port: Port) -> None:
    leases = range(1, 2 * LEASES_PAGE_MAX + 1)
    port.service.leases = dict.fromkeys(leases, 30_000)
    shown: list[str] = []
    cursor = ""
    while True:
        page = (await http(port, "GET", PATH + cursor)).json()
        told = cast("list[str]", page["leases"])
        assert len(told) <= LEASES_PAGE_MAX
        shown += told
        if not page["more"]:
            break
        cursor = f"?cursor={page['cursor']}"
    assert page["cursor"] is None
    assert shown == [f"{lease:016x}" for lease in leases]


async def test_a_page_of_leases_has_no_more_than_were_asked_for(port: Port) -> None:
    port.service.leases = dict.fromkeys(range(1, 8), 30_000)
    page = (await http(port, "GET", f"{PATH}?limit=3&cursor=0000000000000002")).json()
    assert page == {
        "revision": 1,
        "more": True,
        "cursor": "0000000000000005",
        "leases": [f"{lease:016x}" for lease in (3, 4, 5)],
    }
    await http(port, "GET", f"{PATH}?limit=4294967295")
    assert commands(port) == [ListLeases(2, 3), ListLeases(0, LEASES_PAGE_MAX)]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=4294967296", "cursor=5", "cursor=", "keys=1"]
)
async def test_what_is_no_page_of_leases_is_refused(port: Port, query: str) -> None:
    reply = await http(port, "GET", f"{PATH}?{query}")
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert not port.service.asked


async def test_a_lease_shows_what_is_left_and_its_keys_when_they_are_asked_for(
    port: Port,
) -> None:
    shown = {"lease": ID, "ttl_ms": 30_000, "left_ms": 29_000}
    for query in ("", "?keys=0"):
        assert (await http(port, "GET", ONE + query)).json() == shown
    empty = await http(port, "GET", f"{ONE}?keys=1")
    assert empty.json() == shown | {"keys": []}
    await http(port, "PUT", f"/v1/kv/b?lease={ID}", b"1")
    await http(port, "PUT", f"/v1/kv/%FF?lease={ID}", b"1")
    reply = await http(port, "GET", f"{ONE}?keys=1&timeout=2s")
    assert reply.json() == shown | {
        "keys": [{"key": "b", "key64": "Yg=="}, {"key": None, "key64": "/w=="}]
    }
    assert reply.headers["quorate-revision"] == "3"
    assert port.service.asked[-1].timeout_ms == 2000
    assert commands(port)[-1] == TimeToLive(0xA7, True)


async def test_a_lease_is_kept_alive(port: Port) -> None:
    reply = await http(port, "POST", f"{KEEP}?timeout=250ms")
    assert (reply.status, reply.json()) == (
        200,
        {"lease": ID, "ttl_ms": 30_000, "left_ms": 30_000},
    )
    (asked,) = port.service.asked
    assert (asked.kind, asked.timeout_ms) == (RequestKind.WRITE, 250)
    assert commands(port) == [KeepAlive(0xA7)]


async def test_a_lease_ends_with_its_keys(port: Port) -> None:
    for key in "ab":
        await http(port, "PUT", f"/v1/kv/{key}?lease={ID}", b"1")
    reply = await http(port, "DELETE", ONE)
    assert (reply.status, reply.json()) == (200, {"revision": 4, "deleted": 2})
    assert reply.headers["quorate-revision"] == "4"
    assert (await http(port, "GET", "/v1/kv/a")).status == 404
    refused(await http(port, "DELETE", ONE), 404, "lease_not_found")


async def test_a_lease_that_is_not_there_is_not_found(port: Port) -> None:
    for query in ("", "?keys=1"):
        reply = await http(port, "GET", MISSING + query)
        # Looking at it could not have done anything.
        refused(reply, 404, "lease_not_found", None)
    refused(await http(port, "DELETE", MISSING), 404, "lease_not_found")
    keep = await http(port, "POST", f"{MISSING}/keepalive")
    refused(keep, 404, "lease_not_found")
    put = await http(port, "PUT", "/v1/kv/a?lease=00000000000000ff", b"1")
    refused(put, 404, "lease_not_found")
    assert not port.service.records


ROUTES = [
    *(("POST", f"{PATH}?ttl=10s"), ("GET", PATH), ("GET", ONE), ("DELETE", ONE)),
    ("POST", KEEP),
]


@pytest.mark.parametrize(("method", "target"), ROUTES)
@pytest.mark.parametrize(
    "query",
    [
        *("a=b", "revision=1", "timeout=0s", "timeout=1h", "timeout=x", "lease=a"),
        *("timeout=1s&timeout=1s", "%6Beys=1", "&", "consistency=local", "prefix=a"),
    ],
)
async def test_unknown_parameters_are_refused(
    port: Port, method: str, target: str, query: str
) -> None:
    reply = await http(port, method, target + ("&" if "?" in target else "?") + query)
    outcome = None if method == "GET" else "not_applied"
    refused(reply, 400, "invalid_request", outcome)
    assert not port.service.asked


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("POST", PATH), ("POST", f"{PATH}?ttl"), ("POST", f"{PATH}?id={ID}")),
        *(("GET", f"{PATH}?keys=1"), ("GET", f"{PATH}?ttl=10s")),
        *(("GET", f"{ONE}?keys"), ("GET", f"{ONE}?keys=2"), ("GET", f"{ONE}?keys=yes")),
        *(("DELETE", f"{ONE}?keys=1"), ("POST", f"{KEEP}?keys=1")),
        *(("POST", f"{KEEP}?ttl=10s"), ("POST", f"{PATH}?ttl=10s&keys=1")),
        ("POST", f"{PATH}?ttl=10s&id={ID}&id={ID}"),
    ],
)
async def test_what_is_said_too_little_or_too_much_is_refused(
    port: Port, method: str, target: str
) -> None:
    outcome = None if method == "GET" else "not_applied"
    refused(await http(port, method, target), 400, "invalid_request", outcome)
    assert not port.service.asked


@pytest.mark.parametrize(("method", "target"), ROUTES)
async def test_a_body_and_conditions_are_refused(
    port: Port, method: str, target: str
) -> None:
    outcome = None if method == "GET" else "not_applied"
    body = await http(port, method, target, b"ttl=10s")
    refused(body, 400, "invalid_request", outcome)
    for name in ("If_Match", "If_None_Match"):
        reply = await http(port, method, target, None, **{name: '"1"'})
        problem = refused(reply, 400, "invalid_request", outcome)
        assert name.replace("_", "-") in str(problem["detail"])
    assert not port.service.asked
    assert (await http(port, method, target, b"")).status < 300


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (PATH, ["GET", "HEAD", "POST"]),
        (ONE, ["GET", "HEAD", "DELETE"]),
        (KEEP, ["POST"]),
        (f"{PATH}/nonsense", ["GET", "HEAD", "DELETE"]),
    ],
)
async def test_other_methods_are_told_what_is_allowed(
    port: Port, path: str, allowed: list[str]
) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        if method in allowed:
            continue
        reply = await http(port, method, path)
        assert reply.status == 405
        assert reply.headers["allow"] == ", ".join(allowed)
    assert not port.service.asked


@pytest.mark.parametrize(
    "path",
    [
        *(f"{PATH}/", f"{PATH}//keepalive/", f"{ONE}/", f"{ONE}/keys", f"{KEEP}/"),
        *(f"{ONE}//keepalive", f"{ONE}/Keepalive", f"{ONE}/keepalive/keepalive"),
        *("/v1/lease", "/v1/Leases", f"/v1/leases2/{ID}"),
    ],
)
async def test_other_paths_are_not_found(port: Port, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        outcome = None if method == "GET" else "not_applied"
        refused(await http(port, method, path), 404, "not_found", outcome)
    assert not port.service.asked


async def test_a_foreign_origin_and_a_rebound_name_are_refused(port: Port) -> None:
    for method, target in ROUTES:
        outcome = None if method == "GET" else "not_applied"
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            reply = await http(port, method, target, None, **headers)
            refused(reply, 403, "forbidden", outcome)
    assert not port.service.asked


@pytest.mark.parametrize(("method", "target"), ROUTES)
async def test_what_the_service_refuses_says_whether_it_happened(
    port: Port, method: str, target: str
) -> None:
    asks = method == "GET"
    port.service.error = error_reply(ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, "none")
    reply = await http(port, method, target)
    refused(reply, 503, "no_leader", None if asks else "not_applied")
    port.service.error = error_reply(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, "lost")
    reply = await http(port, method, target)
    if asks:
        # Nothing could have happened, and asking again does no harm.
        assert refused(reply, 504, "deadline_exceeded", None)["retryable"] is True
    else:
        refused(reply, 504, "unknown_outcome", "unknown")


async def test_requests_are_counted_under_their_route(port: Port) -> None:
    for method, target in (*ROUTES, ("GET", f"{PATH}/nonsense"), ("PUT", ONE)):
        await http(port, method, target)
    text = (await http(port, "GET", "/metrics")).body.decode()
    name = "quorate_http_request_duration_seconds_count"
    for operation, result, count in (
        ("leases", "ok", 2),
        ("lease", "ok", 2),
        ("lease", "invalid_request", 1),
        ("lease", "method_not_allowed", 1),
        # It was revoked before.
        ("keepalive", "lease_not_found", 1),
    ):
        assert f'{name}{{operation="{operation}",result="{result}"}} {count}' in text


# -- keys that hang on one -------------------------------------------------------------


async def test_a_put_hangs_a_key_on_a_lease_and_reads_show_it(port: Port) -> None:
    put = await http(port, "PUT", f"/v1/kv/a?lease={ID}", b"1")
    assert (put.status, put.headers["quorate-lease"]) == (200, ID)
    plain = await http(port, "PUT", "/v1/kv/b", b"1")
    assert "quorate-lease" not in plain.headers
    assert (await http(port, "GET", "/v1/kv/a")).headers["quorate-lease"] == ID
    assert "quorate-lease" not in (await http(port, "GET", "/v1/kv/b")).headers
    listed = json.loads((await http(port, "GET", "/v1/kv/")).body)["kvs"]
    assert [each.get("lease") for each in listed] == [ID, None]
    assert "lease" not in listed[1]
    # A put without one takes it off.
    await http(port, "PUT", "/v1/kv/a", b"2")
    assert "quorate-lease" not in (await http(port, "GET", "/v1/kv/a")).headers


async def test_a_put_with_a_ttl_makes_a_lease_of_its_own(port: Port) -> None:
    reply = await http(port, "PUT", "/v1/kv/a?ttl=90s&timeout=10s", b"1")
    assert (reply.status, reply.body) == (200, b'{"revision":2}')
    number = int(reply.headers["quorate-lease"], 16)
    assert commands(port) == [Grant(number, 90_000), Put(b"a", b"1", None, number)]
    first, second = (asked.timeout_ms for asked in port.service.asked)
    assert first == 10_000
    # What the grant took is taken off.
    assert 0 < second <= first
    other = await http(port, "PUT", "/v1/kv/b?ttl=90s", b"1")
    assert int(other.headers["quorate-lease"], 16) != number


async def test_a_put_with_a_ttl_takes_no_longer_than_one_without(port: Port) -> None:
    """Who names no timeout got the default twice: for the lease, then for the key."""
    assert (await http(port, "PUT", "/v1/kv/a?ttl=90s", b"1")).status == 200
    first, second = (asked.timeout_ms for asked in port.service.asked)
    assert first == port.options.limits.timeout_ms_default
    assert 0 < second <= first


async def test_a_put_has_a_lease_or_a_ttl(port: Port) -> None:
    reply = await http(port, "PUT", f"/v1/kv/a?lease={ID}&ttl=10s", b"1")
    refused(reply, 400, "invalid_request")
    for method in ("GET", "DELETE"):
        for query in (f"lease={ID}", "ttl=10s"):
            reply = await http(port, method, f"/v1/kv/a?{query}")
            assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert not port.service.asked


async def test_a_put_with_a_ttl_that_fails_leaves_no_lease(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a", b"1")
    headers = {"If_None_Match": "*"}
    reply = await http(port, "PUT", "/v1/kv/a?ttl=1h", b"2", **headers)
    refused(reply, 412, "precondition_failed")
    assert "quorate-lease" not in reply.headers
    await wait_for(lambda: port.service.leases == {0xA7: 30_000})
    assert [type(command) for command in commands(port)[1:]] == [Grant, Put, Revoke]


async def test_a_put_with_a_ttl_whose_fate_is_unknown_keeps_its_lease(
    port: Port,
) -> None:
    submit = port.service.answer
    lost = error_reply(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, "lost")

    def answer(asked: object) -> None:
        # The grant is answered, the put not.
        submit(asked)  # pyright: ignore[reportArgumentType]
        port.service.error = lost

    port.service.answer = answer  # pyright: ignore[reportAttributeAccessIssue]
    reply = await http(port, "PUT", "/v1/kv/a?ttl=1h", b"2")
    refused(reply, 504, "unknown_outcome", "unknown")
    assert len(port.service.leases) == 2
    assert [type(command) for command in commands(port)] == [Grant, Put]


async def test_a_grant_that_fails_is_the_end_of_its_put(port: Port) -> None:
    port.service.error = error_reply(ErrorCode.NO_SPACE, Outcome.NOT_APPLIED, "full")
    reply = await http(port, "PUT", "/v1/kv/a?ttl=1h", b"2")
    refused(reply, 507, "no_space")
    assert [type(command) for command in commands(port)] == [Grant]


async def test_a_grant_whose_fate_is_unknown_is_taken_back(port: Port) -> None:
    submit = port.service.answer
    unknown = error_reply(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, "lost")

    def answer(asked: Asked) -> None:
        # The grant is done, and nobody is told.
        port.service.answer = submit
        lease = decode_command(asked.body, Limits())
        assert isinstance(lease, Grant)
        port.service.leases[lease.lease] = lease.ttl_ms
        port.service.error = unknown
        submit(asked)
        port.service.error = None

    port.service.answer = answer
    reply = await http(port, "PUT", "/v1/kv/a?ttl=1h", b"2")
    refused(reply, 504, "unknown_outcome", "unknown")
    await wait_for(lambda: port.service.leases == {0xA7: 30_000})
    assert port.service.records == {}


@pytest.mark.parametrize("granted", [True, False])
async def test_a_put_with_a_ttl_whose_client_goes_leaves_no_lease(
    port: Port, granted: bool
) -> None:
    service = port.service
    service.holding = True
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a?ttl=2500000h", Content_Length="1") + b"1")
        await wait_for(lambda: len(service.held) == 1)
        raw.reset()
    await wait_for(lambda: port.listener.connections == 0)
    if not granted:
        service.error = error_reply(ErrorCode.NO_SPACE, Outcome.NOT_APPLIED, "full")
    service.release()
    await wait_for(lambda: len(service.asked) == 1 + granted)
    kinds = [type(command) for command in commands(port)]
    assert kinds == ([Grant, Revoke] if granted else [Grant])
    assert service.leases == {0xA7: 30_000}
    assert service.records == {}


# -- transactions ----------------------------------------------------------------------


async def test_transactions_hang_keys_on_leases_and_show_them(port: Port) -> None:
    document = {
        "if": [{"key": "a", "lease": "0" * 16}],
        "then": [
            {"put": {"key": "a", "value": "1", "lease": ID}},
            {"get": {"key": "a"}},
        ],
        "else": [{"get": {"key": "a"}}],
    }
    body = json.dumps(document).encode()
    done = json.loads((await http(port, "POST", "/v1/txn", body)).body)
    assert done["succeeded"]
    assert done["results"][1]["kv"]["lease"] == ID
    again = json.loads((await http(port, "POST", "/v1/txn", body)).body)
    assert not again["succeeded"]
    assert again["results"][0]["kv"]["lease"] == ID
    await http(port, "PUT", "/v1/kv/a", b"2")
    plain = b'{"then": [{"get": {"key": "a"}}]}'
    shown = json.loads((await http(port, "POST", "/v1/txn", plain)).body)
    assert "lease" not in shown["results"][0]["kv"]


async def test_a_transaction_on_a_lease_that_is_not_there_does_nothing(
    port: Port,
) -> None:
    put = {"key": "a", "value": "1", "lease": "00000000000000ff"}
    body = json.dumps({"then": [{"put": {"key": "b", "value": ""}}, {"put": put}]})
    reply = await http(port, "POST", "/v1/txn", body.encode())
    refused(reply, 404, "lease_not_found")
    assert not port.service.records


@pytest.mark.parametrize("lease", [7, None, "7", "", "0" * 16, "G" * 16, ["1" * 16]])
async def test_a_transaction_whose_lease_is_none_is_refused(
    port: Port, lease: object
) -> None:
    put = {"key": "a", "value": "1", "lease": lease}
    body = json.dumps({"then": [{"put": put}]}).encode()
    problem = refused(await http(port, "POST", "/v1/txn", body), 400, "invalid_request")
    assert "then[0].put.lease" in str(problem["detail"])
    assert not port.service.asked
