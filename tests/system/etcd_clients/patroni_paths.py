"""Patroni's own view of etcd (patroni.dcs.etcd3), used as its daemon does.

Law: nothing of Patroni is changed; two "databases" want to lead one cluster. Run with
the ports of the nodes; ends with 0 when everything was as it should be. Patroni reads
from a cache that a watch keeps, so what was written is waited for.
"""

# pyright: basic, reportMissingImports=false
import sys
import time
from collections.abc import Callable

from patroni.dcs import get_dcs

PORTS = [int(each) for each in sys.argv[1:]]
PATIENCE_S = 60


def database(name: str):
    """One node of a PostgreSQL cluster."""
    return get_dcs(
        {
            "name": name,
            "scope": "demo",
            "namespace": "/service/",
            "ttl": 15,
            "loop_wait": 2,
            "retry_timeout": 5,
            "etcd3": {"hosts": [f"127.0.0.1:{port}" for port in PORTS]},
        }
    )


def wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


def said(role: str) -> dict[str, str]:
    return {
        "conn_url": f"postgres://{role}",
        "api_url": f"http://{role}",
        "state": "running",
        "role": role,
        "version": "4",
    }


first, second = database("pg1"), database("pg2")
assert first.get_cluster().initialize is None
assert first.initialize(create_new=True, sysid="1234")
assert not second.initialize(create_new=True, sysid="999")
assert first.touch_member(said("primary"))
assert second.touch_member(said("replica"))
assert first.attempt_to_acquire_leader()
assert not second.attempt_to_acquire_leader()
assert first.set_config_value('{"ttl": 15}')
assert first.set_history_value("[]")
wait(lambda: second.get_cluster().leader)
cluster = second.get_cluster()
assert cluster.leader.name == "pg1"
assert sorted(each.name for each in cluster.members) == ["pg1", "pg2"]
assert cluster.initialize == "1234"
wait(lambda: second.get_cluster().config)
assert first.update_leader(cluster, 100)
assert first.set_failover_value('{"leader": "pg1"}')
wait(lambda: second.get_cluster().failover)
assert first.delete_leader(second.get_cluster().leader)
wait(second.attempt_to_acquire_leader)
wait(lambda: first.get_cluster().leader and first.get_cluster().leader.name == "pg2")
assert second.set_sync_state_value('{"leader": "pg2"}')
assert second.delete_cluster()
wait(lambda: second.get_cluster().leader is None)
# The watcher threads of Patroni are daemons: nothing is left behind.
