"""Who shall belong to the cluster, as the log makes it; and who may still join.

Law: no time but the log's, and nothing of who is reached or caught up: this is what is
wished for. The leader's steward (node/replica/steward) brings Raft's configuration
there. A member that has left is remembered, so that nobody takes it for one that this
replica has not heard of yet (I-49).
"""

from typing import Final, TypeVar

import msgspec

from ...raft import Configuration, decode_configuration
from ...storage.engine import TOMBSTONE, VALUE, Engine
from ...storage.errors import CorruptionError
from ...wire import (
    Action,
    Admit,
    Announce,
    Decide,
    DropToken,
    ErrorCode,
    MakeToken,
    MemberCommand,
    MemberRole,
    Present,
    Raise,
    Reassign,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    Understand,
)
from . import layout, rules, versions
from .caretaking import CaretakerRecord, Decision, done, told
from .leases import Effects
from .member_records import (
    AS_FOUNDED,
    FIRST_VERSION,
    NOTHING_SAID,
    Kept,
    MemberRecord,
    Token,
    digest_of,
)
from .trust import TrustRecord, presented, revoked, rotated, without
from .versions import VersionRecord

MEMBERS_MAX: Final = 64
TOKENS_MAX: Final = 256
# Of those who left; a state that forgot one would refuse it as one it does not know.
GONE_MAX: Final = 4096


K = TypeVar("K", CaretakerRecord, TrustRecord, VersionRecord)
_ROLES: Final = {
    Action.PROMOTE: MemberRole.VOTER,
    Action.REPLACE: MemberRole.SPARE,
    Action.KEEP: MemberRole.VOTER,
}


