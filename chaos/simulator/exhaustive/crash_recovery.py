"""What one image of a disk leads to: recovery, a second crash, and work that goes on.

Law: an outcome depends on the image alone, so it is found once for each image; what
had been acknowledged before is for `crash_model` to compare. An invariant is one
function; it returns its complaint, or nothing, and those behind it stand on it.
"""

import re
from collections.abc import Callable
from hashlib import blake2b
from random import Random

import msgspec

from ....storage.journal import Batch, Journal
from ....storage.journal_format import segment_name
from ....storage.memory_env import MemoryEnv
from .crash_model import Answer, Told
from .crash_run import FAILURES, SALT_AFTER_CRASH, Family, Process, put

OUTCOMES_MAX = 4_096
_SPARE = re.compile(r"(ahead|[0-9a-f]{16})-spare\.seg")


class Outcome(msgspec.Struct, frozen=True):
    """What recovery told, and what is wrong whatever was acknowledged."""

    told: Told | None
    complaint: str = ""


class Machine:
    """A disk that lost its power, and the processes that come after.

    `told` is what the first of them was told, `answer` is what the last one holds.
    `became` tells of the disk that recovery made of this one.
    """

    def __init__(self, recovery: "Recovery", env: MemoryEnv, born: bool, image: bytes):
        self.recovery = recovery
        self.env = env
        self.born = born
        self.image = image
        self.dice = Random(image)
        self.told: Told | None = None
        self.answer = Answer()
        self.process: Process | None = None
        self.became: Outcome | None = None

    def boot(self) -> None:
        salt = SALT_AFTER_CRASH + (self.told is not None)
        self.process, told = self.recovery.family.boot(self.env, salt, self.born)
        self.told, self.answer, self.born = self.told or told, told.answer, True

    @property
    def journal(self) -> Journal:
        assert self.process is not None
        return self.process.journal

    def append(self, size: int) -> None:
        """Make an entry of a new term durable."""
        term, first = self.answer.term + 1, self.answer.last_index + 1
        commit = self.answer.commit_index
        entries = [put(first, term, size)]
        batch = Batch(
            term=term, vote=0, commit_index=commit, first_index=first, entries=entries
        )
        self.journal.append(batch)
        self.journal.sync()
        self.answer = self.answer.after(batch)


def recovery_succeeds(machine: Machine) -> str:
    """No crash makes a disk that can't be opened, or one without a replica."""
    machine.boot()
    return ""


def what_was_told_is_durable(machine: Machine) -> str:
    """I-18: the power fails right after recovery, and the next one tells the same.

    It does where the disk is as it was before. Where it is another, the other rules are
    that one's business.
    """
    lost = machine.env.copy()
    lost.crash(machine.dice)
    image = machine.recovery.image_of(lost)
    if image == machine.image:
        return ""
    again = machine.recovery.outcome_of(lost, True, image)
    if again.told is not None and again.told.answer == machine.answer:
        machine.became = again
        return ""
    return f"the next recovery tells otherwise; {again.complaint}"


def work_goes_on(machine: Machine) -> str:
    """An entry that is acknowledged now is there after the next power loss."""
    machine.append(700)
    wanted = machine.answer
    machine.env.crash(machine.dice)
    machine.boot()
    return "" if machine.answer == wanted else "the next entry is not there"


def no_table_is_left_over(machine: Machine) -> str:
    """The engine's files are those of its manifest: an opening clears the rest."""
    assert machine.process is not None
    stable = machine.process.stable
    if stable is None:
        return ""
    assert stable.engine is not None
    wanted = stable.engine.manifest.names()
    found = set(machine.env.peek(stable.engine_dir)) - {"LOCK", "MANIFEST"}
    return "" if found == wanted else f"left: {found - wanted}"


def nothing_is_left_over(machine: Machine) -> str:
    """Each file of the journal is live, or a whole spare, or goes with time."""
    if _left_in_journal(machine):
        _roll_over(machine)
    left = _left_in_journal(machine)
    return f"left: {left}" if left else ""


def _left_in_journal(machine: Machine) -> list[str]:
    """What is neither a live segment nor one of the spares that can be used."""
    journal, env = machine.journal, machine.env
    live = [segment_name(segment.sequence) for segment in journal.segments]
    left = [name for name in env.list(journal.directory) if name not in live]
    spares = [
        name
        for name in left
        if _SPARE.fullmatch(name)
        and env.size(f"{journal.directory}/{name}") == journal.options.segment_bytes
    ]
    unused = spares[: journal.options.spares_max]
    return [name for name in left if name not in unused]


def _roll_over(machine: Machine) -> None:
    """Fill more segments than there are files; have spares prepared when wanted."""
    journal = machine.journal
    for _ in range(len(machine.env.list(journal.directory))):
        machine.append(journal.options.segment_bytes - 700)
        if journal.wants_spare():
            journal.prepare_spare()


Rule = Callable[[Machine], str]

RULES: tuple[Rule, ...] = (
    recovery_succeeds,
    what_was_told_is_durable,
    work_goes_on,
    no_table_is_left_over,
    nothing_is_left_over,
)


class Recovery:
    """Recovers images of one family's disks, and remembers the last of them."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.images = 0
        self.known: dict[tuple[bool, bytes], Outcome] = {}

    def outcome(self, env: MemoryEnv, born: bool) -> Outcome:
        """What becomes of `env`, which is used up."""
        return self.outcome_of(env, born, self.image_of(env))

    def outcome_of(self, env: MemoryEnv, born: bool, image: bytes) -> Outcome:
        key = (born, image)
        if key not in self.known:
            if len(self.known) >= OUTCOMES_MAX:
                del self.known[next(iter(self.known))]
            self.images += 1
            self.known[key] = Outcome(None, "recovery comes back to the same disk")
            self.known[key] = examine(Machine(self, env, born, image))
        return self.known[key]

    def image_of(self, env: MemoryEnv) -> bytes:
        """A digest of all names and bytes that recovery looks at.

        What lies in a folder of work it removes unread.
        """
        digest = blake2b(digest_size=16)
        for directory in self.family.directories:
            if not env.exists(directory):
                break
            files = env.peek(directory)
            for name in env.list(directory):
                digest.update(name.encode())
                digest.update(files.get(name, b""))
            digest.update(b"/")
        return digest.digest()


def examine(machine: Machine) -> Outcome:
    """Follow the rules until one is broken, or they lead to another disk."""
    for rule in RULES:
        try:
            what = rule(machine)
        except FAILURES as error:
            what = f"{type(error).__name__}: {error}"
        if what:
            return Outcome(machine.told, f"{rule.__name__}: {what}")
        if machine.became is not None:
            return Outcome(machine.told, machine.became.complaint)
    return Outcome(machine.told)
