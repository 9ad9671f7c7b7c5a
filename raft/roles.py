"""The roles, and why a request to the core is refused."""

from enum import Enum


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Refused(Enum):
    """Why a request to the core was not taken; nothing of it will ever happen."""

    NOT_LEADER = "not_leader"
    TRANSFERRING = "transferring"
    FULL = "full"
    PENDING_CHANGE = "pending_change"
    NO_CHANGE = "no_change"
    NOT_A_VOTER = "not_a_voter"
