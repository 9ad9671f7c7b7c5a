"""The rows of the table: what is done to whom, and what is aimed at.

Law: a row is two legs that do the same work, one of quorate and one of what it is
compared with. Each leg's costs are taken around it, of the nodes alone.
"""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from . import frames, grpc_bodies, native_load, python_client, tools
from .clusters import Place, System, put_all
from .failover import refused_ms
from .machine import anonymous_bytes, cpu_seconds
from .pairs import Leg

VALUE_BYTES = 256
CONNECTIONS = 50
WRK_CONNECTIONS = 64
TASKS = 64
GRPC_KEY = b"bench-grpc-00001"

Drive = Callable[[Place], Leg]


class Row(NamedTuple):
    """`aim` bounds the ratio left/right: from below, or from above for times."""

    name: str
    what: str
    unit: str
    bound: Literal["≥", "≤"]
    aim: float
    left_name: str
    left: Callable[[], Leg]
    right_name: str
    right: Callable[[], Leg]

    def met(self, ratio: float) -> bool:
        return ratio >= self.aim if self.bound == "≥" else ratio <= self.aim


class Bench(NamedTuple):
    """What rows need: both systems (etcd may be missing), and for how long."""

    quorate: System
    etcd: System | None
    folder: Path
    tools: Path
    seconds: float
    processes: int


def costed(system: System, drive: Drive) -> Leg:
    """Drive the leader, and add what that has cost all nodes."""
    places = system.places()
    pids = [place.pid for place in places]
    leader = places[system.leader()]
    syncs, written, cpu_s = system.syncs(), system.written_bytes(), cpu_seconds(pids)
    leg = drive(leader)
    cpu_s = cpu_seconds(pids) - cpu_s
    operations = max(leg.operations, 1)
    return msgspec.structs.replace(
        leg,
        cpu_us=cpu_s / operations * 1e6,
        written_bytes=(system.written_bytes() - written) / operations,
        syncs=(system.syncs() - syncs) / operations,
        anonymous_mb=max(anonymous_bytes(pid) for pid in pids) / 1e6,
    )


def all_rows(bench: Bench) -> list[Row]:
    """In the order in which they are printed."""
    return [
        *_grpc_rows(bench),
        *_json_rows(bench),
        *_client_rows(bench),
        _failover_row(bench),
    ]


def _etcd(bench: Bench) -> System:
    if bench.etcd is None:
        raise tools.Missing("etcd")
    return bench.etcd


# -- native protocol and gRPC ----------------------------------------------------------


def _grpc_rows(bench: Bench) -> list[Row]:
    put = grpc_bodies.put(GRPC_KEY, b"v" * VALUE_BYTES)
    get = grpc_bodies.get(GRPC_KEY)
    client, prebuilt = "quorate's client", "prebuilt frames"

    def etcd(body: grpc_bodies.Body, clients: int, streams: int) -> Callable[[], Leg]:
        def drive(place: Place) -> Leg:
            told = tools.h2load(
                place.url, body, bench.folder, clients, streams, bench.seconds
            )
            return tools.leg_of(told)

        return lambda: costed(_etcd(bench), drive)

    def native(what: str, in_flight: int) -> Callable[[], Leg]:
        processes = min(bench.processes, in_flight)

        def drive(place: Place) -> Leg:
            options = native_load.options(what, in_flight, processes, bench.seconds)
            return native_load.leg_of(native_load.run(place.port, options))

        return lambda: costed(bench.quorate, drive)

    def bare(what: str, in_flight: int, connections: int) -> Callable[[], Leg]:
        requests = frames.puts(in_flight, VALUE_BYTES)
        if what == "get":
            requests = frames.gets(in_flight)

        def drive(place: Place) -> Leg:
            return frames.drive(place.port, requests, connections, bench.seconds)

        return lambda: costed(bench.quorate, drive)

    h2load, rate = "etcd, h2load", "operations/s"
    streams = 1000 // CONNECTIONS
    many = etcd(put, CONNECTIONS, streams)
    reads = etcd(get, CONNECTIONS, streams)
    return [
        Row(
            *("put-1", "puts, one at a time, p50", "ms", "≤", 0.75),
            *(client, lambda: costed(bench.quorate, _one_by_one(bench))),
            *(h2load, lambda: costed(_etcd(bench), _one_by_one_etcd(bench, put))),
        ),
        Row(
            *("put-64", "puts, 64 in flight", rate, "≥", 4.0),
            *(client, native("put", 64), h2load, etcd(put, 64, 1)),
        ),
        Row(
            *("put-64-frames", "puts, 64 in flight", rate, "≥", 4.0),
            *(prebuilt, bare("put", 64, 64), h2load, etcd(put, 64, 1)),
        ),
        Row(
            *("put-1000", "puts, 1,000 in flight", rate, "≥", 5.0),
            *(client, native("put", 1000), h2load, many),
        ),
        Row(
            *("put-1000-frames", "puts, 1,000 in flight", rate, "≥", 5.0),
            *(prebuilt, bare("put", 1000, CONNECTIONS), h2load, many),
        ),
        Row(
            *("get-1000", "linearizable gets, 1,000 in flight", rate, "≥", 5.0),
            *(client, native("get", 1000), h2load, reads),
        ),
        Row(
            *("get-1000-frames", "linearizable gets, 1,000 in flight", rate, "≥", 5.0),
            *(prebuilt, bare("get", 1000, CONNECTIONS), h2load, reads),
        ),
    ]


