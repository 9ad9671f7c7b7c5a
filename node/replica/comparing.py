"""States are compared all the time: equal at equal index, or it is damage.

Law: pure. Now and then the leader writes an entry that does nothing; the state's hash
there is what each replica tells all others. Who differs from a majority of the voters
is damaged, leader or not, for good, and heals from the others (healing); where no hash
can have a majority nobody knows who is right, and all are (I-38).
"""

from typing import TYPE_CHECKING, Final

from ...raft.quorum import won
from ...storage.errors import CorruptionError
from ...wire import EnvelopeKind
from ..database import StateAt
from . import rules
from .messages import StateHash

if TYPE_CHECKING:
    from .core import Replica

PERIOD_MS: Final = 1000
# What is remembered: of so many entries, five minutes. Whoever is later than that is
# compared once it has caught up.
_REMEMBERED_MAX: Final = 300


class Comparing:
    """`equal_index`: up to there this state was found to be that of a majority."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.equal_index = 0
        self._own: dict[int, StateAt] = {}
        self._told: dict[int, dict[int, StateAt]] = {}
        # As the leader: when it last had states compared.
        self._since_ms: int | None = None
        self._last_index = 0

    def tick(self) -> None:
        """Of the leader: is it time, and has anything been done since?"""
        replica = self.replica
        late = self._since_ms is None or replica.now_ms - self._since_ms >= PERIOD_MS
        news = replica.database.applied_index > self._last_index
        if late and news and len(replica.raft.configuration.all_voters()) > 1:
            self._since_ms = replica.now_ms
            replica.propose(b"", EnvelopeKind.CHECK)

    def applied(self, states: list[StateAt]) -> None:
        """Such entries were applied here."""
        raft = self.replica.raft
        others = [m for m in raft.configuration.members() if m != raft.id]
        for state in states:
            if self.replica.healing.damage is not None:
                # What comes after it is wrong, and known to be.
                return
            self._last_index = state.index
            self._own[state.index] = state
            _forget(self._own)
            self._tell(state, others)
            self._judge(state)

    def heard(self, message: StateHash) -> None:
        """Another replica's state; it may be ahead of this one, or far behind."""
        if message.sender not in self.replica.raft.configuration.members():
            return
        told = self._told.setdefault(message.index, {})
        first = message.sender not in told
        told[message.sender] = state = message.state()
        _forget(self._told)
        own = self._own.get(message.index)
        if own is None:
            return
        self._judge(own)
        if first and state != own and self.replica.healing.damage is None:
            # It was away, perhaps, when this was told, and has to know.
            self._tell(own, [message.sender])

    def _tell(self, state: StateAt, others: list[int]) -> None:
        own = self.replica.raft.id
        self.replica.messages += [
            StateHash(own, to, state.index, state.chain, *state.halves())
            for to in others
        ]

    def _judge(self, own: StateAt) -> None:
        replica = self.replica
        configuration = replica.raft.configuration
        if replica.healing.damage is not None:
            return
        states = {**self._told.get(own.index, {}), replica.raft.id: own}
        open_yet = False
        for state in dict.fromkeys(states.values()):
            votes = {member: told == state for member, told in states.items()}
            agreed = won(configuration, votes)
            if agreed and rules.is_another_state(own, state):
                self._differs(own.index, "the one of a majority")
                return
            if agreed:
                self.equal_index = max(self.equal_index, own.index)
                return
            open_yet = open_yet or agreed is None
        if not open_yet:
            self._differs(own.index, "one that a majority could have")

    def _differs(self, index: int, wanted: str) -> None:
        store = self.replica.database.store
        reason = f"the state at index {index} is not {wanted}"
        damage = CorruptionError(store.directory, 0, reason)
        self._own.clear()
        self._told.clear()
        # What was told of it may not be what happened, and so no watch goes on from it.
        self.replica.watching.watches.disown(reason)
        self.replica.healing.found(damage, lasting=True)


def _forget(known: "dict[int, StateAt] | dict[int, dict[int, StateAt]]") -> None:
    while len(known) > _REMEMBERED_MAX:
        del known[min(known)]
