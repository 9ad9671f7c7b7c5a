"""Everything on the HTTP side but keys: status, health, metrics, and refusals."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from quorate.node.statistics import Statistics
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.requests import error_reply

from .samples import SAMPLES, Sample, prepare
from .support import Port, connect, head, http, open_port

PROMISED = (
    *("name", "id", "role", "leader", "leader_url", "cluster_id", "term"),
    *("commit_index", "applied_index", "revision", "state_hash", "journal_syncs"),
    *("puts", "version"),
)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


async def test_status_has_every_promised_field_and_all_statistics(port: Port) -> None:
    reply = await http(port, "GET", "/v1/status")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    document = reply.json()
    assert set(PROMISED) <= set(document)
    assert set(Statistics.__struct_fields__) - {"member_id"} <= set(document)
    assert document["id"] == "00000000000000a1"
    assert document["role"] == "leader"
    assert document["commit_index"] == 17
    assert document["compacted"] == 0


async def test_status_and_health_are_answered_while_nothing_can_be_served(
    port: Port,
) -> None:
    port.service.holding = True
    for path in ("/v1/status", "/livez", "/version", "/metrics"):
        assert (await http(port, "GET", path)).status == 200
    assert not port.service.asked


async def test_the_version_is_what_etcd_clients_look_for(port: Port) -> None:
    reply = await http(port, "GET", "/version")
    assert reply.json() == {"etcdserver": "3.5.21", "etcdcluster": "3.5.0"}


async def test_metrics_are_prometheus_text(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a", b"1")
    await http(port, "GET", "/v1/kv/nothing")
    await http(port, "POST", "/v1/compaction?revision=2")
    port.service.measured.loop_lag.observe(0.003)
    port.service.measured.journal_sync.observe(0.06, 2)
    reply = await http(port, "GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    families = {
        family.name: family
        for family in text_string_to_metric_families(reply.body.decode())
    }
    ours = [name for name in families if name.startswith("quorate_")]
    assert all(families[name].documentation for name in ours)
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["quorate_raft_term",] == 3
    assert values["quorate_journal_syncs_total",] == 5
    assert values["quorate_database_compacted_revision",] == 2
    assert values["quorate_raft_role", "leader"] == 1
    assert values["quorate_raft_role", "follower"] == 0
    assert values["quorate_peer_connected", "00000000000000b2", "n2"] == 0
    assert values["quorate_client_connections", "http"] >= 1
    name = "quorate_http_request_duration_seconds"
    assert values[f"{name}_count", "ok", "put"] == 1
    assert values[f"{name}_count", "get", "not_found"] == 1
    assert values[f"{name}_bucket", "+Inf", "ok", "put"] == 1
    assert values[f"{name}_sum", "ok", "put"] > 0
    late, synced = "quorate_process_loop_lag_seconds", "quorate_journal_sync_duration"
    assert values[f"{late}_bucket", "0.0025"] == 0
    assert values[f"{late}_bucket", "0.005"] == values[f"{late}_count",] == 1
    assert values[f"{synced}_seconds_bucket", "0.05"] == 0
    assert values[f"{synced}_seconds_sum",] == pytest.approx(0.12)
    assert values["process_open_fds",] > 0
    assert "python_gc_objects_collected" in families


async def test_labels_never_come_from_what_a_client_sent(port: Port) -> None:
    port.service.error = error_reply(ErrorCode.NO_LEADER, Outcome.NONE, "canary")
    for target in ("/canary", "/v1/kv/canary", "/v1/kv/?prefix=canary", "/?canary=1"):
        await http(port, "GET", target)
        await http(port, "MKCOL", target)
    assert b"canary" not in (await http(port, "GET", "/metrics")).body


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/kv", "/v1/status/", "/V1/status", "/v1/%6bv/a"]
)
async def test_an_unknown_path_is_not_found(port: Port, path: str) -> None:
    reply = await http(port, "GET", path)
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/kv/a", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", "/v1/kv/a", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/v1/kv/", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/v1/status", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("TRACE", "/livez", "GET, HEAD"),
        ("GET", "/v1/compaction", "POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    port: Port, method: str, path: str, allow: str
) -> None:
    reply = await http(port, method, path)
    assert reply.status == 405
    assert reply.headers["allow"] == allow
    assert reply.json()["code"] == "method_not_allowed"
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/status", "/livez", "/readyz", "/metrics"])
async def test_a_head_of_anything_has_no_body(port: Port, path: str) -> None:
    reply = await http(port, "HEAD", path)
    assert reply.status == 200
    assert int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/v1/status", "/v1/openapi.json"])
async def test_parameters_where_there_are_none_are_refused(
    port: Port, path: str
) -> None:
    assert (await http(port, "GET", path + "?pretty=1")).status == 400


@pytest.mark.parametrize("target", ["/metrics?name[]=up&name[]=b", "/version?_=17"])
async def test_what_scrapers_and_probes_add_means_nothing(
    port: Port, target: str
) -> None:
    """As in etcd. Story: a scraper that asks for some names got none."""
    reply = await http(port, "GET", target)
    assert reply.status == 200
    if "version" in target:
        assert reply.body == (await http(port, "GET", "/version")).body


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_body_where_there_is_none_is_refused(port: Port, method: str) -> None:
    reply = await http(port, method, "/v1/kv/a", b"body")
    assert reply.status == 400
    assert not port.service.asked
    assert (await http(port, method, "/v1/kv/a", b"")).status == 404
    assert (await http(port, "GET", "/livez", b"body")).status == 400


async def test_a_foreign_origin_is_refused_before_anything_is_done(port: Port) -> None:
    for origin in ("http://evil.example", "null"):
        reply = await http(port, "PUT", "/v1/kv/a", b"1", Origin=origin)
        assert reply.status == 403
        assert reply.json()["code"] == "forbidden"
        assert (await http(port, "GET", "/v1/status", Origin=origin)).status == 403
    assert not port.service.asked


async def test_the_nodes_own_origin_is_welcome(port: Port) -> None:
    own = f"http://127.0.0.1:{port.listener.port}"
    reply = await http(port, "PUT", "/v1/kv/a", b"1", Origin=own)
    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_a_configured_origin_is_welcome() -> None:
    async with open_port(origins=("https://ui.example.com",)) as port:
        reply = await http(
            port, "PUT", "/v1/kv/a", b"1", Origin="https://ui.example.com"
        )
        assert reply.status == 200


async def test_a_rebound_host_name_is_refused(port: Port) -> None:
    assert (await http(port, "GET", "/v1/kv/a", Host="evil.example")).status == 403
    target = f"http://evil.example:{port.listener.port}/v1/kv/a"
    assert (await http(port, "GET", target)).status == 403
    assert (await http(port, "GET", "/v1/kv/a", Host="u@127.0.0.1")).status == 400
    assert not port.service.asked


async def test_a_repeated_origin_is_refused(port: Port) -> None:
    own = f"http://127.0.0.1:{port.listener.port}"
    async with connect(port) as raw:
        raw.send(
            f"GET /livez HTTP/1.1\r\nHost: h\r\nOrigin: {own}\r\n"
            f"Origin: http://evil.example\r\n\r\n".encode()
        )
        assert (await raw.http_reply()).status == 400


async def test_the_absolute_form_is_served(port: Port) -> None:
    target = f"http://127.0.0.1:{port.listener.port}/livez"
    assert (await http(port, "GET", target)).status == 200


async def test_a_bug_of_ours_is_an_internal_error_that_tells_nothing(
    port: Port, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Statistics:
        raise RuntimeError("canary")

    monkeypatch.setattr(port.service, "statistics", broken)
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/status"))
        reply = await raw.http_reply()
    assert reply.status == 500
    assert reply.json()["code"] == "internal"
    assert "outcome" not in reply.json()
    assert b"canary" not in reply.body
    assert "canary" in caplog.text


async def test_a_bug_behind_an_interim_reply_is_an_internal_error_too(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(port.service, "submit", broken)
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Content_Length="1", Expect="100-continue"))
        assert (await raw.http_reply()).status == 100
        raw.send(b"x")
        reply = await raw.http_reply()
    # Nobody knows what it had done by then.
    assert (reply.status, reply.json()["outcome"]) == (500, "unknown")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.method} {s.route}")
async def test_no_cache_may_answer_instead(sample: Sample) -> None:
    """RFC 9111, 4.2.2: else a read of long ago may be told as linearizable."""
    async with open_port() as port:
        prepare(port.service)
        async with connect(port) as raw:
            body = sample.body or b""
            sizes = {"Content_Length": str(len(body))} if body else {}
            raw.send(head(sample.method, sample.target, **sizes) + body)
            answer = (await raw.reader.readuntil(b"\r\n\r\n")).lower()
    assert b"\r\ncache-control: no-" in answer
    assert b"\r\nserver: quorate/" in answer
