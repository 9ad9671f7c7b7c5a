"""etcd3-py, a client of etcd's gateway: keys, transactions, leases, locks, watches.

Law: nothing of etcd3-py is changed. Run with the port of a node; ends with 0 when
everything was as it should be.
"""

# pyright: basic, reportMissingImports=false
import sys
import time
from collections.abc import Callable

from etcd3 import Client

PATIENCE_S = 60


def wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


client = Client("127.0.0.1", int(sys.argv[1]))
assert client.version().etcdserver.startswith("3.")
assert client.status().version
assert client.member_list().members
client.put("foo", "bar")
(record,) = client.range("foo").kvs
assert (record.key, record.value, record.version) == (b"foo", b"bar", 1)
(gone,) = client.delete_range("foo", prev_kv=True).prev_kvs
assert gone.value == b"bar"

txn = client.Txn()
txn.compare(txn.key("foo").version == 0)
txn.success(txn.put("foo", "1"))
txn.failure(txn.range("foo"))
assert txn.commit().succeeded

lease = client.lease_grant(60).ID
client.put("leased", "x", lease=lease)
left = client.lease_time_to_live(lease, keys=True)
assert left.keys == [b"leased"]
client.lease_keep_alive_once(lease)
client.lease_revoke(lease)
assert not client.range("leased").kvs

lock = client.Lock("lock", lock_ttl=60)
lock.acquire()
lock.release()

seen: list[tuple[bytes, bool]] = []
watcher = client.Watcher(key="seen/", prefix=True)
watcher.onEvent(lambda event: seen.append((event.key, event.type.value == "PUT")))
watcher.runDaemon()
wait(lambda: watcher.watching)
client.put("seen/1", "a")
client.delete_range("seen/1")
wait(lambda: len(seen) == 2)
assert seen == [(b"seen/1", True), (b"seen/1", False)], seen
watcher.stop()

client.compact(client.put("foo", "2").header.revision)
client.defragment()
assert client.hash().hash
