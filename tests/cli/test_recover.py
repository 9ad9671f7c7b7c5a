"""recover: which survivor is taken, and what is told, for each kind of them."""

import errno
import os
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from quorate.node.identity import Identity, Voter, create_identity, load_identity
from quorate.node.stable import Opened, Stable, StableOptions
from quorate.raft import (
    CONFIGURATION,
    NOOP,
    Configuration,
    Entry,
    encode_configuration,
)
from quorate.storage.env import RealEnv
from quorate.storage.errors import CorruptionError
from quorate.storage.journal_format import HEAD_BYTES

from ..node.stable_kit import CLUSTER, persist, put, puts

Run = Callable[..., Result]
SALT = 0x5EED


def new_id() -> bytes:
    return os.urandom(16)


class Left:
    """The folder of a node that has ended."""

    def __init__(
        self,
        directory: Path,
        member: int = 0,
        voters: Mapping[int, Voter] | None = None,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        if voters is not None:
            self.data.mkdir(parents=True)
            name = voters[member].name
            (directory / "quorate.toml").write_text(f'name = "{name}"\n')
            identity = Identity(
                cluster_id=CLUSTER, member_id=member, name=name, voters=voters
            )
            create_identity(RealEnv(), str(self.data), identity)

    @contextmanager
    def opened(self) -> Generator[tuple[Stable, Opened]]:
        """Its replica, as the node opens it."""
        env = RealEnv()
        identity = load_identity(env, str(self.data))
        stable = Stable(env, str(self.data), identity.cluster_id, StableOptions())
        voters = Configuration(tuple(sorted(identity.voters)))
        try:
            yield stable, stable.open(voters if voters.voters else None, SALT, new_id)
        finally:
            stable.close()

    def logged(self, *batches: Sequence[Entry], commit: int = 0) -> "Left":
        """It persisted these, and heard last that `commit` is committed."""
        with self.opened() as (stable, _):
            for entries in batches:
                persist(stable, list(entries), commit=commit)
        return self

    def flushed(self) -> "Left":
        """All of its log is in its state."""
        with self.opened() as (_, opened):
            opened.database.apply(opened.entries)
            opened.database.store.flush()
        return self

    def damage_the_last_batch(self) -> None:
        """Of its entries, not of its head: who it was can still be read."""
        with self.opened() as (stable, opened):
            before = opened.entries[-1].index
            persist(stable, puts(before + 1, before + 1))
        (segment,) = [
            path
            for path in self.data.rglob("*.seg")
            if any(path.read_bytes()[4096:8192])
        ]
        data = bytearray(segment.read_bytes())
        # Every batch begins a block of its own.
        last = max(at for at in range(0, len(data), 4096) if any(data[at : at + 64]))
        data[last + HEAD_BYTES + 8] ^= 1
        segment.write_bytes(data)

    def damage_a_table(self) -> None:
        table = next(self.data.rglob("*.sst"))
        data = bytearray(table.read_bytes())
        data[30] ^= 1
        table.write_bytes(data)

    def keys(self) -> set[bytes]:
        """Of the state that it has, once all of its log is applied."""
        with self.opened() as (_, opened):
            opened.database.apply(opened.entries)
            names = (b"k%d" % index for index in range(2, 60))
            return {name for name in names if opened.database.get(name) is not None}


def keys(first: int, last: int) -> set[bytes]:
    return {b"k%d" % index for index in range(first, last + 1)}


@pytest.fixture
def nodes(tmp_path: Path) -> list[Left]:
    """Of five, which were ended before they wrote anything."""
    voters = {number: Voter(f"n{number}", "127.0.0.1:1") for number in range(1, 6)}
    return [
        Left(tmp_path / "c" / voter.name, number, voters)
        for number, voter in voters.items()
    ]


def rows(shown: Result) -> dict[str, tuple[bool, list[int]]]:
    """By node: whether it is the best, and its numbers from TERM to KEYS."""
    found: dict[str, tuple[bool, list[int]]] = {}
    for line in shown.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 11 and cells[3].isdigit() and cells[7].isdigit():
            found[cells[2]] = (cells[1] == "best", [int(cell) for cell in cells[3:9]])
    return found


def cells(shown: Result, name: str) -> list[str]:
    """The row of a node."""
    found = [[cell.strip() for cell in x.split("|")] for x in shown.stdout.splitlines()]
    (row,) = (each for each in found if len(each) == 11 and each[2] == name)
    return row


def reborn(run: Run, tmp_path: Path, *survivors: Left) -> Left:
    """The first voter of the cluster that is made of them."""
    directories = [str(each.directory) for each in survivors]
    new = tmp_path / "new"
    done = run("recover", *directories, "--into", str(new), "--yes")
    assert done.exit_code == 0, done.stderr
    return Left(new)


def look(run: Run, *survivors: Left) -> Result:
    """What is told; a second look tells the same, since nothing was changed."""
    directories = [str(each.directory) for each in survivors]
    first, second = (run("recover", *directories) for _ in range(2))
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)
    assert first.exit_code == second.exit_code
    return first


