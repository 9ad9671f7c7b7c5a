"""Wishes that the steward could not go on with, although all were there and heard.

Found by the simulator's operators, who ask for one thing after the other.

- Seed 57 (with `--members`): the only voter was to be replaced by n2; then n2 was to be
  a replica after all, and a new member was to vote. Nobody of those who were known to
  Raft was to vote any more, so the steward waited, and let nobody learn meanwhile; the
  new voter was none of those who learned, and could not become one.
- Seed 58: both voters were to go, and a replica that had caught up was to vote alone.
  The leader wanted to hand over before it made the change, to somebody who votes both
  before and after it. There was nobody.

Now those who shall learn do so while the voters have to wait; and where nobody could
take over, the new voters vote beside the leader first.
"""

from quorate.wire import MemberRole, Reassign

from ..node.replica.test_steward import cluster, done, goes_to, joined

VOTER, REPLICA, LEAVING, _ = MemberRole


def test_a_new_voter_comes_although_the_only_one_has_lost_its_heir() -> None:
    together = cluster(1)
    joined(together, 2, REPLICA)
    together.run(20)
    # All of it before the steward looks again.
    done(together, Reassign(1, LEAVING, 2))
    joined(together, 3, VOTER)
    done(together, Reassign(2, REPLICA, 0))
    # Whose heir it was to be goes on as a voter (decision 0023).
    goes_to(together, (1, 3), (2,))


def test_all_voters_go_and_a_replica_takes_over() -> None:
    together = cluster(2)
    joined(together, 3, REPLICA)
    together.run(20)
    leader, other = together.leader, together.follower
    done(together, Reassign(3, VOTER, 0))
    done(together, Reassign(leader, REPLICA, 0))
    done(together, Reassign(other, LEAVING, 0))
    goes_to(together, (3,), (leader,))
