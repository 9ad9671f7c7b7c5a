"""The seed that noticed each mutant, as last hunted; `--mutants` runs it again.

Law: data only. The hunt began with seed 1, so a number also says how many it took. A
change of the simulator moves what a seed does: then `quorate simulate --mutants
--fresh` finds new ones.
"""

from typing import Final

CATCHES: Final[dict[str, int]] = {
    "ack-before-sync": 1,
    "directory-not-synced": 1,
    "checkpoint-name-not-synced": 1,
    "failed-sync-ignored": 2,
    "page-cache-believed": 2,
    "doubt-is-absence": 14,
    "body-not-checked": 37,
    "segments-dropped-early": 1,
    "message-before-disk": 1,
    "append-acked-before-disk": 1,
    "leader-counts-unsynced": 1,
    "older-term-committed": 4,
    "unstable-applied": 1,
    "stale-append-truncates": 1,
    "vote-without-log-check": 7,
    "votes-twice": 11,
    "read-id-reused": 15,
    "reads-before-own-commit": 2,
    "read-round-off-by-one": 1,
    "old-snapshot-installed": 132,
    "doubter-forgets": 23,
    "doubter-campaigns": 14,
    "read-before-apply": 1,
    "any-entry-answers": 25,
    "unknown-called-refused": 5,
    "condition-ignored": 1,
    "vote-not-persisted": 1,
    "learner-counted": 1,
    "learner-campaigns": 1,
    "heartbeat-commits-unmatched": 5,
    "quorum-unchecked": 5,
    "leader-not-stuck-to": 12,
    "stalled-disk-leads": 5,
    "stale-disk-acknowledged": 25,
    "damage-taken-for-tail": 5,
    "checkpoint-not-synced": 1,
    "newest-checkpoint-pruned": 2,
    "checkpoint-not-checked": 60,
    "checkpoint-index-of-commit": 3,
    "lost-forward-sent-again": 5,
    "every-node-answers-alone": 1,
    "bounded-read-unbounded": 5,
    "least-revision-ignored": 5,
    "cluster-time-by-the-wall": 1,
}
