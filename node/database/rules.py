"""The safety rules of the state machine, one small predicate each.

Law: called by name through this module, so that a mutant can replace exactly one.
"""

from ...wire import SESSION_IDLE_MS, MemberRole


def already_applied(index: int, applied_index: int) -> bool:
    """I-32: what is in the state already is not applied again."""
    return index <= applied_index


def expectation_met(expected: int, current: int) -> bool:
    """A conditional write goes through only at the expected revision (0: absent)."""
    return expected == current


def lets_go(revision: int, compacted: int) -> bool:
    """A compaction only goes forward."""
    return revision > compacted


def ends_a_slice(revision: int, last: int) -> bool:
    """I-58: a revision is told whole, so what is told ends between two of them."""
    return revision != last


def replaced_at(mod_revision: int, since: int) -> int:
    """I-58: what was there before a change is what that very change replaced."""
    del mod_revision
    return since


def reads_leases_back() -> bool:
    """I-63: a store that is opened or installed has its leases in it."""
    return True


def still_the_same(since: int, ended: int) -> bool:
    """I-63: only the lease whose time was over ends, not a later one of its id."""
    return since == ended


def reads_sessions_back() -> bool:
    """I-55: a store that is opened or installed has its sessions in it."""
    return True


def reads_members_back() -> bool:
    """I-51: a store that is opened or installed has its members in it."""
    return True


def compacted_in(state: int) -> int:
    """I-51: how much of the past is gone comes with the state that lacks it."""
    return state


def same_session(since: int, meant: int) -> bool:
    """I-55: what was meant for a session is not for a later one of its id."""
    return since == meant


def session_is_over(active_ms: int, now_ms: int) -> bool:
    """I-55: one that was silent so long is gone, for every replica at once."""
    return now_ms - active_ms > SESSION_IDLE_MS


def number_is_finished(sequence: int, lowest: int) -> bool:
    """I-55: of what its client has finished nothing is remembered, so nothing done."""
    return sequence < lowest


def done_once() -> bool:
    """I-55: a number that was answered is answered again, and not done again."""
    return True


def still_kept(revision: int, compacted: int) -> bool:
    """What was compacted is never answered from: some of it may be there, or not."""
    return revision >= compacted


def caretaker_may_act(paused: bool) -> bool:
    """A caretaker that was paused does nothing, also not what is on its way."""
    return not paused


def is_a_spare(role: MemberRole | None) -> bool:
    """Only whom somebody meant for it becomes a voter without being asked."""
    return role is MemberRole.SPARE


def may_be_let_in(gone: bool) -> bool:
    """I-49: who has left does not come back under its id."""
    return not gone


def is_ready_for_root(
    issuer: bytes, roots: tuple[bytes, ...], new: bytes, *, issuing: bool
) -> bool:
    """May the rotation to the root `new` go on, as far as one member is concerned?

    Before anybody shows a certificate of the new root it has to trust that root; before
    nobody trusts the old one it has to show a certificate of the new one itself.
    """
    return issuer == new if issuing else new in roots


def understands(version: int, lowest: int, highest: int) -> bool:
    """A version is used only when every member can be part of such a cluster."""
    return lowest <= version <= highest


def has_come(since: int, version: int) -> bool:
    """What a later version brings is not written before the cluster has that one."""
    return version >= since


def is_refused(revoked: bool) -> bool:
    """What was revoked is not let in, however good it is otherwise."""
    return revoked
