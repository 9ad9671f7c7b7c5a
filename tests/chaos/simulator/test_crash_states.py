"""All crash states of small storage workloads, and what the enumeration objects to."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from quorate.chaos.simulator.exhaustive.crash_model import (
    INVARIANTS,
    Answer,
    Checkpoint,
    Told,
    Wanted,
    complaints_about,
    join,
)
from quorate.chaos.simulator.exhaustive.crash_recovery import Recovery
from quorate.chaos.simulator.exhaustive.crash_run import Run, Step, put
from quorate.chaos.simulator.exhaustive.crash_states import (
    FAMILIES,
    SAMPLES,
    Summary,
    Walk,
    enumerate_crash_states,
)
from quorate.chaos.simulator.mutants import planted
from quorate.storage import journal_recovery
from quorate.storage.engine import core, edit
from quorate.storage.engine.manifest import Manifest, encode_manifest
from quorate.storage.env import write_file_durably
from quorate.storage.journal import Batch, Journal
from quorate.storage.journal_format import BLOCK_BYTES
from quorate.storage.journal_newest import NEWEST_BYTES, Mark, newest_path, write_mark
from quorate.storage.memory_env import Crashed, MemoryEnv, Operation

JOURNAL = "journal of two blocks"


def enumerate_quietly(operations_max: int) -> Summary:
    return enumerate_crash_states(operations_max, report=lambda _: None)


@pytest.mark.slow
def test_every_crash_in_two_operations_is_survived() -> None:
    lines: list[str] = []
    summary = enumerate_crash_states(2, report=lines.append)
    assert summary.violations == []
    assert [line.partition(":")[0] for line in lines] == list(FAMILIES)
    assert summary.workloads > 250
    assert summary.stops > 1_500
    assert summary.states > 8_000
    assert summary.sampled == 0


@pytest.mark.slow
def test_the_numbers_are_the_same_in_every_process() -> None:
    script = (
        f"from {Walk.__module__} import *\n"
        "print(enumerate_crash_states(1, report=print))\n"
        f"walk = Walk(FAMILIES[{JOURNAL!r}], states_max=2)\n"
        "print(walk.run(1), walk.recovery.images)\n"
    )
    outputs: set[bytes] = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=120,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert b"states=" in outputs.pop()


def test_families_are_chosen_by_name() -> None:
    lines: list[str] = []
    names = ["birth", JOURNAL]
    enumerate_crash_states(1, workloads=names, report=lines.append)
    assert [line.partition(":")[0] for line in lines] == names


# -- what is walked ------------------------------------------------------------------


def test_the_alphabets_do_everything_that_storage_does_to_a_disk() -> None:
    """The enumeration is worth what its workloads are worth."""
    kinds: Counter[str] = Counter()
    names: Counter[str] = Counter()

    def hook(operation: Operation) -> None:
        kinds[operation.kind] += 1
        if operation.kind == "rename":
            names[_kind_of(operation.path)] += 1

    def walk(run: Run, left: int) -> None:
        for step in run.family.steps:
            if step.legal(run) and left:
                twin = run.clone()
                twin.env.on_operation = hook
                step.act(twin)
                twin.env.on_operation = None
                walk(twin, left - 1)

    for family in FAMILIES.values():
        walk(family.begin(family), 2)
    assert set(kinds) == {
        "create",
        "make_directory",
        "remove",
        "remove_directory",
        "rename",
        "sync",
        "sync_directory",
        "write",
    }
    assert set(names) == {"segment", "recycled", "ahead", "engine"}


def _kind_of(path: str) -> str:
    name = path.rpartition("/")[2]
    if name.startswith("ahead"):
        return "ahead"
    if name.endswith("-spare.seg"):
        return "recycled"
    return "segment" if name.endswith(".seg") else "engine"


def images(run: Run, env: MemoryEnv) -> set[bytes]:
    recovery = Recovery(run.family)
    return {recovery.image_of(state) for state in env.crash_states(tear=True)}


@pytest.mark.parametrize(
    ("family", "name"),
    [(JOURNAL, "append"), ("birth", "bootstrap"), ("replica", "compact")],
)
def test_what_a_hook_sees_is_what_a_stopped_process_leaves(
    family: str, name: str
) -> None:
    start = FAMILIES[family].begin(FAMILIES[family])
    step = next(s for s in FAMILIES[family].steps if s.name == name)
    seen: list[set[bytes]] = []
    watched = start.clone()
    watched.env.on_operation = lambda _: seen.append(images(watched, watched.env))
    step.act(watched)
    assert len(seen) > 4
    for count, found in enumerate(seen):
        stopped = start.clone()
        stop_before(stopped, step, count)
        assert images(stopped, stopped.env) == found


def stop_before(run: Run, step: Step, count: int) -> None:
    """End the process right before a mutation."""
    left = count

    def hook(operation: Operation) -> None:
        nonlocal left
        del operation
        left -= 1
        if left < 0:
            raise Crashed

    run.env.on_operation = hook
    with pytest.raises(Crashed):
        step.act(run)
    run.env.on_operation = None
    run.env.kill()


def test_a_copied_disk_has_the_crash_states_of_the_original() -> None:
    """Also where a name moved between folders, which is two steps that go together."""
    env = MemoryEnv()
    for path in ("/one", "/two", "/one/inner"):
        env.make_directory(path)
    env.open("/one/file", create=True).write_at(0, b"x" * 600)
    env.rename("/one/file", "/two/file")
    env.rename("/one/inner", "/two/inner")
    env.link("/two/file", "/file")

    def seen(disk: MemoryEnv) -> Counter[str]:
        states = disk.crash_states(tear=True)
        return Counter(str(tree_of(state)) for state in states)

    assert seen(env.copy()) == seen(env)
    assert len(seen(env)) > 20


def tree_of(env: MemoryEnv, directory: str = "") -> dict[str, object]:
    tree: dict[str, object] = {}
    for name in env.list(directory or "/"):
        try:
            tree[name] = env.size(f"{directory}/{name}")
        except IsADirectoryError:
            tree[name] = tree_of(env, f"{directory}/{name}")
    return tree


@pytest.mark.slow
def test_too_many_states_are_sampled_and_counted_apart() -> None:
    full = Walk(FAMILIES[JOURNAL]).run(1)
    some = Walk(FAMILIES[JOURNAL], states_max=2).run(1)
    assert (some.stops, some.workloads) == (full.stops, full.workloads)
    assert some.sampled > SAMPLES
    assert some.sampled % SAMPLES == 0
    assert some.states < full.states
    assert some.violations == []
    assert full.sampled == 0


# -- teeth ---------------------------------------------------------------------------

# What a crash alone can't show is not here: failed-sync-ignored needs a failing sync,
# damage-taken-for-tail and block-not-checked need bytes that go bad when durable.
TEETH = {
    "ack-before-sync": "acknowledged_entries_are_there",
    "directory-not-synced": "recovery_succeeds",
    "page-cache-believed": "what_was_told_is_durable",
    "doubt-is-absence": "damage_is_doubted",
    "body-not-checked": "nothing_unwritten_appears",
    "segments-dropped-early": "recovery_succeeds",
    "table-not-synced": "recovery_succeeds",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEETH)
def test_a_broken_rule_of_storage_is_noticed_within_two_operations(name: str) -> None:
    with planted(name):
        violations = enumerate_quietly(2).violations
    assert any(TEETH[name] in violation for violation in violations)


def nothing(*_: object) -> None:
    return None


def no_spares(journal: Journal) -> list[str]:
    del journal
    return []


def prepare_in_place(journal: Journal) -> None:
    """A spare that has its name before it is whole."""
    file = journal.env.open(f"{journal.directory}/ahead-spare.seg", create=True)
    file.write_at(0, bytes(journal.options.segment_bytes))
    file.sync()


def mark_ahead(journal: Journal) -> None:
    """The mark of the next segment is durable before a batch in it is."""
    path = newest_path(journal.directory)
    if not journal.env.exists(path):
        write_file_durably(journal.env, path, bytes(NEWEST_BYTES))
    newest = journal.segments[-1].sequence if journal.segments else 0
    write_mark(journal.env.open(path), Mark(newest + 1, BLOCK_BYTES))


def nothing_cleaned(env: MemoryEnv, directory: str, work: str, known: object) -> None:
    del directory, known
    for path in (work.rpartition("/")[0], work):
        env.make_directory(path)


def not_durably(env: MemoryEnv, directory: str, manifest: Manifest) -> None:
    """The name is not synced."""
    path = f"{directory}/MANIFEST"
    file = env.open(f"{path}.tmp", create=True)
    file.truncate(0)
    file.write_at(0, encode_manifest(manifest))
    file.sync()
    file.close()
    env.rename(f"{path}.tmp", path)


def kill_and_keep_locks(env: MemoryEnv) -> None:
    env.boot += 1


BREAKS: list[tuple[object, str, Callable[..., object], str, str]] = [
    (journal_recovery, "decode_foot", nothing, JOURNAL, "damage_is_told"),
    (Journal, "prepare_spare", prepare_in_place, JOURNAL, "nothing_is_left_over"),
    (Journal, "_spares", no_spares, JOURNAL, "nothing_is_left_over"),
    (Journal, "_have_mark", mark_ahead, JOURNAL, "recovery_succeeds"),
    (core, "clean", nothing_cleaned, "replica", "no_table_is_left_over"),
    (edit, "save_manifest", not_durably, "replica", "recovery_succeeds"),
    (MemoryEnv, "kill", kill_and_keep_locks, JOURNAL, "locks_die_with_the_boot"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "name", "broken", "family", "invariant"), BREAKS)
def test_what_no_mutant_breaks_is_noticed_as_well(
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    broken: Callable[..., object],
    family: str,
    invariant: str,
) -> None:
    monkeypatch.setattr(place, name, broken)
    walk = Walk(FAMILIES[family])
    violations = walk.run(2).violations
    assert any(invariant in violation for violation in violations)


def test_a_recovery_that_is_not_durable_is_noticed_by_a_second_power_loss() -> None:
    with planted("ack-before-sync"):
        violations = Walk(FAMILIES["birth"]).run(1).violations
    words = [violation.split(" | ")[3:] for violation in violations]
    assert any(
        how.startswith("power, state ") and what.startswith("what_was_told_is_durable")
        for how, what in words
    )


def test_a_journal_that_forgets_to_abandon_cannot_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A violation names the sequence, the mutation, the state and the invariant."""
    append = Journal.append

    def forget(journal: Journal, batch: Batch) -> None:
        journal.abandons = False
        append(journal, batch)

    monkeypatch.setattr(Journal, "append", forget)
    violations = Walk(FAMILIES[JOURNAL]).run(1).violations
    words = violations[0].split(" | ")
    assert words[:2] == [JOURNAL, "append"]
    assert words[2].startswith("before sync /data/journal/")
    assert words[3].startswith("power, ")
    assert words[4].startswith("work_goes_on: ")


