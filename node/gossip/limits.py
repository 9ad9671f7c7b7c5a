"""The numbers of gossip: intervals, bounds, and why they are what they are.

Law: numbers only. A tick is a tenth of a second. They are not options: every member
has to have the same ones, or the slowest would be declared dead by the quickest.
"""

from math import log10
from typing import Final

TICKS_PER_SECOND: Final = 10

# One probe each half second; the last 300 ms of it are for the detour over others.
PROBE_INTERVAL_TICKS: Final = 5
PROBE_TIMEOUT_TICKS: Final = 2
INDIRECT_PROBES: Final = 3
# Every second probe goes to one of so many next ones by id, in turn. With chance alone,
# nobody asks after a certain member for some six seconds once in 300 deaths; so three
# do within three seconds, as many as a suspicion needs to be over soon.
RING_MEMBERS: Final = 3
# Of others' probes that this member makes for them, at one time.
RELAYS_MAX: Final = 256

# A suspicion lasts between the least time, when as many accuse as can be expected, and
# six times that, when one does. Whoever is suspected has that long to answer.
SUSPICION_MULT: Final = 3
SUSPICION_TICKS_MIN: Final = 20
SUSPICION_MAX_MULT: Final = 6
CONFIRMATIONS: Final = 2

# News go to three members each 200 ms, and with every message that is sent anyhow.
NEWS_INTERVAL_TICKS: Final = 2
NEWS_MEMBERS: Final = 3
# When a partition heals there are some about everybody at once.
NEWS_CLAIMS_MAX: Final = 32
# How often a member passes one piece of news on, and for each digit of how many they
# are. With n tellings everybody's miss a certain one of them with a chance of e⁻ⁿ: with
# twelve, somebody in one of a thousand deaths of a hundred members, who heard of it
# when tables were compared, too late. With twenty, in one of two million.
TELLINGS_MIN: Final = 12
TELLINGS_PER_DIGIT: Final = 4
# What a member that was alone for longer held of others is old when it is back.
NEWS_TICKS: Final = 100

# Whole tables are exchanged with a live member, and with one that should be there.
SYNC_INTERVAL_TICKS: Final = 100
KNOCK_INTERVAL_TICKS: Final = 10

# Longer than news travel and than tables take to meet: 60 s against 10 s and a few.
TOMBSTONE_TICKS: Final = 600
MEMBERS_MAX: Final = 256
GRAVES_MAX: Final = 1024

# How far a member may come to distrust its own judgement (Lifeguard's multiplier).
STRAIN_MAX: Final = 8
# A loop that was held this long may have missed an answer that came in time.
LAG_TICKS: Final = 2

# An incarnation is a boot count and, below it, how often that boot has refuted.
REFUTATION_BITS: Final = 24
INCARNATION_MAX: Final = (1 << 63) - 1
# What others may say of somebody's incarnation in one step: 65,536 boots.
JUMP_MAX: Final = 1 << 40


def suspicion_ticks_min(live: int) -> int:
    """News take longer to get round the more members there are, by its logarithm."""
    scaled = SUSPICION_MULT * PROBE_INTERVAL_TICKS * log10(max(10, live))
    return max(SUSPICION_TICKS_MIN, int(scaled))


def transmissions_max(live: int) -> int:
    """How often a member passes one piece of news on."""
    # The number of digits is log10 rounded up.
    return TELLINGS_MIN + TELLINGS_PER_DIGIT * len(str(live))
