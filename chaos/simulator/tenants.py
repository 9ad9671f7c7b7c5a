"""Clients that hold leases: grant, keep alive or not, hang keys on them, ask, revoke.

Law: a tenant believes what it is told; whether that can be is judged as it is told
(checkers.leases), and what the log makes of it by the model. It does not wait for one
answer before it asks the next thing, so that the order of the log is not its own.
"""

from typing import Final

from ...wire import (
    ErrorCode,
    ErrorReply,
    GetRequest,
    Grant,
    KeepAlive,
    LeaseCommand,
    Level,
    ListLeases,
    RequestKind,
    Revoke,
    TimeToLive,
    Transaction,
    TxnPut,
    decode_get_reply,
    decode_lease_answer,
    decode_lease_list,
    decode_txn_reply,
    decode_write_reply,
    encode_delete,
    encode_get,
    encode_lease_command,
    encode_put,
    encode_transaction,
)
from .asking import TIMEOUT_US, Asker
from .checkers import leases
from .checkers.book import Book
from .checkers.leases import Asked
from .checkers.model import LEASED
from .node import Node
from .shape import Shape
from .world import MILLISECOND, World

_TTLS_MS: Final = (1000, 1000, 1500, 3000)
# When a lease is kept alive, as a part of its time; how often before it is let go.
_SHARES: Final = (0.3, 0.6, 0.95, 1.0)
_RENEWALS: Final = 6
# When it is let go: it is revoked and granted again about the time at which it ends
# anyway, or somebody tries to keep it alive just then, again and again.
_SWAPS: Final = 0.4
_LATE: Final = 0.4
_ABOUT_US: Final = 250 * MILLISECOND
_LATE_US: Final = 25 * MILLISECOND
_TRIES: Final = 6
# Each of these tries is answered, and may be followed by such tries again.
_LATE_AT_ONCE_MAX: Final = 20
# Of leases that are granted: with an id that was used before.
_OLD_IDS: Final = 0.3
_KEYS: Final = 6
_ASKED_MAX: Final = 4
# What is done with a lease, and how often.
_DOINGS: Final = (
    *("put", "put", "put", "pair", "plain", "delete", "get", "get", "local"),
    *("left", "left", "list", "revoke"),
)


