"""What the checkers remember: of each member, and of the log that all agree on.

Law: plain values, filled by `Checkers` from what it is shown, never from the cores'
opinion of themselves. A disk is remembered as the batches that were synced to it.
"""

from collections import deque
from collections.abc import Collection, Sequence

from ....node.stable import BOOTSTRAP_TERM
from ....raft import Configuration, Entry, decode_configuration
from ....storage.journal import Batch
from ....storage.journal_format import EntryLike
from ..shape import Shape
from ..world import World
from .model import Model

# How long it is remembered what was committed.
_COMMITS_TICKS = 200


class Disk:
    """The log and the hard state that a member's synced batches make."""

    def __init__(self) -> None:
        self.term = 0
        self.vote = 0
        self.base_index = 0
        self.base_term = 0
        self.terms: list[int] = []

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.terms)

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None when it is not there any more."""
        offset = index - self.base_index
        if 0 < offset <= len(self.terms):
            return self.terms[offset - 1]
        return self.base_term if offset == 0 else None

    def holds(self, index: int, term: int | None) -> bool:
        """Is the entry here, as itself or in what a checkpoint holds?"""
        return index < self.base_index or self.term_at(index) == term

    def take(self, batch: Batch) -> None:
        """A batch was synced."""
        self.term, self.vote = batch.term, batch.vote
        if batch.reset is not None and batch.reset[0] >= self.base_index:
            self.base_index, self.base_term = batch.reset
            self.terms = []
        if batch.first_index <= self.base_index:
            return  # a newer snapshot was installed while the batch was on its way
        del self.terms[batch.first_index - self.base_index - 1 :]
        self.terms += [entry.term for entry in batch.entries]

    def read(self, base: tuple[int, int], entries: Sequence[EntryLike]) -> None:
        """A boot found this log; what lies before its base is in a checkpoint."""
        self.base_index, self.base_term = base
        self.terms = [entry.term for entry in entries]


class Member:
    """What is known of one member; of this boot, unless it says otherwise."""

    def __init__(self, member: int) -> None:
        self.member = member
        # Of all boots.
        self.disk = Disk()
        self.appended: Batch | None = None  # on its way to the disk, perhaps there
        # What was synced before damage put its end in doubt (decision 0004).
        self.doubted: Disk | None = None
        # Of this boot.
        self.applied = 0
        self.shown = 0  # the newest index that readers could see here
        self.commit = 0
        self.commits: deque[tuple[int, int]] = deque()  # as it grew: tick, commit index
        self.leads_since: int | None = None  # its commit index when it began to lead
        self.heard_leader: tuple[int, int] | None = None  # term, tick
        self.heard: dict[int, int] = {}
        # As a leader: the tick at which it wrote its last configuration.
        self.configured = 0
        # What was committed when a read index was asked for, by id.
        self.asked: dict[int, int] = {}
        # As a leader: the last round that each peer answered, and that confirmed reads.
        self.rounds: dict[int, int] = {}
        self.confirmed_round = 0
        # The configurations in its log, by their entries (checkers.members).
        self.configurations: list[tuple[int, Configuration]] = []
        self.read_up_to = (0, 0)  # index, term
        # What was in force when its turn began.
        self.before: Configuration | None = None

    def holds(self, index: int, term: int | None) -> bool:
        """Does this member count for the entry, as itself or as one in doubt of it?"""
        doubted = self.doubted is not None and self.doubted.holds(index, term)
        return doubted or self.disk.holds(index, term)

    def committed(self, now: int, commit: int) -> None:
        """It knows now, in ticks of this boot, that so much is committed."""
        self.commit = commit
        self.commits.append((now, commit))
        while len(self.commits) > 1 and self.commits[1][0] < now - _COMMITS_TICKS:
            self.commits.popleft()

    def commit_at(self, tick: int) -> int:
        """What it knew to be committed then; 0: too long ago."""
        return max((index for at, index in self.commits if at <= tick), default=0)

    def boot(self) -> None:
        self.commits.clear()
        self.leads_since = self.heard_leader = None
        self.shown = 0
        self.heard, self.asked, self.rounds = {}, {}, {}
        self.configured = 0
        self.configurations, self.read_up_to = [], (0, 0)
        self.before = None


class Book:
    """Everything that checkers look things up in."""

    def __init__(
        self, world: World, bootstrap: Configuration, shape: Shape, changes: bool
    ) -> None:
        self.world = world
        self.shape = shape
        # Do members come and go? Elsewhere everything about them stays as it began.
        self.changes = changes
        self.members = {m: Member(m) for m in bootstrap.members()}
        # The configurations that were applied somewhere, by their indexes.
        self.configurations = [(1, bootstrap)]
        self.voters = bootstrap.voters
        # All that were ever in anybody's log: index, term.
        self.seen: dict[tuple[int, int], Configuration] = {}
        self.leaders: dict[int, int] = {}
        # When the leader of a term began to lead.
        self.led_since: dict[int, int] = {}
        self.votes: dict[tuple[int, int], int] = {}
        # (term, data) of each index from 2 on, as the first to apply it had it.
        self.agreed: list[tuple[int, bytes]] = []
        # The term in which the first one applied it.
        self.agreed_in: list[int] = []
        self.hashes: dict[int, str] = {}
        self.entries: dict[tuple[int, int], tuple[int, bytes]] = {}
        self.committed = 1
        self.model = Model()
        self.model.members.begin(bootstrap)

    @property
    def configuration(self) -> Configuration:
        """The last one that anybody applied."""
        return self.configurations[-1][1]

    def configured(self, entry: Entry) -> None:
        """Somebody is the first to apply another configuration."""
        configuration = decode_configuration(entry.data)
        self.configurations.append((entry.index, configuration))
        self.voters = configuration.all_voters()

    def agreed_term(self, index: int) -> int:
        return self.agreed[index - 2][0] if index > 1 else BOOTSTRAP_TERM

    @property
    def agreed_index(self) -> int:
        """The last index that anybody applied."""
        return len(self.agreed) + 1


def same(entry: Entry) -> tuple[int, bytes]:
    """What makes two committed entries the same."""
    return entry.term, entry.data


def quorum(configuration: Configuration, members: Collection[int]) -> bool:
    """Are `members` a majority of the voters, of the old ones, too, while joint?"""
    groups = (configuration.voters, configuration.outgoing)
    return all(
        2 * sum(voter in members for voter in voters) > len(voters)
        for voters in groups
        if voters
    )