class MemberTable:
    """All members and tokens of one database, in memory, beside its store.

    `caretaker` is what the caretaker was told, and did; `trust`, whose certificates
    are good; `versions`, which version the cluster has.

    `version` is another one after each change. `gained` is what the state hash's sum
    gains by what was applied since somebody took it.
    """

    def __init__(
        self, store: Engine, understood: versions.Understood = versions.UNDERSTOOD
    ) -> None:
        self.store = store
        self.understood = understood
        self.members: dict[int, MemberRecord] = {}
        self.gone: dict[int, MemberRecord] = {}
        self.tokens: dict[int, Token] = {}
        self.caretaker = NOTHING_SAID
        self.trust = AS_FOUNDED
        self.versions = FIRST_VERSION
        self.version = 0
        self.gained = 0
        if store.damage is None and rules.reads_members_back():
            self._load()

    def _load(self) -> None:
        try:
            version = versions.version_in(self.store.get(layout.VERSION))
            # Before the records, which may be of a form that only later builds know.
            versions.check(version, self.understood)
            for at, data in self.store.scan(*layout.member_bounds()):
                record = msgspec.msgpack.decode(data, type=MemberRecord)
                known = self.gone if record.role is None else self.members
                known[layout.number_of(at)] = record
            for at, data in self.store.scan(*layout.token_bounds()):
                token = msgspec.msgpack.decode(data, type=Token)
                self.tokens[layout.number_of(at)] = token
            self.caretaker = self._read(layout.CARETAKER, NOTHING_SAID)
            self.trust = self._read(layout.TRUST, AS_FOUNDED)
            self.versions = self._read(layout.VERSION, FIRST_VERSION)
        except CorruptionError as damage:
            # As everywhere: the replica sees it and heals, or ends.
            self.members, self.gone, self.tokens = {}, {}, {}
            self.caretaker, self.trust = NOTHING_SAID, AS_FOUNDED
            self.versions = FIRST_VERSION
            self.store.condemn(damage)
        except msgspec.MsgspecError as error:
            raise versions.NotUnderstood(f"a record of members: {error}") from error

    def _read(self, at: bytes, usual: K) -> K:
        data = self.store.get(at)
        return usual if data is None else msgspec.msgpack.decode(data, type=type(usual))

    # -- what the log says ---------------------------------------------------------

    def apply(
        self,
        command: MemberCommand,
        index: int,
        now_ms: int,
        configuration: bytes,
        effects: Effects,
    ) -> ErrorCode | None:
        """Do it, or say why not; `now_ms` is cluster time."""
        match command:
            case MakeToken():
                return self._make_token(command, now_ms, effects)
            case DropToken(token):
                if token not in self.tokens:
                    return ErrorCode.TOKEN_REFUSED
                self._set_token(token, None, effects)
                return None
            case Admit():
                known = decode_configuration(configuration)
                return self._admit(command, index, now_ms, known, effects)
            case Announce():
                known = decode_configuration(configuration)
                return self._announce(command, index, known, effects)
            case Reassign():
                known = decode_configuration(configuration)
                return self._reassign(command, index, known, effects)
            case SetCaretaker():
                self._say(told(self.caretaker, command), effects)
                return None
            case Decide():
                known = decode_configuration(configuration)
                return self._decide(command, index, now_ms, known, effects)
            case Rotate() | Present() | RevokeCertificate():
                known = decode_configuration(configuration)
                return self._change_trust(command, known, effects)
            case Understand() | Raise():
                everybody = self.everybody(decode_configuration(configuration))
                return self._change_version(command, everybody, effects)

    def configured(self, configuration: bytes, index: int, effects: Effects) -> None:
        """Another configuration was applied: who was leaving may have left.

        All of them leave, whoever is looked at first: one whose successor leaves at the
        same time takes nothing back.
        """
        known = decode_configuration(configuration)
        leaving = {
            member
            for member, record in self.members.items()
            if record.role is MemberRole.LEAVING
        }
        for member in sorted(leaving):
            self._let_go(member, index, known, effects)
        for member, record in list(self.members.items()):
            taken = known.is_voter(record.successor) and not known.is_voter(member)
            if taken and member not in leaving:
                self._set(member, _waiting_for(record, 0), effects)

    def _make_token(
        self, command: MakeToken, now_ms: int, effects: Effects
    ) -> ErrorCode | None:
        for token, known in list(self.tokens.items()):
            if known.until_ms <= now_ms:
                self._set_token(token, None, effects)
        if command.token in self.tokens or len(self.tokens) >= TOKENS_MAX:
            return ErrorCode.TOKEN_REFUSED
        until = now_ms + command.ttl_ms
        made = Token(command.digest, until, command.uses, command.role)
        self._set_token(command.token, made, effects)
        return None

    def _admit(
        self,
        command: Admit,
        index: int,
        now_ms: int,
        configuration: Configuration,
        effects: Effects,
    ) -> ErrorCode | None:
        member, name = command.member, command.name
        known = self.members.get(member)
        if known is not None:
            # It asked before, and did not get the answer.
            if (known.key, known.name) != (command.key, name):
                return ErrorCode.MEMBER_EXISTS
            self._move(member, known, command, effects)
            return None
        token = self.tokens.get(command.token)
        if token is None or token.until_ms <= now_ms:
            return ErrorCode.TOKEN_REFUSED
        # A first voter that has not said yet who it is: nobody else is that one.
        silent = member in configuration.members()
        may = rules.may_be_let_in(member in self.gone) and not silent
        if not may or self._taken(name, member):
            return ErrorCode.MEMBER_EXISTS
        if len(self.members) >= MEMBERS_MAX:
            return ErrorCode.TOO_MANY_MEMBERS
        left = msgspec.structs.replace(token, uses=token.uses - 1)
        self._set_token(command.token, left if left.uses else None, effects)
        record = MemberRecord(
            token.role, name, command.peer, command.client, command.key, 0, index
        )
        self._set(member, record, effects)
        return None

    def _announce(
        self, command: Announce, index: int, known: Configuration, effects: Effects
    ) -> ErrorCode | None:
        member = command.member
        if self._taken(command.name, member):
            return ErrorCode.MEMBER_EXISTS
        record = self.members.get(member)
        if record is None:
            # One of the first voters: nobody admitted it.
            if member in self.gone or member not in known.members():
                return ErrorCode.MEMBER_NOT_FOUND
            voter = known.is_voter(member)
            role = MemberRole.VOTER if voter else MemberRole.REPLICA
            record = MemberRecord(role, command.name, "", "", b"", 0, index)
        self._move(member, record, command, effects)
        return None

    def _move(
        self,
        member: int,
        record: MemberRecord,
        command: Admit | Announce,
        effects: Effects,
    ) -> None:
        """It is called and reached like this now."""
        moved = msgspec.structs.replace(
            record, name=command.name, peer=command.peer, client=command.client
        )
        if moved != self.members.get(member):
            self._set(member, moved, effects)

    def _reassign(
        self, command: Reassign, index: int, known: Configuration, effects: Effects
    ) -> ErrorCode | None:
        member, successor = command.member, command.successor
        record = self.members.get(member)
        if record is None and member in known.members() and member not in self.gone:
            # A first voter that died before it could say where it is.
            role = MemberRole.VOTER if known.is_voter(member) else MemberRole.REPLICA
            record = MemberRecord(role, f"{member:016x}", "", "", b"", 0, index)
        if record is None or (successor and successor not in self.members):
            return ErrorCode.MEMBER_NOT_FOUND
        if command.role is not MemberRole.VOTER and not successor:
            others = {
                voter
                for voter in known.voters
                if voter not in self.members and voter not in self.gone
            }
            others |= {
                number
                for number, each in self.members.items()
                if each.role is MemberRole.VOTER
            }
            if not others - {member}:
                return ErrorCode.LAST_VOTER
        if successor:
            self._disinherit(successor, known, effects)
            heir = msgspec.structs.replace(
                self.members[successor], role=MemberRole.VOTER, successor=0
            )
            self._set(successor, heir, effects)
        if command.role is not MemberRole.VOTER:
            self._disinherit(member, known, effects)
        changed = msgspec.structs.replace(
            record, role=command.role, successor=successor
        )
        self._set(member, changed, effects)
        if command.role is MemberRole.LEAVING:
            self._let_go(member, index, known, effects)
        return None

    def _let_go(
        self, member: int, index: int, known: Configuration, effects: Effects
    ) -> None:
        """Once it is in no configuration, it is no member any more."""
        if known.joint or member in known.members():
            return
        self._disinherit(member, known, effects)
        record = self.members.pop(member)
        left = msgspec.structs.replace(record, role=None, successor=0, since=index)
        self.gained -= digest_of(layout.member(member), record)
        self._remember(member, left, effects)
        self._trust(without(self.trust, member), effects)
        self._use(versions.without(self.versions, member), effects)

    def _disinherit(self, member: int, known: Configuration, effects: Effects) -> None:
        """Whose place it was to take goes on as a voter, if it does not vote yet.

        It never will, or shall take somebody else's: one vote is given for each taken.
        """
        if known.is_voter(member):
            return
        for number, each in list(self.members.items()):
            if each.successor == member:
                stays = msgspec.structs.replace(
                    each, role=MemberRole.VOTER, successor=0
                )
                self._set(number, stays, effects)

    def _remember(self, member: int, left: MemberRecord, effects: Effects) -> None:
        if len(self.gone) >= GONE_MAX:
            gone = self.gone
            oldest = min(gone, key=lambda number: (gone[number].since, number))
            at = layout.member(oldest)
            self.gained -= digest_of(at, self.gone.pop(oldest))
            effects[at] = TOMBSTONE
        self.gone[member] = left
        self._store(layout.member(member), left, effects)

    # -- the caretaker -------------------------------------------------------------

    def _decide(
        self,
        command: Decide,
        index: int,
        now_ms: int,
        known: Configuration,
        effects: Effects,
    ) -> ErrorCode | None:
        """Do what the caretaker decided, if it is still as it was then."""
        if not self._still_right(command):
            return ErrorCode.PRECONDITION_FAILED
        action, member, successor = command.action, command.member, command.successor
        if action is not Action.MOVE_LEADER:
            self._release_heir(member, known, effects)
            wish = Reassign(member, _ROLES[action], successor)
            code = self._reassign(wish, index, known, effects)
            if code is not None:
                return code
        made = Decision(action, member, successor, now_ms, command.reason)
        self._say(done(self.caretaker, made), effects)
        return None

    def _still_right(self, command: Decide) -> bool:
        if not rules.caretaker_may_act(self.caretaker.paused):
            return False
        record = self.members.get(command.member)
        role = MemberRole.VOTER if record is None else record.role
        heir = record.successor if record is not None else 0
        match command.action:
            case Action.PROMOTE:
                return rules.is_a_spare(role) and not heir
            case Action.REPLACE:
                # What people wish for is not undone: who shall leave, leaves.
                waits = rules.is_a_spare(role) and bool(heir)
                voter = role is MemberRole.VOTER or waits
                taker = self.members.get(command.successor)
                return voter and taker is not None and rules.is_a_spare(taker.role)
            case Action.KEEP:
                return rules.is_a_spare(role) and bool(heir)
            case Action.MOVE_LEADER:
                return True

    def _release_heir(
        self, member: int, known: Configuration, effects: Effects
    ) -> None:
        """Somebody else, or nobody, takes the place that a spare was to take."""
        record = self.members.get(member)
        number = 0 if record is None else record.successor
        heir = self.members.get(number)
        if record is None or heir is None or known.is_voter(number):
            return
        self._set(member, _waiting_for(record, 0), effects)
        released = msgspec.structs.replace(heir, role=MemberRole.SPARE)
        self._set(number, released, effects)

    # -- certificates --------------------------------------------------------------

    def everybody(self, known: Configuration) -> set[int]:
        """All who show a certificate, also those that never said who they are."""
        return {*known.members(), *self.members} - self.gone.keys()

    def _change_trust(
        self,
        command: Rotate | Present | RevokeCertificate,
        known: Configuration,
        effects: Effects,
    ) -> ErrorCode | None:
        if isinstance(command, Rotate):
            made = rotated(self.trust, command, self.everybody(known))
            if made is None:
                return ErrorCode.PRECONDITION_FAILED
        elif command.member and command.member not in self.everybody(known):
            return ErrorCode.MEMBER_NOT_FOUND
        elif isinstance(command, Present):
            made = presented(self.trust, command)
        else:
            voters = {*known.voters} - {command.member, *self.trust.members}
            if command.member and not voters:
                return ErrorCode.LAST_VOTER
            made = revoked(self.trust, command)
            if isinstance(made, ErrorCode):
                return made
        self._trust(made, effects)
        return None

    # -- versions ------------------------------------------------------------------

    def _change_version(
        self, command: Understand | Raise, everybody: set[int], effects: Effects
    ) -> ErrorCode | None:
        if isinstance(command, Raise):
            made = versions.raised(self.versions, command, everybody)
            if made is None:
                return ErrorCode.PRECONDITION_FAILED
        elif command.member not in everybody:
            return ErrorCode.MEMBER_NOT_FOUND
        else:
            made = versions.understanding(self.versions, command)
        self._use(made, effects)
        return None

    # -- what is kept --------------------------------------------------------------

    def _taken(self, name: str, member: int) -> bool:
        return any(
            record.name == name and number != member
            for number, record in self.members.items()
        )

    def _set(self, member: int, record: MemberRecord, effects: Effects) -> None:
        at = layout.member(member)
        before = self.members.get(member)
        if before is not None:
            self.gained -= digest_of(at, before)
        self.members[member] = record
        self._store(at, record, effects)

    def _set_token(self, number: int, token: Token | None, effects: Effects) -> None:
        at = layout.token(number)
        before = self.tokens.pop(number, None)
        if before is not None:
            self.gained -= digest_of(at, before)
        if token is None:
            effects[at] = TOMBSTONE
            self.version += 1
        else:
            self.tokens[number] = token
            self._store(at, token, effects)

    def _say(self, said: CaretakerRecord, effects: Effects) -> None:
        self._change(layout.CARETAKER, self.caretaker, said, NOTHING_SAID, effects)
        self.caretaker = said

    def _trust(self, made: TrustRecord, effects: Effects) -> None:
        if made != self.trust:
            self._change(layout.TRUST, self.trust, made, AS_FOUNDED, effects)
            self.trust = made

    def _use(self, made: VersionRecord, effects: Effects) -> None:
        if made != self.versions:
            self._change(layout.VERSION, self.versions, made, FIRST_VERSION, effects)
            self.versions = made

    def _change(self, at: bytes, old: K, new: K, usual: K, effects: Effects) -> None:
        """Of what there is one; what is as usual was never stored."""
        if old is not usual:
            self.gained -= digest_of(at, old)
        self._store(at, new, effects)

    def _store(self, at: bytes, record: Kept, effects: Effects) -> None:
        effects[at] = VALUE + msgspec.msgpack.encode(record)
        self.gained += digest_of(at, record)
        self.version += 1

    def take_gained(self) -> int:
        """What the sum of digests has gained since the last call."""
        gained, self.gained = self.gained, 0
        return gained


def _waiting_for(record: MemberRecord, successor: int) -> MemberRecord:
    return msgspec.structs.replace(record, successor=successor)
