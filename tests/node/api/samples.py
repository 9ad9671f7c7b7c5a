"""One good request for every route and every kind: what tests over all of them ask.

Law: each is served by a FakeService that `prepare` has seen, and none of them waits.
"""

from typing import NamedTuple

from quorate.wire.commands import encode_put
from quorate.wire.fences import Fence
from quorate.wire.frames import RequestKind
from quorate.wire.locks import holder_key
from quorate.wire.membership import encode_move_leader
from quorate.wire.records import Record
from quorate.wire.requests import (
    GetRequest,
    Level,
    RangeRequest,
    encode_get,
    encode_range,
)
from quorate.wire.watches import WatchRequest, encode_cancel, encode_watch

from .support import FakeService

LEASE = 0x694D71D8A5A0AD0C
MEMBER = "694d71d8a5a0ad0c"
OTHER = "2b3c4d5e6f708192"
REVISION = 7


def token_of(name: bytes) -> str:
    """The token of whoever holds the lock, or leads, after `prepare`."""
    return Fence(holder_key(name, LEASE), REVISION).token


class Sample(NamedTuple):
    """`route` is how the documents write the path; `target` what is asked."""

    route: str
    method: str
    target: str
    body: bytes | None = None


def prepare(service: FakeService) -> None:
    """A key, a lease, somebody who holds the lock and leads the election."""
    service.leases[LEASE] = 30_000
    service.revision = REVISION
    for key in (b"a", holder_key(b"lock", LEASE), holder_key(b"election", LEASE)):
        service.records[key] = Record(key, b"v", REVISION, REVISION, 1, LEASE)
    service.past[REVISION] = dict(service.records)
    service.backups = [b"all of it"]


def _both(route: str, target: str) -> tuple[Sample, Sample]:
    return Sample(route, "GET", target), Sample(route, "HEAD", target)


SAMPLES: tuple[Sample, ...] = (
    *_both("/v1/kv/{key}", "/v1/kv/a"),
    Sample("/v1/kv/{key}", "PUT", "/v1/kv/a", b"value"),
    Sample("/v1/kv/{key}", "DELETE", "/v1/kv/a"),
    *_both("/v1/kv/", "/v1/kv/?prefix=a"),
    Sample("/v1/kv/", "PUT", "/v1/kv/?key64=YQ", b"value"),
    Sample("/v1/kv/", "DELETE", "/v1/kv/?key64=YQ"),
    Sample("/v1/txn", "POST", "/v1/txn", b'{"then": [{"get": {"key": "a"}}]}'),
    *_both("/v1/leases", "/v1/leases"),
    Sample("/v1/leases", "POST", "/v1/leases?ttl=30s"),
    *_both("/v1/leases/{id}", f"/v1/leases/{LEASE:016x}"),
    Sample("/v1/leases/{id}", "DELETE", f"/v1/leases/{LEASE:016x}"),
    Sample("/v1/leases/{id}/keepalive", "POST", f"/v1/leases/{LEASE:016x}/keepalive"),
    *_both("/v1/locks/{name}", "/v1/locks/lock"),
    Sample("/v1/locks/{name}", "POST", "/v1/locks/free", b'{"ttl": 30}'),
    Sample("/v1/locks/{name}", "DELETE", f"/v1/locks/lock?token={token_of(b'lock')}"),
    *_both("/v1/elections/{name}", "/v1/elections/election"),
    Sample(
        "/v1/elections/{name}",
        "POST",
        "/v1/elections/free",
        b'{"ttl": 30, "value": "n1"}',
    ),
    Sample(
        "/v1/elections/{name}",
        "PUT",
        f"/v1/elections/election?token={token_of(b'election')}",
        b"n1",
    ),
    Sample(
        "/v1/elections/{name}",
        "DELETE",
        f"/v1/elections/election?token={token_of(b'election')}",
    ),
    Sample("/v1/watch", "GET", "/v1/watch?wait=0s"),
    Sample("/v1/compaction", "POST", "/v1/compaction?revision=3"),
    Sample("/v1/backup", "GET", "/v1/backup"),
    *_both("/v1/members", "/v1/members"),
    Sample("/v1/members/{id}", "DELETE", f"/v1/members/{MEMBER}"),
    Sample("/v1/members/{id}/promote", "POST", f"/v1/members/{MEMBER}/promote"),
    Sample("/v1/members/{id}/demote", "POST", f"/v1/members/{MEMBER}/demote"),
    Sample("/v1/members/{id}/spare", "POST", f"/v1/members/{MEMBER}/spare"),
    *_both("/v1/caretaker", "/v1/caretaker"),
    Sample("/v1/caretaker", "POST", "/v1/caretaker", b'{"voters": 5}'),
    Sample(
        "/v1/members/{id}/replace",
        "POST",
        f"/v1/members/{MEMBER}/replace",
        b'{"with": "%b"}' % OTHER.encode(),
    ),
    *_both("/v1/tokens", "/v1/tokens"),
    Sample("/v1/tokens", "POST", "/v1/tokens?role=replica"),
    Sample("/v1/tokens/{id}", "DELETE", f"/v1/tokens/{MEMBER}"),
    Sample("/v1/leader", "POST", "/v1/leader"),
    *_both("/v1/status", "/v1/status"),
    *_both("/v1/openapi.json", "/v1/openapi.json"),
    *_both("/livez", "/livez"),
    *_both("/livez/{check}", "/livez/process"),
    *_both("/readyz", "/readyz"),
    *_both("/readyz/{check}", "/readyz/linearizable_read?verbose"),
    *_both("/metrics", "/metrics"),
    *_both("/version", "/version"),
    *_both("/health", "/health"),
)

