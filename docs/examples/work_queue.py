"""A work queue: jobs in order, each done by one worker, and none lost when one dies.

A worker takes a job by putting a claim on its own lease, in one transaction with the
look whether anybody else has. When it dies its claims go, and others take the jobs. A
job is finished in one transaction, too: its result is there exactly when it is not.
"""

import threading

from quorate import Client, Txn


def add(kv: Client, text: str) -> int:
    """Append a job. Its number is the revision of the write that counted it."""
    number = kv.put("queue/counter", "")
    kv.put(f"queue/jobs/{number:016x}", text)
    return number


def take(kv: Client, lease: int) -> tuple[str, str] | None:
    """The oldest job that nobody has: its number and its text."""
    for job in kv.range("queue/jobs/"):
        number = job.key.decode().rpartition("/")[2]
        claim = f"queue/claims/{number}"
        txn = Txn().if_absent(claim).if_revision(job.key, job.mod_revision)
        if kv.commit(txn.put(claim, "", lease=lease)):
            return number, job.text
    return None


def finish(kv: Client, lease: int, number: str, result: str) -> bool:
    """Say what came of it, if the claim is still ours: somebody else may have it."""
    job, claim = f"queue/jobs/{number}", f"queue/claims/{number}"
    txn = Txn().if_lease(claim, lease).if_exists(job)
    txn.put(f"queue/results/{number}", result).delete(job).delete(claim)
    return kv.commit(txn).succeeded


def work(endpoints: str | None = None) -> int:
    """Do jobs until none is left; how many this worker did."""
    done = 0
    with Client(endpoints) as kv, kv.lease(10) as lease:
        while (job := take(kv, lease.id)) is not None:
            number, text = job
            done += finish(kv, lease.id, number, text.upper())
    return done


def main() -> None:
    with Client() as kv:
        for text in ("wash", "dry", "fold", "iron"):
            add(kv, text)
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(*[result.text for result in kv.range("queue/results/")])


if __name__ == "__main__":
    main()
