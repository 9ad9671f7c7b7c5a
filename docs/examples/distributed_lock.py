"""A lock over many machines, and why its token matters.

Whoever is paused while it holds the lock does not notice that it has lost it. So every
write under the lock carries the token: the cluster refuses it when the lock is gone.
"""

from quorate import Client
from quorate.client import Fenced, Held


def report_once(kv: Client, text: str) -> bool:
    """Write the report, unless somebody else is at it or was faster."""
    try:
        with kv.lock("report", ttl=10, wait=0) as lock:
            if kv.get("reports/today") is None:
                kv.put("reports/today", text, fence=lock.token)
                return True
            return False
    except (Held, Fenced):
        return False


def main() -> None:
    with Client() as kv:
        print("first:", report_once(kv, "all is well"))
        print("second:", report_once(kv, "nothing is"))
        with kv.lock("report", ttl=10) as lock:
            lost = lock.token
        try:
            kv.put("reports/today", "too late", fence=lost)
        except Fenced:
            print("the old token is refused")


if __name__ == "__main__":
    main()
