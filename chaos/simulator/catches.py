"""The seed that noticed each mutant, as last hunted; `--mutants` runs it again.

Law: data only. The hunt began with seed 1, so a number also says how many it took. A
change of the simulator moves what a seed does: then `quorate simulate --mutants
--fresh` finds new ones.
"""

from typing import Final

CATCHES: Final[dict[str, int]] = {
    "ack-before-sync": 1,
    "directory-not-synced": 1,
    "failed-sync-ignored": 2,
    "page-cache-believed": 2,
    "doubt-is-absence": 8,
    "body-not-checked": 53,
    "segments-dropped-early": 1,
    "message-before-disk": 1,
    "append-acked-before-disk": 1,
    "leader-counts-unsynced": 2,
    "older-term-committed": 7,
    "unstable-applied": 1,
    "stale-append-truncates": 3,
    "vote-without-log-check": 7,
    "votes-twice": 3,
    "read-id-reused": 6,
    "reads-before-own-commit": 1,
    "read-round-off-by-one": 1,
    "old-snapshot-installed": 7,
    "doubter-forgets": 23,
    "doubter-campaigns": 8,
    "read-before-apply": 3,
    "any-entry-answers": 7,
    "unknown-called-refused": 5,
    "condition-ignored": 1,
    "vote-not-persisted": 1,
    "learner-counted": 1,
    "learner-campaigns": 1,
    "heartbeat-commits-unmatched": 5,
    "quorum-unchecked": 5,
    "leader-not-stuck-to": 12,
    "stalled-disk-leads": 18,
    "stale-disk-acknowledged": 25,
    "damage-taken-for-tail": 14,
    "table-not-synced": 1,
    "log-forgets-what-is-not-flushed": 1,
    "block-not-checked": 40,
    "flush-claims-too-much": 4,
    "deletions-dropped-early": 21,
    "lost-forward-sent-again": 12,
    "every-node-answers-alone": 1,
    "bounded-read-unbounded": 5,
    "least-revision-ignored": 5,
    "healed-state-read-early": 41,
    "cluster-time-by-the-wall": 1,
}