def _one_by_one(bench: Bench) -> Drive:
    def drive(place: Place) -> Leg:
        result = native_load.run(
            place.port, native_load.options("put", 1, 1, bench.seconds)
        )
        median_ms = result.report.total().latency.percentile_ns(50) / 1e6
        return msgspec.structs.replace(native_load.leg_of(result), figure=median_ms)

    return drive


def _one_by_one_etcd(bench: Bench, body: grpc_bodies.Body) -> Drive:
    def drive(place: Place) -> Leg:
        took = tools.h2load_latency_ms(place.url, body, bench.folder, bench.seconds)
        return Leg(statistics.median(took), len(took))

    return drive


# -- JSON ------------------------------------------------------------------------------


def _json_rows(bench: Bench) -> list[Row]:
    def wrk(system: Callable[[], System], mode: str) -> Callable[[], Leg]:
        def drive(place: Place) -> Leg:
            told = tools.wrk(place.url, mode, WRK_CONNECTIONS, bench.seconds)
            return tools.leg_of(told)

        return lambda: costed(system(), drive)

    def ours() -> System:
        return bench.quorate

    def theirs() -> System:
        return _etcd(bench)

    here, there, own, rate = "quorate /v3", "etcd /v3", "quorate /v1", "requests/s"
    put, get = wrk(ours, "v3put"), wrk(ours, "v3range")
    what = "wrk, 64 connections: "
    return [
        Row(
            *("json-put", f"{what}/v3/kv/put", rate, "≥", 2.0),
            *(here, put, there, wrk(theirs, "v3put")),
        ),
        Row(
            *("json-range", f"{what}/v3/kv/range", rate, "≥", 1.7),
            *(here, get, there, wrk(theirs, "v3range")),
        ),
        Row(
            *("http-put", f"{what}PUT /v1/kv", rate, "≥", 1.0),
            *(own, wrk(ours, "v1put"), here, put),
        ),
        Row(
            *("http-get", f"{what}GET /v1/kv", rate, "≥", 1.0),
            *(own, wrk(ours, "v1get"), here, get),
        ),
    ]


# -- Python clients --------------------------------------------------------------------


def _client_rows(bench: Bench) -> list[Row]:
    def client(name: str, what: str) -> Drive:
        return lambda place: _python_client(bench, name, place, what)

    def ours(what: str) -> Callable[[], Leg]:
        return lambda: costed(bench.quorate, client("quorate", what))

    def theirs(what: str) -> Callable[[], Leg]:
        return lambda: costed(_etcd(bench), client("aetcd", what))

    what, rate = f"Python client, {TASKS} tasks: ", "operations/s"
    return [
        Row(
            *(f"python-{each}", f"{what}{each}", rate, "≥", 8.0),
            *("quorate", ours(each), "aetcd", theirs(each)),
        )
        for each in ("put", "get")
    ]


def _python_client(bench: Bench, name: str, place: Place, what: str) -> Leg:
    interpreter = sys.executable
    if name == "aetcd":
        interpreter = tools.need("python", bench.tools)
        if not tools.imports(interpreter, name):
            raise tools.Missing(name)
    command = [
        *(interpreter, str(Path(__file__).with_name("python_client.py")), name),
        *(str(place.port), what, str(bench.seconds), str(TASKS)),
    ]
    told = json.loads(tools.run(command, bench.seconds).splitlines()[-1])
    operations = int(told["operations"])
    cpu_us = told["cpu_s"] / operations * 1e6
    return Leg(operations / told["seconds"], operations, client_cpu_us=cpu_us)


# -- failover --------------------------------------------------------------------------


def _failover_row(bench: Bench) -> Row:
    return Row(
        *("failover", "writes refused after kill -9 of the leader", "ms", "≤", 1.0),
        *("quorate", lambda: Leg(refused_ms(bench.quorate))),
        *("etcd", lambda: Leg(refused_ms(_etcd(bench)))),
    )


def prepare(bench: Bench, names: set[str]) -> None:
    """Put what is going to be read, so that every read finds something."""
    if "get-1000" in names:
        options = native_load.options("get", 64, 1, 0.1, load=True)
        native_load.run(_leader(bench.quorate).port, options)
    if "get-1000-frames" in names:
        requests = frames.puts(1000, VALUE_BYTES)
        frames.drive(_leader(bench.quorate).port, requests, CONNECTIONS, 0.1)
    if bench.etcd is not None and names & {"get-1000", "get-1000-frames"}:
        put_all(_leader(bench.etcd).port, [GRPC_KEY])
    keys: list[bytes] = []
    if names & {"json-range", "http-get"}:
        # As in wrk_keys.lua.
        keys += [b"bench-http/key-%03d" % number for number in range(1000)]
    if "python-get" in names:
        keys += map(python_client.key_of, range(python_client.KEYS))
    for system in (bench.quorate, bench.etcd):
        if system is not None and keys:
            put_all(_leader(system).port, keys)


def _leader(system: System) -> Place:
    return system.places()[system.leader()]