def test_the_longest_log_of_the_last_term_is_taken_with_its_tail(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """Two of five: neither knows what of the tail was acknowledged, so all of it is."""
    behind = nodes[1].logged(puts(2, 6), commit=6)
    ahead = nodes[3].logged(puts(2, 6), puts(7, 9), commit=6)
    shown = look(run, behind, ahead)
    assert rows(shown) == {
        "n2": (False, [1, 6, 6, 0, 6, 5]),
        "n4": (True, [1, 9, 6, 3, 9, 8]),
    }
    assert reborn(run, tmp_path, behind, ahead).keys() == keys(2, 9)
    assert (behind.keys(), ahead.keys()) == (keys(2, 6), keys(2, 9))


def test_a_later_term_is_worth_more_than_a_longer_log(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """What the longer one has behind was of a leader that had no majority any more."""
    longer = nodes[0].logged(puts(2, 5), puts(6, 20, term=2), commit=5)
    later = nodes[1].logged(puts(2, 5), [Entry(6, 3, NOOP, b"")], commit=5)
    shown = look(run, longer, later)
    assert rows(shown) == {
        "n1": (False, [2, 20, 5, 15, 20, 19]),
        "n2": (True, [3, 6, 5, 1, 5, 4]),
    }
    assert reborn(run, tmp_path, longer, later).keys() == keys(2, 5)


def test_a_state_with_a_log_behind_it_and_one_that_a_leader_sent(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """Neither has a log from the beginning, and the one that was sent has none."""
    flushed = nodes[0].logged(puts(2, 8), commit=8).flushed()
    flushed.logged(puts(9, 11), commit=10)
    leader = nodes[2].logged(puts(2, 12, term=2)).flushed()
    sent = nodes[1].logged(puts(2, 4), commit=4)
    with leader.opened() as (_, of), sent.opened() as (_, opened):
        incoming = opened.database.store.receive("the leader")
        for piece in of.database.store.pin().pieces():
            incoming.feed(piece)
        for _ in incoming.check():
            pass
        opened.database.install(incoming)
    shown = look(run, flushed, sent)
    assert rows(shown) == {
        "n1": (False, [1, 11, 10, 1, 11, 10]),
        "n2": (True, [2, 12, 12, 0, 12, 11]),
    }
    assert reborn(run, tmp_path, flushed).keys() == keys(2, 11)


def test_a_change_of_voters_that_was_under_way_is_over(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """The new cluster has one voter, whatever the old one was about to have."""
    joint = Configuration((1, 2, 3), outgoing=(1, 2, 9), learners=(4,))
    change = Entry(5, 1, CONFIGURATION, encode_configuration(joint))
    left = nodes[0].logged([*puts(2, 4), change, put(6)], commit=4)
    new = reborn(run, tmp_path, left)
    assert new.keys() == {b"k2", b"k3", b"k4", b"k6"}
    member = load_identity(RealEnv(), str(new.data)).member_id
    with new.opened() as (_, opened):
        assert opened.snapshot.configuration == Configuration((member,))


def test_whose_last_batch_is_damaged_says_what_may_be_lost(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    damaged, less = nodes[0].logged(puts(2, 6)), nodes[1].logged(puts(2, 5))
    damaged.damage_the_last_batch()
    shown = look(run, damaged, less)
    assert rows(shown)["n1"] == (True, [1, 6, 1, 5, 6, 5])
    assert "n1: its last batch is damaged" in shown.stdout
    assert "n2:" not in shown.stdout
    # Who has as much and is not damaged has not what it may have had.
    same = nodes[2].logged(puts(2, 6))
    assert "n1: its last batch is damaged" in look(run, same, damaged).stdout
    # Who has what the damaged one can't say any more makes good for it.
    more = nodes[3].logged(puts(2, 7))
    assert "damaged" not in look(run, damaged, more).stdout
    assert reborn(run, tmp_path, damaged, less).keys() == keys(2, 6)


def test_nothing_is_made_of_a_damaged_state(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    damaged, whole = nodes[0].logged(puts(2, 8), commit=8), nodes[1].logged(puts(2, 3))
    damaged.flushed().damage_a_table()
    arguments = [str(damaged.directory), str(whole.directory)]
    new = tmp_path / "new"
    done = run("recover", *arguments, "--into", str(new), "--yes")
    assert done.exit_code == 1
    assert ".sst" in done.stderr
    assert list(rows(done)) == ["n2"]
    # What its log still says is told, and that it would be worth more.
    assert cells(done, "n1")[3:8] == ["1", "8", "8", "0", "damaged"]
    assert "n1: its state is damaged; its log goes further" in done.stdout
    assert not new.exists()
    assert reborn(run, tmp_path, whole).keys() == keys(2, 3)


def test_who_never_had_a_state_is_no_survivor(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """A member that was let in, and was not sent anything before the others died."""
    whole, empty = nodes[0].logged(puts(2, 3)), nodes[1]
    done = look(run, whole, empty)
    assert done.exit_code == 1
    assert f"{empty.directory}: " in done.stderr
    assert "holds no replica" in done.stderr
    assert rows(done)["n1"][0]


def test_who_does_not_say_yes_has_made_nothing(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    left = nodes[0].logged(puts(2, 3))
    new = tmp_path / "new"
    done = run("recover", str(left.directory), "--into", str(new), stdin=b"n\n")
    assert done.exit_code == 1
    assert "must never run again" in done.stdout
    assert not new.exists()
    done = run("recover", str(left.directory), "--into", str(new), stdin=b"y\n")
    assert done.exit_code == 0, done.stderr
    assert Left(new).keys() == keys(2, 3)


def condemned(node: Left) -> None:
    with node.opened() as (_, opened):
        damage = CorruptionError("the state", 0, "it differs from the others'")
        opened.database.store.condemn(damage, lasting=True)


def test_nodes_whose_states_were_all_found_wrong_are_shown_with_what_can_be_had(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """Story: nothing was told but that each is damaged. The files may well be whole."""
    left = [node.logged(puts(2, 4), commit=4).flushed() for node in nodes[:2]]
    left[1].logged(puts(5, 6))
    whole = look(run, *left)
    for node in left:
        condemned(node)
    done = look(run, *left)
    assert done.exit_code == 1
    for node, name in zip(left, ("n1", "n2"), strict=True):
        assert cells(done, name)[2:] == cells(whole, name)[2:]
        assert cells(done, name)[1] == "condemned"
        assert f"{node.directory}: " in done.stderr
    assert done.stderr.count("it differs from the others'") == 2
    assert "made of the files of n1, n2" in done.stderr
    assert "quorate backup restore" in done.stderr
    # Nothing is made of it until somebody has said which one is right.
    new = tmp_path / "new"
    done = run(
        "recover", *(str(n.directory) for n in left), "--into", str(new), "--yes"
    )
    assert (done.exit_code, new.exists()) == (1, False)
    next(left[1].data.rglob("CONDEMNED")).unlink()
    assert reborn(run, tmp_path, left[1]).keys() == keys(2, 6)


@pytest.mark.parametrize("missing", [False, True])
def test_a_condemned_state_with_a_damaged_file_is_not_shown_as_one(
    run: Run, nodes: list[Left], missing: bool
) -> None:
    left = nodes[0].logged(puts(2, 4), commit=4).flushed()
    condemned(left)
    table = next(left.data.rglob("*.sst"))
    if missing:
        table.unlink()
    else:
        left.damage_a_table()
    done = look(run, left)
    assert done.exit_code == 1
    assert cells(done, "n1")[1:8] == ["", "n1", "1", "4", "4", "0", "damaged"]
    assert f"{table} is damaged" in done.stderr
    assert "none of the states can be read" in done.stderr
    assert "quorate backup restore" in done.stderr


def test_a_condemned_state_is_not_the_best(run: Run, nodes: list[Left]) -> None:
    more, whole = nodes[0].logged(puts(2, 8)).flushed(), nodes[1].logged(puts(2, 3))
    condemned(more)
    done = look(run, more, whole)
    assert done.exit_code == 1
    assert [cells(done, name)[1] for name in ("n1", "n2")] == ["condemned", "best"]
    assert "n1: its state is condemned; its log goes further" in done.stdout
    assert "none of the states" not in done.stderr


def test_states_can_be_compared_by_their_hashes(run: Run, nodes: list[Left]) -> None:
    one, same = (node.logged(puts(2, 5), commit=3) for node in nodes[:2])
    less = nodes[2].logged(puts(2, 4))
    same.flushed()
    shown = look(run, one, same, less)
    first, second, third = (cells(shown, name)[9] for name in ("n1", "n2", "n3"))
    assert first == second != third
    with same.opened() as (_, opened):
        assert opened.database.state_hash().startswith(first)
    assert "one of the two is wrong" not in shown.stdout
    # Ends at the same place, and is another one: as after a bug.
    other = nodes[3].logged([*puts(2, 4), Entry(5, 1, NOOP, b"")], commit=5)
    assert "n4: its log ends as the best's does, but" in look(run, one, other).stdout


def test_a_node_is_named_by_its_configuration_or_its_data_directory(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    """A configuration in /etc, or a data directory that a variable names."""
    left = nodes[0].logged(puts(2, 4))
    elsewhere = tmp_path / "etc" / "n1.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(f'name = "n1"\ndata_dir = "{left.data}"\n')
    shown = [run("recover", str(at)) for at in (left.directory, elsewhere, left.data)]
    assert [each.exit_code for each in shown] == [0, 0, 0], shown[2].stderr
    assert len({each.stdout for each in shown}) == 1
    done = run("recover", str(elsewhere), "--into", str(tmp_path / "new"), "--yes")
    assert f"Its data:      {tmp_path / 'new' / 'data'}\n" in done.stdout


def test_what_has_no_room_is_told_before_anything_is_asked_or_made(
    run: Run, tmp_path: Path, nodes: list[Left], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, new = nodes[0].logged(puts(2, 4)).flushed(), tmp_path / "other" / "new"
    full = [""]

    def free(env: RealEnv, path: str) -> int:
        return 10 if path == full[0] else 1 << 40

    monkeypatch.setattr(RealEnv, "free_bytes", free)
    for full[0], said in (
        (str(left.directory), f"{left.directory}: a copy of the state is made there"),
        (str(tmp_path), f"{new}: the new cluster can't be made there"),
    ):
        done = run("recover", str(left.directory), "--into", str(new), stdin=b"y\n")
        assert done.exit_code == 1
        assert said in done.stderr
        assert "and 10 are free" in done.stderr
        assert "must never run again" not in done.stdout
        assert not new.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_looks_at_stays_its_owners(
    run: Run, tmp_path: Path, nodes: list[Left]
) -> None:
    left, owner = nodes[0].logged(puts(2, 4)).flushed(), (12_345, 12_346)
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    for path in (left.data, *left.data.rglob("*")):
        os.chown(path, *owner)
    (left.data / "link").symlink_to(outside)
    (left.data / "hard").hardlink_to(outside)
    assert run("recover", str(left.directory)).exit_code == 0
    for path in (left.data, *left.data.rglob("*")):
        if path.name not in ("link", "hard"):
            assert (path.stat().st_uid, path.stat().st_gid) == owner, path
    assert outside.stat().st_uid == 0


def test_where_no_copy_can_be_made_is_told(
    run: Run, nodes: list[Left], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    left = nodes[0].logged(puts(2, 4))
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    done = run("recover", str(left.directory))
    assert done.exit_code == 1
    assert f"{left.directory}: a copy" in done.stderr
    assert "Permission denied" in done.stderr