class Tenant(Asker[Asked]):
    """One client with one lease at a time."""

    def __init__(
        self, world: World, number: int, nodes: list[Node], shape: Shape, book: Book
    ) -> None:
        super().__init__(world, f"t{number}", nodes, shape)
        self.number = number
        self.book = book
        self.granted = 0
        # The lease; when its time began at the latest; how often it is still renewed.
        self.lease = 0
        self.ttl_ms = 0
        self.renewed_us = 0
        self.renewals = 0
        # Tries to keep it alive at its end that are still to come.
        self.late = 0
        self.renew_after_us = 0

    def _next(self) -> None:
        if self.stopped:
            return
        self.world.at(self.pause_us // 2 + self.world.below(self.pause_us), self._next)
        up = [node for node in self.nodes if node.up]
        if not up or not self._may_ask():
            return
        node = self.world.random.choice(up)
        if self.lease:
            self._go_on(node)
        else:
            self._grant(node)

    def _may_ask(self) -> bool:
        """What was not answered for long is given up."""
        since_us = self.world.now_us - TIMEOUT_US
        if len(self.asked) >= _ASKED_MAX:
            self.asked = {n: a for n, a in self.asked.items() if a[1].at_us > since_us}
        return len(self.asked) < _ASKED_MAX

    # -- what it does ------------------------------------------------------------------

    def _grant(self, node: Node) -> None:
        if not (self.granted and self.world.chance(_OLD_IDS)):
            self.granted += 1
        lease = self.number << 32 | 1 + self.world.below(self.granted)
        self._grant_it(node, lease, self.world.random.choice(_TTLS_MS))

    def _grant_it(self, node: Node, lease: int, ttl_ms: int) -> None:
        self._command(node, "grant", Grant(lease, ttl_ms), lease, ttl_ms)

    def _go_on(self, node: Node) -> None:
        if self.renewals and self.world.now_us >= self.renewed_us + self.renew_after_us:
            self.renewals -= 1
            self._command(node, "keep", KeepAlive(self.lease), self.lease)
            return
        self._do(node, self.world.random.choice(_DOINGS))

    def _do(self, node: Node, what: str) -> None:
        lease, world = self.lease, self.world
        key = LEASED + b"%d" % world.below(_KEYS)
        value = b"%s-%d" % (self.name.encode(), self.requests)
        asked = Asked(what, lease, world.now_us, key=key, value=value)
        write, get = RequestKind.WRITE, RequestKind.GET
        match what:
            case "put":
                self._ask(node, asked, write, encode_put(key, value, lease=lease))
            case "plain":
                self._ask(node, asked, write, encode_put(key, value))
            case "delete":
                self._ask(node, asked, write, encode_delete(key))
            case "pair":
                other = LEASED + b"%d" % _KEYS
                puts = TxnPut(key, value, lease), TxnPut(other, value + b"'", lease)
                body = encode_transaction(Transaction((), puts, ()))
                self._ask(node, asked, write, body)
            case "get" | "local":
                level = Level.LOCAL if what == "local" else Level.LINEARIZABLE
                body = encode_get(GetRequest(level, 0, 0, key, 0))
                self._ask(node, asked, get, body)
            case "left":
                self._command(node, what, TimeToLive(lease, keys=True), lease)
            case "list":
                self._command(node, what, ListLeases(), lease)
            case _:
                self._command(node, what, Revoke(lease), lease)

    def _keep_late(self, lease: int, tries: int) -> None:
        """Keep it alive while the leader may have its end written."""
        up = [node for node in self.nodes if node.up]
        self.late -= 1
        if self.stopped or lease != self.lease or not up:
            return
        node = self.world.random.choice(up)
        self._command(node, "keep", KeepAlive(lease), lease)
        if tries > 1:
            self.late += 1
            delay_us = self.world.below(_LATE_US)
            self.world.at(delay_us, self._keep_late, lease, tries - 1)

    def _swap(self, lease: int) -> None:
        """Revoke and grant again, just as the leader may have its end written."""
        up = [node for node in self.nodes if node.up]
        if self.stopped or lease != self.lease or not up:
            return
        node = self.world.random.choice(up)
        self._command(node, "revoke", Revoke(lease), lease)
        self._grant_it(node, lease, self.ttl_ms)

    def _command(
        self, node: Node, what: str, command: LeaseCommand, lease: int, ttl_ms: int = 0
    ) -> None:
        asked = Asked(what, lease, self.world.now_us, ttl_ms)
        self._ask(node, asked, RequestKind.WRITE, encode_lease_command(command))

    # -- what it is told ---------------------------------------------------------------

    def _shown(self, asked: Asked) -> str:
        return f"{asked.what} {asked.lease:x}"

    def _answered(self, asked: Asked, body: bytes) -> None:
        book = self.book
        match asked.what:
            case "grant":
                self._granted(asked)
            case "keep":
                leases.has_its_time(book, asked, decode_lease_answer(body))
                if asked.lease == self.lease:
                    self._renewed(asked.at_us)
            case "left":
                answer = decode_lease_answer(body)
                leases.has_its_time(book, asked, answer)
                leases.hang_on_it(book, asked, answer)
            case "list":
                leases.lists_all(book, asked, decode_lease_list(body))
            case "revoke":
                leases.was_revoked(book, asked)
                self._lost(asked.lease)
            case "get" | "local":
                read = decode_get_reply(body)
                revision = read.header.revision
                leases.is_what_it_was(book, asked.key, revision, read.record)
            case "pair":
                revision = decode_txn_reply(body).revision
                leases.was_written(book, asked, revision)
            case _:
                leases.was_written(book, asked, decode_write_reply(body).revision)

    def _refused(self, asked: Asked, error: ErrorReply) -> None:
        code = error.code
        if code == ErrorCode.LEASE_EXISTS:
            leases.was_there(self.book, asked)
        elif code == ErrorCode.LEASE_NOT_FOUND:
            if asked.what in ("keep", "left"):
                leases.is_not_found(self.book, asked)
            else:
                leases.is_absent(self.book, asked)
            self._lost(asked.lease)

    def _lost(self, lease: int) -> None:
        if lease == self.lease:
            self.lease = 0

    def _granted(self, asked: Asked) -> None:
        leases.was_granted(self.book, asked)
        self.lease, self.ttl_ms = asked.lease, asked.ttl_ms
        self.renewals = self.world.below(_RENEWALS)
        share = self.world.random.choice(_SHARES)
        self.renew_after_us = int(share * self.ttl_ms * MILLISECOND)
        self._renewed(asked.at_us)

    def _renewed(self, at_us: int) -> None:
        self.renewed_us = at_us
        if self.renewals:
            return
        world, choice = self.world, self.world.random.random()
        ends_us = at_us + self.ttl_ms * MILLISECOND - world.now_us
        delay_us = max(0, ends_us + world.below(_ABOUT_US) - _ABOUT_US // 4)
        if choice < _SWAPS:
            world.at(delay_us, self._swap, self.lease)
        elif choice < _SWAPS + _LATE and self.late < _LATE_AT_ONCE_MAX:
            self.late += 1
            world.at(delay_us, self._keep_late, self.lease, _TRIES)
