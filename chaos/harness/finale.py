"""The end of a run: all nodes agree, and all that was acknowledged is there.

Law: asked when the load has ended and every node is up; nothing here writes. Each node
is asked by itself, for every key, with linearizable reads: key by key, and as a range,
which must hold no key that nobody wrote. When nothing can be asked any more, the run's
operations are judged as a whole, by checkers that know nothing of the ledger.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from ...client import KeyValue, QuorateError
from ..histories import check_linearizable, check_replay
from .errors import Violated
from .history import LAST_READER, MICROSECONDS, History, Recording, record_get
from .ledger import Found, Ledger
from .served import Endpoint, Front, NodeStatus, describe
from .verdict import Violation
from .workload import PREFIX, Clock

AGREE_SECONDS_MAX: Final = 60.0
READ_SECONDS_MAX: Final = 30.0
HASHES_SECONDS_MAX: Final = 10.0
GETS_AT_ONCE: Final = 32
_POLL_SECONDS: Final = 0.05
# What the broken invariant of an objection is called here.
_KINDS: Final = {
    "I-16": "lost write",
    "I-40": "stale read",
    "I-44": "wrong revision",
    "I-54": "refused write applied",
    "linearizability": "not linearizable",
}


async def check_all(
    cluster: Front,
    ledger: Ledger,
    recording: Recording,
    history: History,
    clock: Clock,
    prefix: str = PREFIX,
) -> str:
    """Everything above; a line that says what was compared. Raises Violated."""
    told = await wait_for_agreement(cluster)
    problem = hashes_differ(told)
    if problem is not None:
        raise Violated(problem)
    count = await read_all(cluster, ledger, recording, history, clock, prefix)
    return (
        f"{len(told)} nodes at index {told[0].applied_index} with state hash"
        f" {told[0].state_hash}, {count} keys read through each"
    )


async def read_all(
    cluster: Front,
    ledger: Ledger,
    recording: Recording,
    history: History,
    clock: Clock,
    prefix: str,
) -> int:
    """Every key, through every node; how many there are. Raises Violated."""
    count = 0
    for node in cluster.nodes:
        await check_keys(node, ledger, recording, history, clock)
        count = await _check_range(node, ledger, clock, prefix)
    return count


class Compared(msgspec.Struct, frozen=True):
    """At how many indexes nodes had one hash, and whose was beside no other's."""

    indexes: int
    alone: Sequence[str]

    @property
    def reasons(self) -> list[str]:
        """Why nothing is shown by it; empty when each node was compared."""
        return [
            f"{name} was seen at no index with another node: its hash was not compared"
            for name in self.alone
        ]


def compared_all(cluster: Front, count: int, compared: Compared) -> str:
    """What is said of so many keys, and of hashes."""
    return (
        f"{count} keys read through each of {len(cluster.nodes)} nodes; state hashes"
        f" were the same at {compared.indexes} indexes that nodes shared"
    )


async def compare_hashes(cluster: Front) -> Compared:
    """That no two nodes differ, where others may be writing.

    Looks for HASHES_SECONDS_MAX at most, or until all nodes are at rest at one index.
    Raises Violated.
    """
    found: dict[int, dict[str, NodeStatus]] = {}
    deadline = time.monotonic() + HASHES_SECONDS_MAX
    at_rest = False
    while not at_rest and time.monotonic() < deadline:
        told = await cluster.statuses()
        at_rest = settled(told)
        for status in told:
            if status is not None:
                those = found.setdefault(status.applied_index, {})
                # Also beside what the same node has told of the same index.
                problem = hashes_differ([*those.values(), status])
                if problem is not None:
                    raise Violated(problem)
                those[status.name] = status
        await asyncio.sleep(_POLL_SECONDS)
    shared = [those for those in found.values() if len(those) > 1]
    names = [node.name for node in cluster.nodes] if len(cluster.nodes) > 1 else []
    alone = [name for name in names if not any(name in those for those in shared)]
    return Compared(len(shared), alone)


async def wait_for_agreement(cluster: Front) -> list[NodeStatus]:
    """Wait until all nodes have applied the same, and everything they have."""
    deadline = time.monotonic() + AGREE_SECONDS_MAX
    while True:
        told = await cluster.statuses()
        if settled(told):
            return [status for status in told if status is not None]
        if time.monotonic() > deadline:
            raise Violated(
                Violation(
                    "no agreement",
                    "all nodes",
                    f"one applied index within {AGREE_SECONDS_MAX:g} s, none pending",
                    describe(cluster.nodes, told),
                )
            )
        await asyncio.sleep(_POLL_SECONDS)


