"""People who change the members: commands through any node, as `quorate member` does.

Law: an operator believes replies and nothing else, and looks at what the agreed log
says of members before it asks. What is refused is refused: too few voters that are
heard, the last voter, somebody who left. A command whose outcome is unknown is sent
again; each may be applied twice.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from ...node.replica import Request
from ...wire import (
    DEFAULT_LIMITS,
    OK,
    Admit,
    ErrorCode,
    MakeToken,
    MemberCommand,
    MemberRole,
    Reassign,
    RequestKind,
    decode_error,
    encode_member_command,
)
from .roster import place
from .world import MILLISECOND, SECOND, World

if TYPE_CHECKING:
    from .node import Node

# None: it is done. Otherwise why it never will be.
Then: TypeAlias = Callable[[ErrorCode | None], None]

_TIMEOUT_MS: Final = 1500
# By then no node still waits for a leader, to ask for what an operator wished.
PATIENCE_US: Final = 2 * SECOND
_SILENCE_US: Final = 3 * SECOND
_AGAIN_US: Final = 200 * MILLISECOND
_TRIES: Final = 8
_TOKEN_TTL_MS: Final = 120_000
_FINAL: Final = frozenset(
    (
        ErrorCode.MEMBER_NOT_FOUND,
        ErrorCode.MEMBER_EXISTS,
        ErrorCode.TOO_MANY_MEMBERS,
        ErrorCode.LAST_VOTER,
        ErrorCode.QUORUM_AT_RISK,
        ErrorCode.TOKEN_REFUSED,
    )
)


class Operators:
    """All of them: what they ask for, and what they were told."""

    def __init__(self, world: World, nodes: "list[Node]", dice: Random) -> None:
        self.world = world
        self.nodes = nodes
        self.dice = dice
        self.active = True
        self.busy = 0
        self.requests = 0
        self.answers: Counter[str] = Counter()

    def ask(self, command: MemberCommand, then: Then | None = None) -> None:
        """Send it until somebody says what became of it, and go on with `then`."""
        self.busy += 1
        _Errand(self, command, then).send()

    def reassign(
        self,
        member: int,
        role: MemberRole,
        successor: int = 0,
        then: Then | None = None,
    ) -> None:
        self.ask(Reassign(member, role, successor), then)

    def let_in(self, member: int, role: MemberRole, then: Then) -> None:
        """Make a token; with it the member asks to join."""
        token = self.dice.getrandbits(63) + 1
        key = member.to_bytes(32, "big")

        def made(code: ErrorCode | None) -> None:
            # Refused: it is there already, since the first answer was lost.
            if code in (None, ErrorCode.TOKEN_REFUSED):
                self.ask(Admit(token, member, key, *place(member)), then)

        self.ask(MakeToken(token, key, _TOKEN_TTL_MS, 1, role), made)


class _Errand:
    """One command, on its way."""

    def __init__(
        self, operators: Operators, command: MemberCommand, then: Then | None
    ) -> None:
        self.operators = operators
        self.command = command
        self.body = encode_member_command(command)
        self.then = then
        self.tries = 0
        self.waits_for = 0

    def send(self) -> None:
        operators = self.operators
        self.waits_for = 0
        up = [node for node in operators.nodes if node.up]
        if not operators.active or self.tries == _TRIES:
            self._end(None, "no answer")
            return
        self.tries += 1
        if not up:
            operators.world.at(_AGAIN_US, self.send)
            return
        operators.requests += 1
        self.waits_for = operators.requests
        node = operators.dice.choice(up)
        kind = RequestKind.WRITE
        # Whoever lets a member in is one.
        own = isinstance(self.command, Admit)
        request = Request(self, self.waits_for, kind, self.body, _TIMEOUT_MS, own=own)
        node.submit(request)
        operators.world.at(_SILENCE_US, self._silence, self.waits_for)

    def _silence(self, request_id: int) -> None:
        if request_id == self.waits_for:
            self.send()

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Done, refused for good, or to be asked once more."""
        del kind
        if request_id != self.waits_for:
            return
        self.waits_for = 0
        if status == OK:
            self._end(self.then, "done")
            return
        code = decode_error(body, DEFAULT_LIMITS).code
        if code in _FINAL:
            self._end(self.then, code.name.lower(), code)
        else:
            self.operators.world.at(_AGAIN_US, self.send)

    def _end(
        self, then: Then | None, outcome: str, code: ErrorCode | None = None
    ) -> None:
        operators = self.operators
        operators.busy -= 1
        name = type(self.command).__name__.lower()
        operators.answers[f"{name}: {outcome}"] += 1
        operators.world.trace("operator", outcome, str(self.command))
        if then is not None and operators.active:
            then(code)
