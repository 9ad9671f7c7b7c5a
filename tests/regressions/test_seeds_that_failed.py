"""Seeds of the run of 10,000 that failed, each for a reason of its own.

A change of the worlds makes other worlds of them; then they are seeds like any other.

- 3445, 5927, 6555: `heirs` was cut short while it kept a leader's links closed, and
  they stayed closed for ever (tests/chaos/simulator/test_faults.py).
- 4741: a node died in the turn in which it was to end politely; the simulator went on
  with the stop.
- 5630: a process was killed and started again behind a cut link, and then stopped
  politely. The simulator let that goodbye speak for the connection to the first
  process, too, so what had been handed to that one was handed on and applied twice. In
  a real node a goodbye ends its own connection alone.
- 5696: received checkpoints piled up (test_unneeded_snapshots_pile_up.py). This one was
  the product's.
- 6681: a candidate slept through a whole term, woke up and led its old one for a
  moment, as it may. The checker of leader completeness asked it for what had been
  committed in the later term.
- 7680: a second snapshot was installed while the batch of the first one was on its way
  to the disk; the checker's book then believed the older one.
- 8475: a request for a vote was ignored, as it had to be; the checker took an older
  answer to the same member, which waited for the disk, for the answer to that.
- 9453: two checkpoints were to be sent in one turn, and reading the first one ended the
  node; the simulator went on with the second.
- 975: the quorum that was to do without the others had one with damaged tables in it,
  whose log began behind where the other two ended; who had its state was left out.
- 5514: a state was installed, and the node ended before the batch of that step was
  begun. What its log had held behind that state was of another branch and went, as it
  must; the checker asked for it.
- 6024: a write was lost that had been reported done, of the last batch but one; the
  last one was still on its way and went with the power. Nobody could miss it (README).
- 2134: a node with a damaged table started, could not read its leases, and was about to
  be healed; the checker of leases asked it for them.
- 12174, 12220: where members change, the simulator's stand-in for the hello had a copy
  of the rule who may speak, and the copy lacked its last mend: a newcomer refused the
  connections of its own leader (test_leader_that_a_newcomer_does_not_know.py). In 12174
  it never got its snapshot. In 12220 it lost an answer, and later took a goodbye, which
  says that what was not answered was not taken: so a write was handed on and done
  twice. There is one rule now, and an answer is not turned away.
- 1625, 2536: a leader changed the voters; of those whom it needed from then on the
  checker of silent majorities wanted to have heard before they were needed.
- 327, 1967, 1999: the journal kept what the log kept for a snapshot on its way, or
  until what was flushed late was durable; the bound knew of neither.
- 2040, 2072: a wish that nobody had answered came true when a quorum had been chosen
  that was to do without the others, and took one of them away.
- 2775: a leader was paused while members left, woke up and went on for a moment with a
  change of the voters that it had begun; the checker of those who come back asked it
  for what it had slept through.
- 4419: as 2134, with the members: a node whose table is damaged can't read them, and is
  about to be healed.
- 4593: void. Slow disks and links let 296 operations be done in 260 seconds; a harsh
  world goes on for longer.
- 7363: a client that kept a lease alive at its very end began six more such tries with
  each answer, thousands in the end, faster than anybody flushes.
- 7718: there was no room for the manifest, and the one in place was damaged: the tables
  that were to be named stayed in the folder until the next start, also when the state
  had been replaced. This one was the product's.
- 331: of newcomers any number lost their disks where those of first voters were safe,
  and no majority was left of a change that was under way.
- 2804: a replica with a damaged table took a state before its own disk had the entry of
  that index (test_state_ahead_of_its_journal.py). This one was the product's.
"""

import pytest
from quorate.chaos.simulator.run import RunOptions, run_seed


@pytest.mark.parametrize(
    "seed",
    [975, 2134, 3445, 4741, 5514, 5630, 5696, 5927, 6024, 6555, 6681, 7680, 8475, 9453],
)
def test_a_seed_that_failed_passes(seed: int) -> None:
    assert run_seed(seed, RunOptions(members=False)).acknowledged >= 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed",
    [
        12174,
        12220,
        327,
        331,
        1625,
        1967,
        1999,
        2040,
        2072,
        2536,
        2775,
        4419,
        4593,
    ],
)
def test_a_seed_with_members_that_failed_passes(seed: int) -> None:
    assert run_seed(seed, RunOptions(members=True)).acknowledged >= 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2804, 7363, 7718, 70899])
def test_a_seed_that_failed_as_it_was_drawn_passes(seed: int) -> None:
    assert run_seed(seed, RunOptions()).acknowledged >= 300