def settled(told: Sequence[NodeStatus | None]) -> bool:
    """Whether all nodes answer and have applied one index, the last they know of."""
    indexes: set[int] = set()
    for status in told:
        if status is None or status.proposals_pending:
            return False
        indexes |= {status.applied_index, status.commit_index, status.last_index}
    leaders = [s for s in told if s is not None and s.role == "leader"]
    return len(indexes) == 1 and len(leaders) == 1


def hashes_differ(told: Sequence[NodeStatus]) -> Violation | None:
    """The same log must have led to the same state."""
    assert len({status.applied_index for status in told}) == 1
    if len({status.state_hash for status in told}) == 1:
        return None
    return Violation(
        "states differ",
        "all nodes",
        f"one state hash at index {told[0].applied_index}",
        ", ".join(f"{status.name}: {status.state_hash}" for status in told),
    )


async def _check_range(
    node: Endpoint, ledger: Ledger, clock: Clock, prefix: str
) -> int:
    """The whole range through one node; how many keys it has."""
    missing = set(ledger.keys)
    count = 0
    try:
        pager = node.clients[0].range(prefix, timeout=READ_SECONDS_MAX)
        async for entry in pager:
            key = entry.key.decode("ascii", "backslashreplace")
            missing.discard(key)
            count += 1
            _check(ledger, key, node, entry, clock)
    except QuorateError as error:
        raise _no_answer(node, prefix, error) from error
    for key in sorted(missing):
        _check(ledger, key, node, None, clock)
    return count


async def check_keys(
    node: Endpoint,
    ledger: Ledger,
    recording: Recording,
    history: History,
    clock: Clock,
) -> None:
    """Every key through one node, some at a time."""
    left = iter(ledger.keys)

    async def check_some() -> None:
        for key in left:
            began_s = clock.now()
            operation = recording.read_begins(key, LAST_READER, began_s)
            try:
                entry = await node.clients[0].get(key, timeout=READ_SECONDS_MAX)
            except QuorateError as error:
                raise _no_answer(node, key, error) from error
            found = _found(entry)
            counter = record_get(
                *(history, LAST_READER, node.name, key, began_s, clock.now()),
                found,
                ledger.value_bytes,
            )
            _check(ledger, key, node, entry, clock)
            revision = 0 if found is None else found.revision
            recording.read_ends(operation, counter, revision, clock.now())

    async with asyncio.TaskGroup() as group:
        for _ in range(GETS_AT_ONCE):
            group.create_task(check_some())


def check_recording(recording: Recording) -> str:
    """Judge the operations that were kept; what was looked at. Raises Violated."""
    operations = recording.operations
    verdict = check_linearizable(operations)
    objection = check_replay(operations) or verdict.objection
    if objection is not None:
        operation = objection.operation
        key = b"" if operation is None else operation.key
        raise Violated(
            Violation(
                _KINDS[objection.invariant],
                key.decode(),
                f"an order of {len(operations)} operations that explains every answer",
                str(objection),
                None if operation is None else operation.start / MICROSECONDS,
            )
        )
    return (
        f"replay and linearizability each looked at {len(operations)} operations,"
        f" {verdict.undecided} keys undecided; {recording.left_out} operations left out"
        f"{_sample(recording)}"
    )


def _sample(recording: Recording) -> str:
    one_in = recording.one_in
    if one_in == 1:
        return ""
    workloads = " and of workloads" if recording.spares else ""
    return f", all but those of one key in {one_in}{workloads}"


def _check(
    ledger: Ledger, key: str, node: Endpoint, entry: KeyValue | None, clock: Clock
) -> None:
    problem = ledger.check_final(key, node.name, _found(entry), clock.now())
    if problem is not None:
        raise Violated(problem)


def _found(entry: KeyValue | None) -> Found | None:
    if entry is None:
        return None
    return Found(entry.value, entry.mod_revision, entry.version)


def _no_answer(node: Endpoint, what: str, error: QuorateError) -> Violated:
    return Violated(
        Violation(
            "no progress",
            node.name,
            f"a linearizable read of {what} within {READ_SECONDS_MAX:g} s",
            f"{type(error).__name__}: {error.reason}",
        )
    )
