"""Random work on all three envs at once: they agree, and what was synced stays."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quorate.storage.env import Env, RealEnv, read_file
from quorate.storage.hold_back_env import HELD, HoldBackEnv
from quorate.storage.memory_env import MemoryEnv

Kind = Literal[
    "create",
    "link",
    "make_directory",
    "remove",
    "remove_directory",
    "rename",
    "sync",
    "sync_directory",
    "truncate",
    "write",
]

DIRECTORIES = ["", "d", "e", "d/e"]
FILES = ["a", "b", "d/a", "e/a", "d/e/a"]


@dataclass(frozen=True)
class Step:
    kind: Kind
    path: str
    other: str = ""
    offset: int = 0
    length: int = 0

    def run(self, env: Env, root: str) -> str:
        """Do it; the outcome is a word that the envs must agree about."""
        try:
            self._run(env, f"{root}/{self.path}", f"{root}/{self.other}")
        except OSError as error:
            return type(error).__name__
        return "done"

    def _run(self, env: Env, path: str, other: str) -> None:
        match self.kind:
            case "create":
                env.open(path, create=True).close()
            case "link":
                env.link(path, other)
            case "make_directory":
                env.make_directory(path)
            case "remove":
                env.remove(path)
            case "remove_directory":
                env.remove_directory(path)
            case "rename":
                env.rename(path, other)
            case "sync_directory":
                env.sync_directory(path)
            case "sync" | "truncate" | "write":
                file = env.open(path)
                if self.kind == "sync":
                    file.sync()
                elif self.kind == "truncate":
                    file.truncate(self.offset)
                else:
                    data = (self.path + str(self.offset)).encode() * 1100
                    file.write_at(self.offset, data[: self.length])
                file.close()


def tree(env: Env, root: str, name: str = "") -> dict[str, bytes | None]:
    """All that is visible: files with their content, directories without."""
    found: dict[str, bytes | None] = {}
    for child in env.list(f"{root}/{name}"):
        if child.startswith(HELD):
            continue
        path = f"{name}/{child}" if name else child
        try:
            found[path] = read_file(env, f"{root}/{path}")
        except IsADirectoryError:
            found[path] = None
            found |= tree(env, root, path)
    return found


def sync_all(env: Env, root: str) -> None:
    env.sync_directory(root)
    for path, content in tree(env, root).items():
        if content is None:
            env.sync_directory(f"{root}/{path}")
        else:
            file = env.open(f"{root}/{path}")
            file.sync()
            file.close()


class Never:
    """Dice for the worst case: nothing that was not synced is kept."""

    def randrange(self, stop: int, /) -> int:
        return 0

    def getrandbits(self, k: int, /) -> int:
        return 0


files = st.sampled_from(FILES)
directories = st.sampled_from(DIRECTORIES[1:])
sizes = st.sampled_from([0, 1, 500, 512, 513, 1500])
changes = st.one_of(
    st.builds(Step, st.just("create"), files),
    st.builds(Step, st.just("write"), files, st.just(""), sizes, sizes),
    st.builds(Step, st.just("truncate"), files, st.just(""), sizes),
    st.builds(Step, st.sampled_from(["link", "rename"]), files, files),
    st.builds(Step, st.just("rename"), directories, directories),
    st.builds(Step, st.just("remove"), files),
    st.builds(
        Step, st.sampled_from(["make_directory", "remove_directory"]), directories
    ),
)
syncs = st.one_of(
    st.builds(Step, st.just("sync"), files),
    st.builds(Step, st.just("sync_directory"), st.sampled_from(DIRECTORIES)),
)
# A few of them make directories first, else most steps find nothing to work on.
starts = st.sampled_from(
    [[], [Step("make_directory", "d"), Step("make_directory", "e")]]
)


def _joined(start: list[Step], rest: list[Step]) -> list[Step]:
    return start + rest


works = st.builds(
    _joined, starts, st.lists(st.one_of(changes, changes, syncs), max_size=30)
)


@pytest.fixture
def fresh_root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    return lambda: str(tmp_path_factory.mktemp("disk"))


real_disks = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.slow
@real_disks
@given(work=works)
def test_all_envs_show_the_same(
    fresh_root: Callable[[], str], work: list[Step]
) -> None:
    roots = [fresh_root(), fresh_root(), "/data"]
    memory = MemoryEnv()
    memory.make_directory("/data")
    envs: list[Env] = [RealEnv(), HoldBackEnv(roots[1]), memory]
    for step in work:
        outcomes = [step.run(e, root) for e, root in zip(envs, roots, strict=True)]
        assert len(set(outcomes)) == 1, (step, outcomes)
        trees = [tree(e, root) for e, root in zip(envs, roots, strict=True)]
        assert trees[0] == trees[1] == trees[2], step
    for root in roots[:2]:
        shutil.rmtree(root)


@pytest.mark.slow
@real_disks
@given(work=works)
def test_the_held_back_disk_loses_what_the_worst_power_loss_would(
    fresh_root: Callable[[], str], work: list[Step]
) -> None:
    root = fresh_root()
    held = HoldBackEnv(root)
    memory = MemoryEnv()
    memory.make_directory("/data")
    memory.sync_directory("/")
    for step in work:
        step.run(held, root)
        step.run(memory, "/data")
    durable = memory.copy()
    durable.crash(Never())
    assert tree(RealEnv(), root) == tree(durable, "/data")
    held.crash()
    assert tree(held, root) == tree(durable, "/data")
    shutil.rmtree(root)


@settings(max_examples=50)
@given(work=works, later=st.lists(changes, max_size=8), seed=st.integers(0, 999))
def test_what_was_synced_and_left_alone_survives_any_power_loss(
    work: list[Step], later: list[Step], seed: int
) -> None:
    env = MemoryEnv()
    env.make_directory("/data")
    env.sync_directory("/")
    for step in work:
        step.run(env, "/data")
    sync_all(env, "/data")
    synced = tree(env, "/data")
    linked = any(step.kind == "link" for step in work)
    for step in later:
        step.run(env, "/data")
    env.crash(random.Random(seed))
    left = tree(env, "/data")
    touched = {path for step in later for path in (step.path, step.other)}
    for path, content in synced.items():
        if not any(path == name or path.startswith(name + "/") for name in touched):
            assert path in left
            assert left[path] == content or (linked and later)
    if not later:
        assert left == synced


@settings(max_examples=50)
@given(work=st.lists(st.one_of(changes, syncs), max_size=8), seed=st.integers(0, 999))
def test_chance_leaves_only_states_that_the_enumeration_knows(
    work: list[Step], seed: int
) -> None:
    env = MemoryEnv()
    env.make_directory("/data")
    env.make_directory("/data/d")
    sync_all(env, "/data")
    env.sync_directory("/")
    for step in work:
        step.run(env, "/data")
    states = [tree(state, "/data") for state in env.crash_states(bound=100_000)]
    assert tree(env, "/data") in states
    env.crash(random.Random(seed), tear=False)
    assert tree(env, "/data") in states
