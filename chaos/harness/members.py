"""Members that come, change and go under load, restarts, backups, another CA.

Law: an operator's work and nothing else: what is wished is asked for through the client
until it is written, and the strike is over when the cluster is there. Who was removed
ends by itself; its folder is emptied, and somebody new may begin in it under its name.
The first node signs certificates, and so it always stays. Links may be cut
meanwhile: what could not be asked for is asked for again, as an operator would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from ...client import (
    Held,
    MemberNotFound,
    QuorateError,
    Rejected,
)
from ...node.launcher import COMMAND
from ...wire import Member
from .cluster import Cluster, Node
from .errors import SetupFailed, Violated
from .faults import Fault
from .history import History, Start
from .ledger import Ledger
from .machines import FAILED, Machines, Strike
from .verdict import Violation
from .workload import Clock

T = TypeVar("T")

# Far more than it takes: where much else runs, a snapshot alone may take a minute.
CHANGED_SECONDS_MAX: Final = 240.0
# Of an hour's load it may be a gigabyte, on a machine that has other things to do.
SAVED_SECONDS_MAX: Final = 120.0
ASK_SECONDS: Final = 2.0
VOTERS_MIN: Final = 3
_POLL_SECONDS: Final = 0.1


class Saved(msgspec.Struct):
    """The part of what `quorate backup save` says that a run looks at."""

    revision: int


class Members:
    """Does to the members of a cluster what faults say."""

    def __init__(
        self,
        cluster: Cluster,
        history: History,
        clock: Clock,
        ledger: Ledger,
    ) -> None:
        self.cluster = cluster
        self.history = history
        self.clock = clock
        self.ledger = ledger
        self.machines = Machines(cluster, history, clock)
        self._saved = 0

    async def strike(
        self, fault: Fault, target: Node, struck: "asyncio.Future[float]"
    ) -> Strike:
        """Do it, until the cluster is there; `struck` learns when it began."""
        at_s = self.clock.now()
        struck.set_result(at_s)
        who = [target]
        match fault.kind:
            case "join":
                who = [await self._join()]
            case "promote":
                who = [await self._promote(await self._replica())]
            case "demote":
                who = [await self._demote(target)]
            case "remove":
                who = [await self._remove(target)]
            case "replace":
                who = [await self._replace(target)]
            case "move-leader":
                who = [await self._move_leader()]
            case "rolling-restart":
                who = await self._restart_all()
            case "rotate-ca":
                await self._rotate(target)
                who = list(self.cluster.nodes)
            case _:
                assert fault.kind == "backup", fault.kind
                await self._save(target)
        return Strike(at_s, 1, who=tuple(node.name for node in who))

    # -- what an operator does ---------------------------------------------------------

    async def _join(self) -> Node:
        """A new member, which does not vote.

        Where nobody can let it in while links are cut, it is asked for again.
        """
        node = self.cluster.spares.pop(0)
        at_s = self.clock.now()
        while True:
            try:
                if await self.cluster.start_unless_refused(node):
                    break
                found = node.process.last_words()
            except SetupFailed as error:
                found = str(error)
            if self.clock.now() > at_s + CHANGED_SECONDS_MAX:
                raise self._stuck(node, found)
            await asyncio.sleep(_POLL_SECONDS)
        self.history.record(Start(at_s, node.name, self.clock.now()))
        self.cluster.nodes.append(node)
        return node

    async def _replica(self) -> Node:
        """One that does not vote; a new one if there is none."""
        voters = await self._voters()
        for node in self.cluster.nodes:
            if node.name not in voters:
                return node
        return await self._join()

    async def _promote(self, node: Node) -> Node:
        await self._ask(
            lambda one: one.control.promote_member(node.name, timeout=ASK_SECONDS)
        )
        await self._until(node, lambda member: member is not None and member.votes)
        return node

    async def _demote(self, target: Node) -> Node:
        """A voter stays without its vote, if enough others have one."""
        node = await self._voter(target)
        await self._keep_enough(node)
        await self._ask(
            lambda one: one.control.demote_member(node.name, timeout=ASK_SECONDS)
        )
        await self._until(node, lambda member: member is not None and not member.votes)
        return node

    async def _remove(self, target: Node) -> Node:
        node = await self._voter(target)
        await self._keep_enough(node)
        node.may_end = True
        await self._ask(
            lambda one: one.control.remove_member(node.name, timeout=ASK_SECONDS),
            MemberNotFound,
        )
        await self._until(node, lambda member: member is None)
        await self._bury(node)
        return node

    async def _replace(self, target: Node) -> Node:
        """Another one takes the place of a voter in one step."""
        node = await self._voter(target)
        heir = await self._replica()
        node.may_end = True
        await self._ask(
            lambda one: one.control.replace_member(
                node.name, heir.name, timeout=ASK_SECONDS
            ),
            MemberNotFound,
        )
        await self._until(heir, lambda member: member is not None and member.votes)
        await self._until(node, lambda member: member is None)
        await self._bury(node)
        return node

    async def _move_leader(self) -> Node:
        """Asked of who leads, until another one does; who it was.

        When it is answered it is only begun; it is given up where links are cut.
        """
        was = await self.cluster.find_leader(CHANGED_SECONDS_MAX)
        deadline_s = self.clock.now() + CHANGED_SECONDS_MAX
        while True:
            await self._ask(
                lambda one: one.control.move_leader(timeout=ASK_SECONDS), first=was
            )
            again_s = self.clock.now() + ASK_SECONDS
            while self.clock.now() < again_s:
                leading = await self.cluster.leader()
                if leading is not None and leading[0] is not was:
                    return was
                await asyncio.sleep(_POLL_SECONDS)
            if self.clock.now() > deadline_s:
                raise self._stuck(was, "it leads, and was told to hand over")

    async def _restart_all(self) -> list[Node]:
        """One after the other, each when the one before has answered."""
        everybody = list(self.cluster.nodes)
        for node in everybody:
            await self.cluster.end([node])
            await self.machines.start(node)
        return everybody

    async def _save(self, target: Node) -> None:
        """A backup through one node has all that was acknowledged before it."""
        before = self.ledger.newest_revision
        self._saved += 1
        file = target.local.directory / f"backup-{self._saved}"
        expected = f"a whole backup, with all up to revision {before}"
        deadline_s = self.clock.now() + CHANGED_SECONDS_MAX
        while True:
            code, out, said = await run_quorate(
                SAVED_SECONDS_MAX,
                *("backup", "save", str(file), "--endpoints", str(target.local.client)),
                *("--output", "json", "--timeout", "30s"),
            )
            if not code:
                break
            # Who hears of no majority has nothing to save from.
            if self.clock.now() > deadline_s:
                raise Violated(Violation("no backup", target.name, expected, said))
            await asyncio.sleep(_POLL_SECONDS)
        saved = msgspec.json.decode(out, type=Saved)
        file.unlink()
        if saved.revision < before:
            found = f"one of revision {saved.revision}"
            raise Violated(Violation("lost write", target.name, expected, found))

    async def _rotate(self, target: Node) -> None:
        """Another CA in the place of the one there is; nobody may notice.

        Given again, the command goes on where it was.
        """
        deadline_s = self.clock.now() + CHANGED_SECONDS_MAX
        while True:
            up = [node for node in self.cluster.nodes if node.up.is_set()]
            endpoints = ",".join(str(node.local.client) for node in up)
            code, _, said = await run_quorate(
                CHANGED_SECONDS_MAX,
                *("certs", "rotate", str(self.cluster.authority), "--wait", "60s"),
                *("--endpoints", endpoints or str(target.local.client)),
            )
            if not code:
                return
            if self.clock.now() > deadline_s:
                raise self._stuck(target, said)
            await asyncio.sleep(_POLL_SECONDS)

    # -- getting there -----------------------------------------------------------------

    async def _voter(self, target: Node) -> Node:
        """Who is meant, or another voter; never the first, which signs, and never
        the one that may be damaged: it would have to be another one then.
        """
        voters = await self._voters()
        stay = (self.cluster.nodes[0], self.cluster.damaged)
        able = [n for n in self.cluster.nodes if n.name in voters and n not in stay]
        return target if target in able else able[0]

    async def _keep_enough(self, node: Node) -> None:
        """Somebody else votes first, where too few would be left."""
        voters = await self._voters()
        if len(voters - {node.name}) < VOTERS_MIN:
            await self._promote(await self._replica())

    async def _voters(self) -> set[str]:
        return {member.name for member in await self._members() if member.votes}

    async def _members(self) -> Sequence[Member]:
        async def ask(one: Node) -> Sequence[Member]:
            return (await one.control.members(timeout=ASK_SECONDS)).members

        return await self._ask(ask) or ()

    async def _ask(
        self,
        asking: Callable[[Node], Awaitable[T]],
        done: type[QuorateError] = Held,
        first: Node | None = None,
    ) -> T | None:
        """Ask one node after the other until one does it; `done` means that it was.

        A wish that is written twice is the same wish.
        """
        deadline_s = self.clock.now() + CHANGED_SECONDS_MAX
        while True:
            up = [node for node in self.cluster.nodes if node.up.is_set()]
            for one in sorted(up, key=lambda node: node is not first):
                try:
                    return await asking(one)
                except done:
                    return None
                except QuorateError as error:
                    final = isinstance(error, Rejected) and not error.retryable
                    if final or self.clock.now() > deadline_s:
                        raise self._stuck(one, str(error)) from error
            await asyncio.sleep(_POLL_SECONDS)

    async def _until(self, node: Node, there: Callable[[Member | None], bool]) -> None:
        """Wait until the cluster has done what it was told about a member."""
        deadline_s = self.clock.now() + CHANGED_SECONDS_MAX
        while True:
            known = {member.name: member for member in await self._members()}
            if there(known.get(node.name)):
                return
            if self.clock.now() > deadline_s:
                raise self._stuck(node, str(known.get(node.name)))
            await asyncio.sleep(_POLL_SECONDS)

    async def _bury(self, node: Node) -> None:
        """It ends by itself, and its folder is somebody else's from now on."""
        deadline_s = self.clock.now() + CHANGED_SECONDS_MAX
        while node.process.alive:
            if self.clock.now() > deadline_s:
                raise self._stuck(node, "it was removed, and runs")
            await asyncio.sleep(_POLL_SECONDS)
        await self.cluster.bury(node, FAILED)
        self.cluster.nodes.remove(node)
        self.cluster.empty(node)

    def _stuck(self, node: Node, found: str) -> Violated:
        expected = f"what was wished for, within {CHANGED_SECONDS_MAX:g} s"
        return Violated(Violation("no progress", node.name, expected, found))


async def run_quorate(seconds_max: float, *words: str) -> tuple[int, bytes, str]:
    """What a command ended with, printed and said; it is ended with this.

    One that takes longer than it may is one that failed.
    """
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds_max):
            out, said = await process.communicate()
    except TimeoutError:
        return -1, b"", f"`quorate {' '.join(words)}` took more than {seconds_max:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out, said.decode(errors="replace")
