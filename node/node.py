"""A node: one replica, its peers, its clients, in one object.

Law: a shell. `async with Node(config)` runs it; uvloop, signals, the collector and exit
codes belong to the process (node/process). A fatal disk error ends the object: `failed`
then holds it, and nothing is retried (I-19).
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from .. import __version__
from ..raft import Configuration, InstallSnapshot, Options, Raft
from ..storage.engine import Worker
from ..storage.env import Env, RealEnv
from ..storage.errors import CorruptionError, is_no_space
from ..storage.journal import JournalOptions
from ..wire import ErrorCode, Level, Limits, RequestKind
from .admission import Admission
from .api import service
from .api.listener import Listener, start_listener
from .api.options import ApiOptions
from .api.service import Member, Position, Sink, WatchSink
from .backups import Backups
from .booting import boot
from .client_tls import LOOK_S, ClientTlsFiles
from .client_tokens import read_token_digests
from .config import NodeConfig
from .credentials import Credentials
from .descriptors import room_for_clients
from .ending import end
from .figures import gather
from .gossiping import Gossiping
from .identity import LOCK_FILE, Identity, RemovedMember
from .logs import Sparing
from .loop import ReplicaLoop
from .membership import TOLD, tell
from .peer_hello import HelloError, Introduction, Stream
from .peers_file import Met
from .replica import (
    ForwardReply,
    ForwardRequest,
    PeerMessage,
    Replica,
    ReplicaOptions,
    Request,
)
from .replica.requests import refuse
from .roster import Roster
from .scrubber import Scrubber
from .signing import Signer
from .snapshots import Snapshots
from .stable import NotBootstrapped, Stable, StableOptions, engine_options
from .statistics import Statistics
from .timings import NodeTimings
from .tls import PeerCertificate
from .transport import Session, Transport

_WRITE = int(RequestKind.WRITE)
# A linearizable read begins with this.
_LINEARIZABLE = bytes([Level.LINEARIZABLE])
# Lines of the log about peers that were refused, in ten seconds.
REFUSALS_MAX = 100
logger = logging.getLogger("quorate.node")


class Node:
    """One member of a cluster, running in the current event loop.

    Raises in `start`: TlsError, TokenFileError, IdentityError, DirectoryLocked,
    CorruptionError, NotBootstrapped, OSError.
    """

    def __init__(self, config: NodeConfig, env: Env | None = None) -> None:
        self.config = config
        self.env: Env = env or RealEnv()
        self.started_s = time.monotonic()
        self.failed: asyncio.Future[BaseException] | None = None
        self.random = random.Random()
        self.identity: Identity
        self.cluster_id = 0
        self.member_id = 0
        self.urls: dict[int, str] = {}
        self.refused_peers = 0
        self.refusals = Sparing(REFUSALS_MAX)
        self.tasks: set[asyncio.Task[None]] = set()
        self.polite: set[int] = set()
        self.broken: set[int] = set()
        self.stopping = False
        self.deaf = False
        self.parting = False
        self.introduced = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- life ----------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data directory, the peer port, then the client port."""
        config, env = self.config, self.env
        self.failed = asyncio.get_running_loop().create_future()
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="quorate-files")
        env.make_directory(config.data_dir)
        self.lock = env.lock(f"{config.data_dir}/{LOCK_FILE}")
        try:
            await self._open()
        except BaseException:
            if hasattr(self, "loop"):
                await self.loop.close()
            self.executor.shutdown()
            if hasattr(self, "stable"):
                self.stable.close()
            self.lock.release()
            raise

    async def _open(self) -> None:
        config = self.config
        token_file = config.client.token_file
        self.token_digests = read_token_digests(token_file) if token_file else ()
        client = config.client
        self.client_tls = (
            ClientTlsFiles(client, config.client_address) if client.cert else None
        )
        self.credentials = Credentials(self)
        async with boot(self):
            await self._begin()

    async def _begin(self) -> None:
        config, env = self.config, self.env
        self.cluster_id = self.identity.cluster_id
        self.member_id = self.identity.member_id
        self.met = Met(env, config.data_dir, self.executor)
        # A worker process has the real disk, and no other.
        jobs = Worker if isinstance(env, RealEnv) else None
        engine = engine_options(config.storage.compression, config.limits.cache_bytes)
        self.stable = Stable(
            env,
            config.data_dir,
            self.cluster_id,
            StableOptions(JournalOptions(owner=self.member_id), engine, jobs),
        )
        salt = random.SystemRandom().getrandbits(64) or 1
        try:
            opened = self.stable.open(
                None if self.met.begun else _bootstrap(self.identity),
                salt,
                lambda: random.SystemRandom().randbytes(16),
            )
        except NotBootstrapped as error:
            # It has voted, and would vote again (I-25).
            raise NotBootstrapped(
                f"{self.stable.store_dir} is empty, and was not: is its disk mounted?"
                " A member that has lost its data is replaced by a new one"
            ) from error
        self.met.begin()
        options = Options(
            id=self.member_id,
            jitter=self.random.randrange,
            boot=self.identity.boot_count,
        )
        raft = Raft(
            options, opened.snapshot, opened.hard_state, opened.entries, opened.doubt
        )
        self.replica = Replica(
            ReplicaOptions(
                limits=_limits(config),
                requests_max=config.limits.requests_in_flight_max,
                history_revisions=config.limits.history_revisions,
                history_ms=config.limits.history_seconds * 1000,
            ),
            raft,
            opened.database,
            self.random.randrange,
            opened.damage,
        )
        if opened.doubt is not None:
            logger.warning("the journal's last batch is in doubt: %s", opened.doubt)
        self.credentials.start()
        self.transport = Transport(self, *self.credentials.contexts, self.random.random)
        self.roster = Roster(self)
        self.gossiping = Gossiping(self)
        self.admission = Admission(self)
        self.signer = Signer(self)
        self.backups = Backups(self)
        self.snapshots = Snapshots(self)
        self.loop = ReplicaLoop(
            self.replica,
            self.stable,
            self._send,
            self.fail,
            config.limits.journal_reserve_bytes,
            self._ticked,
        )
        await self.transport.listen(config.peer_listen)
        self.roster.start()
        self.listener: Listener = await start_listener(
            self, config.client_listen.host, config.client_listen.port, self._api()
        )
        if self.client_tls is not None:
            self.background(self._keep_client_tls(self.client_tls))
        self.loop.start()
        self.gossiping.start()
        self.scrubber = Scrubber(
            self.replica.database.store,
            self.executor,
            self._rotten,
            config.limits.scrub_bytes_per_second,
        )
        if config.limits.scrub_bytes_per_second:
            self.background(self.scrubber.run())
        logger.info(
            "%s is member %016x of cluster %016x, boot %d, clients at %s, peers at %s",
            config.name,
            self.member_id,
            self.cluster_id,
            self.identity.boot_count,
            config.client_url,
            config.peer_listen,
        )

    async def _keep_client_tls(self, files: ClientTlsFiles) -> None:
        """Take new certificates, and end who came with one that is good no more."""
        while True:
            await asyncio.sleep(LOOK_S)
            await files.look()
            self.listener.end_overdue(time.time())

    def _ticked(self) -> None:
        self.roster.tick()
        self.gossiping.tick()
        self.credentials.tick()

    def _api(self) -> ApiOptions:
        config = self.config
        return ApiOptions(
            cluster_id=self.cluster_id,
            member_id=self.member_id,
            name=config.name,
            version=__version__,
            token_digests=self.token_digests,
            tls=self.client_tls,
            origins=config.client.origins,
            advertise=config.client_url,
            limits=_limits(config),
            connections_max=room_for_clients(config.limits.connections_max),
        )

    async def stop(self) -> None:
        """Hand leadership over, answer who waits, flush, end."""
        if not self.stopping:
            self.stopping = True
            await end(self)

    def say_goodbye(self, answers: Sequence[ForwardReply]) -> None:
        """To all peers, behind the last answers to them."""
        self.gossiping.leave()
        self.transport.send(list(answers))
        self.transport.say_goodbye()

    def fail(self, error: BaseException) -> None:
        """Something on the disk path failed: the node ends, whatever it was."""
        assert self.failed is not None
        self.loop.stopped = True
        if not self.failed.done():
            logger.critical("the node stops: %s", error)
            self.failed.set_result(error)

    def leave(self, error: RemovedMember) -> None:
        """The cluster has sent this member away: the node ends, in good order."""
        assert self.failed is not None
        if not self.failed.done():
            logger.critical("the node stops: %s", error)
            self.parting = True
            self.failed.set_result(error)

    # -- the client port's service -------------------------------------------------

    def submit(
        self,
        sink: Sink,
        request_id: int,
        kind: int,
        body: bytes,
        timeout_ms: int,
        own: bool = False,
    ) -> None:
        if kind in TOLD:
            sink.reply(request_id, kind, *tell(self, kind, body))
            return
        loop, replica = self.loop, self.replica
        limits = replica.options.limits
        timeout_ms = min(timeout_ms or limits.timeout_ms_default, limits.timeout_ms_max)
        if not loop.planned or (kind != _WRITE and body[:1] != _LINEARIZABLE):
            # Once for all of a turn; what says how stale it is has to know it exactly.
            loop.advance()
        deadline = replica.now_ms + timeout_ms
        request = Request(sink, request_id, kind, body, deadline, own=own)
        if loop.stopped:
            reply = refuse(request, ErrorCode.STOPPING, "this node is shutting down")
            sink.reply(request_id, kind, reply.status, reply.body)
            return
        try:
            replica.submit(request)
        except Exception as error:
            # Half of it may be done, and its connection would go on without knowing.
            self.fail(error)
            raise
        loop.plan_turn()

    def gone(self, sink: WatchSink) -> None:
        self.replica.watching.watches.gone(sink)

    def backup(self, timeout_ms: int) -> AsyncGenerator[bytes]:
        return self.backups.stream(timeout_ms)

    def troubles(self) -> tuple[str, ...]:
        replica = self.replica
        every = {
            service.SHUTTING_DOWN: self.stopping or self.loop.stopped,
            service.NO_LEADER: not replica.raft.leader_id,
            service.DAMAGED: bool(replica.reads.barred),
            service.DISK_FULL: replica.no_space,
        }
        return tuple([trouble for trouble, is_so in every.items() if is_so])

    def statistics(self) -> Statistics:
        return gather(self)

    def timings(self) -> NodeTimings:
        return self.loop.timings

    def position(self) -> Position:
        return Position(self.replica.raft.term, self.replica.database.revision)

    def members(self) -> tuple[Member, ...]:
        return self.roster.members()

    def endpoints(self) -> tuple[str, ...]:
        return self.roster.endpoints()

    @property
    def authority(self) -> str:
        """The CA by which new certificates are made: SHA-256, in hex."""
        return self.credentials.authority()

    # -- the transport's host ------------------------------------------------------

    def introduction(self, to: int) -> Introduction:
        self.introduced = True
        return Introduction(
            self.cluster_id,
            self.member_id,
            to,
            self.identity.boot_count,
            self.identity.boot_nonce,
            self.config.name,
            self.config.client_url,
            self.identity.boot_history,
        )

    def objection(self, shown: PeerCertificate) -> str | None:
        found = self.roster.objection(shown.identity.member_id)
        return found or self.credentials.objection(shown)

    def sent_away(self, shown: PeerCertificate) -> bool:
        ours = shown.identity.cluster_id == self.cluster_id
        removed = self.roster.removed(shown.identity.member_id)
        return ours and (removed or self.credentials.revokes(shown))

    async def renews(self, shown: PeerCertificate, request: bytes) -> bytes:
        return await self.admission.renew(shown, request)

    def was_removed(self, reason: str) -> None:
        self.roster.was_removed(reason)

    async def joins(self, body: bytes, *, relayed: bool) -> bytes:
        return await self.admission.answer(body, relayed=relayed)

    async def meet(self, who: Introduction) -> None:
        if self.met.is_news(who):
            self.roster.refuse_second(who)
        try:
            await self.met.meet(who, self.replica.database.member_table.gone)
        except OSError as error:
            if not is_no_space(error):
                self.fail(error)
            raise HelloError(f"its boot could not be recorded: {error}") from error
        self.urls[who.member_id] = who.client_url

    def received(self, member: int, message: PeerMessage) -> None:
        if self.loop.stopped or (self.deaf and isinstance(message, ForwardRequest)):
            return
        self.broken.discard(member)
        self.loop.step(message)

    def link_up(self, member: int) -> None:
        self.broken.discard(member)
        self.polite.discard(member)

    def link_down(self, member: int, stream: Stream, polite: bool) -> None:
        if self.loop.stopped or stream is Stream.GOSSIP:
            return
        if stream is Stream.FORWARD:
            self.replica.forwarding_ended(member, polite)
        else:
            (self.polite if polite else self.broken).add(member)
            self.replica.peer_lost(member)
        self.loop.plan_turn()

    def link_refused(self, member: int) -> None:
        """Nobody listens where a broken link led: its process is gone."""
        if member in self.broken and member not in self.polite and not self.stopping:
            self.loop.advance()
            self.replica.hints.refused(member)
            self.loop.plan_turn()

    def stranger(self, where: str, reason: str) -> None:
        self.refused_peers += 1
        if not self.refusals.passes(time.monotonic()):
            return
        logger.warning(
            "refused a peer at %s: %s",
            where,
            reason,
            extra={"event": {"event": "refused_peer", "at": where, "reason": reason}},
        )

    def _send(self, messages: list[PeerMessage]) -> list[int]:
        snapshots = [m for m in messages if isinstance(m, InstallSnapshot)]
        for message in snapshots:
            self.background(self.snapshots.send(message))
        if snapshots:
            messages = [m for m in messages if not isinstance(m, InstallSnapshot)]
        unreached = self.transport.send(messages)
        if any(stream is Stream.FORWARD for _, stream in unreached):
            lost = [member for member, stream in unreached if stream is Stream.FORWARD]
            self.replica.writes.not_sent(
                [
                    m.id
                    for m in messages
                    if isinstance(m, ForwardRequest) and m.to in lost
                ]
            )
        return [member for member, stream in unreached if stream is Stream.RAFT]

    def _rotten(self, damage: CorruptionError) -> None:
        """The scrubber's find."""
        self.loop.rotten(damage)
        self.loop.plan_turn()

    def background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def snapshot_stream(self, member: int, session: Session) -> None:
        self.snapshots.take(member, session)

    def gossip_stream(self, member: int, session: Session) -> None:
        self.gossiping.accept(member, session)


def _bootstrap(identity: Identity) -> Configuration:
    """Where the cluster's log begins, also for a member that joined later."""
    return Configuration(tuple(sorted(identity.voters)))


def _limits(config: NodeConfig) -> Limits:
    limits = config.limits
    return Limits(
        key_bytes_max=limits.key_bytes_max,
        value_bytes_max=limits.value_bytes_max,
        request_bytes_max=limits.request_bytes_max,
    )