# As etcd's: a parameter that is not known means nothing there, nor one that is twice.
PROBES = ("/health", "/livez", "/livez/{check}", "/readyz", "/readyz/{check}")

# What is below /v3/, by its path there; a stream is given up once it has begun.
ETCD: dict[str, bytes] = {
    "kv/range": b'{"key": "YQ=="}',
    "kv/put": b'{"key": "YQ==", "value": "dg=="}',
    "kv/deleterange": b'{"key": "YQ=="}',
    "kv/txn": b'{"success": [{"request_range": {"key": "YQ=="}}]}',
    "kv/compaction": b'{"revision": 3}',
    "lease/grant": b'{"TTL": 30}',
    "lease/revoke": b'{"ID": "%d"}' % LEASE,
    "lease/keepalive": b'{"ID": "%d"}' % LEASE,
    "lease/timetolive": b'{"ID": "%d"}' % LEASE,
    "lease/leases": b"{}",
    "kv/lease/revoke": b'{"ID": "%d"}' % LEASE,
    "kv/lease/timetolive": b'{"ID": "%d"}' % LEASE,
    "kv/lease/leases": b"{}",
    "watch": b'{"create_request": {"key": "YQ=="}}',
    "lock/lock": b'{"name": "YQ==", "lease": "%d"}' % LEASE,
    "lock/unlock": b'{"key": "YQ=="}',
    "election/campaign": b'{"name": "YQ==", "lease": "%d"}' % LEASE,
    "election/proclaim": b'{"leader": {"key": "YQ==", "rev": 2}}',
    "election/leader": b'{"name": "YQ=="}',
    "election/observe": b'{"name": "YQ=="}',
    "election/resign": b'{"leader": {"key": "YQ==", "rev": 2}}',
    "cluster/member/list": b"{}",
    "cluster/member/remove": b'{"ID": "178"}',
    "cluster/member/promote": b'{"ID": "178"}',
    "maintenance/status": b"{}",
    "maintenance/hash": b"{}",
    "maintenance/alarm": b'{"action": "GET"}',
    "maintenance/transfer-leadership": b'{"targetID": "178"}',
    "maintenance/defragment": b"{}",
    "auth/status": b"{}",
    "auth/disable": b"{}",
    "auth/authenticate": b'{"name": "root", "password": "x"}',
}

NATIVE: dict[RequestKind, bytes] = {
    RequestKind.PING: b"",
    RequestKind.WRITE: encode_put(b"a", b"v"),
    RequestKind.GET: encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, b"a")),
    RequestKind.RANGE: encode_range(RangeRequest(Level.LINEARIZABLE, 0, 0, b"a", b"")),
    RequestKind.STATUS: b"",
    RequestKind.WATCH: encode_watch(WatchRequest(b"a", b"")),
    RequestKind.CANCEL: encode_cancel(1),
    RequestKind.MEMBERS: b"",
    RequestKind.MOVE_LEADER: encode_move_leader(0),
}
