"""Who shall belong to the cluster, as the agreed log makes it: a few plain lines.

Law: shares no code with node/database/members; written after docs/membership.md.
"""

import msgspec

from ....raft import Configuration
from ....wire import (
    Action,
    Admit,
    Announce,
    Decide,
    DropToken,
    MakeToken,
    MemberRole,
    Reassign,
    SetCaretaker,
)

_MEMBERS_MAX = 64
_TOKENS_MAX = 256


class Standing(msgspec.Struct):
    """What one member shall be, and whom it waits for to take its place, or 0."""

    role: MemberRole
    name: str
    successor: int = 0


class _Pass(msgspec.Struct):
    """A token: until when, for how many, as what."""

    until_ms: int
    uses: int
    role: MemberRole


class MemberModel:
    """Members, those who left, and tokens; `in_force` is the configuration applied.

    `gone` says by which entry each has left.
    """

    def __init__(self) -> None:
        self.members: dict[int, Standing] = {}
        self.gone: dict[int, int] = {}
        self.tokens: dict[int, _Pass] = {}
        self.in_force: Configuration | None = None
        # Does the caretaker do nothing?
        self.paused = False
        self._index = 0

    def begin(self, bootstrap: Configuration) -> None:
        self.in_force = bootstrap

    def configured(self, configuration: Configuration, index: int) -> None:
        """Another configuration was applied: who was leaving may be out of it now."""
        self.in_force, self._index = configuration, index
        leaving = {
            member
            for member, standing in self.members.items()
            if standing.role is MemberRole.LEAVING
        }
        for member in leaving:
            self._leave(member)
        for member, standing in self.members.items():
            if member not in leaving and self._taken_over(member, standing.successor):
                standing.successor = 0

    def apply(
        self,
        command: MakeToken
        | DropToken
        | Admit
        | Announce
        | Reassign
        | SetCaretaker
        | Decide,
        now_ms: int,
        index: int,
    ) -> None:
        """Do it, unless it has to be refused."""
        self._index = index
        match command:
            case MakeToken(token, _, ttl_ms, uses, role):
                for other in [
                    t for t, p in self.tokens.items() if p.until_ms <= now_ms
                ]:
                    del self.tokens[other]
                if token not in self.tokens and len(self.tokens) < _TOKENS_MAX:
                    self.tokens[token] = _Pass(now_ms + ttl_ms, uses, role)
            case DropToken(token):
                self.tokens.pop(token, None)
            case Admit():
                self._admit(command, now_ms)
            case Announce():
                self._announce(command)
            case Reassign():
                self._reassign(command)
            case SetCaretaker():
                if command.paused is not None:
                    self.paused = command.paused
            case Decide():
                self._decide(command)

    def _free(self, name: str, member: int) -> bool:
        return all(
            standing.name != name or other == member
            for other, standing in self.members.items()
        )

    def _admit(self, command: Admit, now_ms: int) -> None:
        member, found = command.member, self.tokens.get(command.token)
        if member in self.members or found is None or found.until_ms <= now_ms:
            return
        full = len(self.members) >= _MEMBERS_MAX
        if member in self.gone or full or not self._free(command.name, member):
            return
        if self._configured(member):
            return
        found.uses -= 1
        if not found.uses:
            del self.tokens[command.token]
        self.members[member] = Standing(found.role, command.name)

    def _announce(self, command: Announce) -> None:
        member = command.member
        if not self._free(command.name, member):
            return
        if member in self.members:
            self.members[member].name = command.name
        elif self._configured(member):
            self.members[member] = Standing(self._role(member), command.name)

    def _configured(self, member: int) -> bool:
        """Is it one that nobody admitted, and that never said who it is?"""
        assert self.in_force is not None
        return member not in self.gone and member in self.in_force.members()

    def _role(self, member: int) -> MemberRole:
        assert self.in_force is not None
        votes = self.in_force.is_voter(member)
        return MemberRole.VOTER if votes else MemberRole.REPLICA

    def _reassign(self, command: Reassign) -> None:
        member, heir = command.member, command.successor
        standing = self.members.get(member)
        if standing is None:
            if not self._configured(member):
                return
            standing = Standing(self._role(member), f"{member:016x}")
        if heir and heir not in self.members:
            return
        takes = command.role is not MemberRole.VOTER and not heir
        if takes and not self._voters() - {member}:
            return
        if heir:
            self._disinherit(heir)
            self.members[heir].role, self.members[heir].successor = MemberRole.VOTER, 0
        if command.role is not MemberRole.VOTER:
            self._disinherit(member)
        standing.role, standing.successor = command.role, heir
        self.members[member] = standing
        if command.role is MemberRole.LEAVING:
            self._leave(member)

    def _voters(self) -> set[int]:
        """Who votes in the end, when all is as it is wished for."""
        assert self.in_force is not None
        silent = {v for v in self.in_force.voters if v not in self.members}
        return (silent - self.gone.keys()) | {
            m
            for m, standing in self.members.items()
            if standing.role is MemberRole.VOTER
        }

    def _leave(self, member: int) -> None:
        assert self.in_force is not None
        if self.in_force.joint or member in self.in_force.members():
            return
        self._disinherit(member)
        del self.members[member]
        self.gone[member] = self._index

    def _taken_over(self, member: int, heir: int) -> bool:
        assert self.in_force is not None
        return self.in_force.is_voter(heir) and not self.in_force.is_voter(member)

    def _disinherit(self, member: int) -> None:
        """It does not vote, and will not: whose place it was to take keeps it."""
        assert self.in_force is not None
        if self.in_force.is_voter(member):
            return
        for standing in self.members.values():
            if standing.successor == member:
                standing.role, standing.successor = MemberRole.VOTER, 0

    # -- the caretaker -----------------------------------------------------------------

    def _decide(self, command: Decide) -> None:
        """Only what a spare is for, and only while people wish for nothing else."""
        known = self.members.get(command.member)
        role = MemberRole.VOTER if known is None else known.role
        heir = 0 if known is None else known.successor
        waits = role is MemberRole.SPARE and heir != 0
        taker = self.members.get(command.successor)
        match command.action:
            case _ if self.paused:
                return
            case Action.PROMOTE if role is MemberRole.SPARE and not heir:
                wish = MemberRole.VOTER
            case Action.KEEP if waits:
                wish = MemberRole.VOTER
            case Action.REPLACE if taker is not None and (
                taker.role is MemberRole.SPARE and (waits or role is MemberRole.VOTER)
            ):
                wish = MemberRole.SPARE
            case _:
                # The leadership is moved; or it is not any more as it was.
                return
        self._release(known)
        self._reassign(Reassign(command.member, wish, command.successor))

    def _release(self, waiting: Standing | None) -> None:
        """Who was to take the place, and does not vote yet, is a spare once more."""
        assert self.in_force is not None
        heir = 0 if waiting is None else waiting.successor
        if heir in self.members and not self.in_force.is_voter(heir):
            assert waiting is not None
            self.members[heir].role, waiting.successor = MemberRole.SPARE, 0