# -- the invariants, by hand ---------------------------------------------------------

BEFORE = Answer(2, 1, 2, (1, 1), (put(2, 1, 9), put(3, 2, 9)), None, "state")
AFTER = replace(BEFORE, term=3, vote=0, entries=(put(2, 1, 9), put(3, 3, 9)))
TORN = replace(BEFORE, term=3, vote=0, doubt=(3, 3))
WANTED = Wanted(BEFORE, AFTER, (TORN, replace(TORN, doubt=None)), (3, 0), (3, 3))

WRONG = {
    "term_and_vote_never_fall_back": Told(replace(BEFORE, vote=0), False),
    "acknowledged_entries_are_there": Told(
        replace(BEFORE, entries=BEFORE.entries[:1]), False
    ),
    "nothing_unwritten_appears": Told(
        replace(BEFORE, entries=(put(2, 1, 9), put(3, 2, 8))), False
    ),
    "no_checkpoint_is_lost": Told(replace(BEFORE, base=(0, 0)), False),
    "damage_is_told": Told(BEFORE, False),
    "damage_is_doubted": Told(replace(TORN, doubt=None), True),
    "log_is_before_or_after": Told(replace(BEFORE, commit_index=3), False),
}


def test_the_old_the_new_and_the_old_in_doubt_are_right() -> None:
    for told in (Told(BEFORE, False), Told(AFTER, False), Told(TORN, True)):
        assert complaints_about(told, WANTED) == []


def test_each_invariant_is_tried() -> None:
    assert list(WRONG) == [rule.__name__ for rule in INVARIANTS]


@pytest.mark.parametrize("name", WRONG)
def test_an_invariant_objects_to_what_it_is_about(name: str) -> None:
    wanted = replace(WANTED, traced=name == "damage_is_told")
    complaints = complaints_about(WRONG[name], wanted)
    assert name in [complaint.split(":")[0] for complaint in complaints]


def test_a_doubt_without_damage_is_a_mixture() -> None:
    complaints = complaints_about(Told(TORN, False), WANTED)
    assert [complaint.split(":")[0] for complaint in complaints] == [
        "log_is_before_or_after"
    ]


def test_a_checkpoint_of_another_history_ends_the_log() -> None:
    joined = join(BEFORE, Checkpoint(2, 1, "newer"))
    assert (joined.base, joined.entries) == ((2, 1), (put(3, 2, 9),))
    joined = join(BEFORE, Checkpoint(2, 2, "other"))
    assert (joined.base, joined.entries, joined.state) == ((2, 2), (), "other")
