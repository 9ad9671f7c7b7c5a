"""The safety rules of gossip, one small predicate each.

Law: called by name through this module, so that a mutant can replace exactly one.
"""

from .limits import INCARNATION_MAX, JUMP_MAX
from .messages import State


def same_cluster(ours: int, theirs: int) -> bool:
    """I-67: nothing that another cluster says is looked at."""
    return ours == theirs


def outranks(said: tuple[int, State], known: tuple[int, State]) -> bool:
    """I-69: a higher incarnation wins; at the same one, the worse news."""
    return said > known


def is_believable(incarnation: int, known: int, own_word: bool) -> bool:
    """I-69: only the member itself may be believed when its incarnation leaps."""
    leap = incarnation - known
    return incarnation <= INCARNATION_MAX and (own_word or leap <= JUMP_MAX)


def accuses_at(incarnation: int) -> int:
    """I-69: nobody raises another member's incarnation."""
    return incarnation


def refutes() -> bool:
    """I-69: who is there and is said not to be says so."""
    return True


def is_confirmation(accuser: int, accusers: tuple[int, ...]) -> bool:
    """I-71: whoever accuses twice is one accuser."""
    return accuser not in accusers


def time_lost(lag: int) -> int:
    """I-71: nobody's time runs out while we were not there to hear his answer."""
    return lag


def may_move(live: bool, own_word: bool) -> bool:
    """I-72: who lives elsewhere, by hearsay, does not take a live member's place."""
    return own_word or not live


def rises(incarnation: int, buried: int) -> bool:
    """I-70: whoever was forgotten as dead comes back only with a new incarnation."""
    return incarnation > buried


def tombstone_is_over(age_ticks: int, kept_ticks: int) -> bool:
    """I-70: the dead are remembered longer than what is old can travel."""
    return age_ticks >= kept_ticks


def table_says(state: State) -> State:
    """I-70: who is dead by somebody's table alone may have risen since: he is asked."""
    return State.SUSPECT if state is State.DEAD else state


def worth_telling(times: int, times_max: int, age: int, age_max: int) -> bool:
    """I-76: news that everybody must have by now are no news, nor those of long ago."""
    return times < times_max and age < age_max


def knocks_at(state: State | None) -> bool:
    """I-73: who is dead, and should be there, is asked again when links are back."""
    return state is None or state is State.DEAD
