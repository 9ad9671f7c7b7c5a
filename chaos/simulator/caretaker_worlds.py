"""Worlds with a name: voters are lost, and the caretaker lets spares take their places.

Law: calm but for what the name says. Nobody asks for a change of the voters here but
the leader's own caretaker, by the code that decides it in a node. What comes of it is
compared with a model of its own (checkers.member_model).
"""

from collections.abc import Callable
from typing import Final

from ...node.replica.caretaker import SETTLE_MS
from ...raft import Configuration
from ...wire import MemberCommand, MemberRole, SetCaretaker
from .faults.process import hold_down
from .node import Node
from .scene import Missed, Scene, tell_story
from .world import MILLISECOND, SECOND

_WHOLE: Final = {
    "append_entries_max": 4096,
    "append_bytes_max": 1 << 20,
    "inflight_messages_max": 8,
}
_SILENCE_MS: Final = 6_000
_STABLE_MS: Final = 1_000
_LOSSES: Final = 3
# Besides the silence and the rest of a new leader: elections, and the change itself.
_PATIENCE_TIMEOUTS: Final = 25


def lost_voters(seed: int) -> str:
    """One voter after the other is lost; each is replaced, and no other, nor too early.

    Says what happened; raises Violation.
    """
    return tell_story(seed, _lost_voters, 3, 0, _WHOLE, members=True)


def _lost_voters(scene: Scene) -> str:
    scene.tell_all()
    _tended(scene)
    told: list[str] = []
    for _ in range(_LOSSES):
        _is_away_for_a_while(scene)
        told.append(_is_lost(scene, _any_voter(scene)))
    _wish(scene, SetCaretaker(paused=True))
    _is_paused(scene)
    scene.end()
    return f"{', '.join(told)} were lost one after the other, and replaced"


def _is_lost(scene: Scene, lost: Node) -> str:
    """For so long that a spare votes in its place; then it is one. Its name."""
    before = _configuration(scene).voters
    back = _away(scene, lost)
    timeouts_us = _PATIENCE_TIMEOUTS * scene.cluster.shape.election_timeout_us
    longest_ms = _SILENCE_MS + SETTLE_MS + timeouts_us // MILLISECOND
    _live(scene, longest_ms, lambda: not _votes(scene, lost))
    found = _configuration(scene).voters
    if _votes(scene, lost):
        scene.world.fail("I-73", f"{lost.name} is lost, and no spare replaces it")
    if len(found) != len(before) or len({*found} - {*before}) != 1:
        detail = f"{list(found)} vote after {list(before)}: {lost.name} was lost alone"
        scene.world.fail("I-48", detail)
    back()
    _live(scene, SETTLE_MS, lambda: lost.up and _is_spare(scene, lost))
    _live(scene, 2 * _STABLE_MS)
    return lost.name


def _tended(scene: Scene) -> None:
    """There are two spares that have caught up, and a leader that has settled."""
    membership = scene.cluster.membership
    assert membership is not None
    _wish(scene, SetCaretaker(silence_ms=_SILENCE_MS, stable_ms=_STABLE_MS))
    first = scene.leader.raft.configuration.voters
    for count in (1, 2):
        membership.join(MemberRole.SPARE)
        scene.wait(lambda n=count: len(_configuration(scene).learners) == n, 60)
    _live(scene, SETTLE_MS + 2 * _STABLE_MS)
    _nobody_was_replaced(scene, first)


def _is_away_for_a_while(scene: Scene) -> None:
    """A voter is away, but not for as long as the caretaker waits."""
    before, node = _configuration(scene).voters, _any_voter(scene)
    back = _away(scene, node)
    _live(scene, _SILENCE_MS - 4 * _STABLE_MS)
    back()
    _live(scene, SETTLE_MS + 2 * _STABLE_MS)
    _nobody_was_replaced(scene, before)


def _is_paused(scene: Scene) -> None:
    """Whoever is lost now stays a voter."""
    before, node = _configuration(scene).voters, _any_voter(scene)
    back = _away(scene, node)
    _live(scene, 2 * _SILENCE_MS + SETTLE_MS)
    back()
    _live(scene, SETTLE_MS)
    _nobody_was_replaced(scene, before)


def _nobody_was_replaced(scene: Scene, before: tuple[int, ...]) -> None:
    found = _configuration(scene)
    if found.joint or found.voters != before:
        detail = (
            f"{list(before)} vote no more, but {list(found.voters)}: nobody was lost"
        )
        scene.world.fail("I-48", detail)


def _away(scene: Scene, node: Node) -> Callable[[], None]:
    """It ends, stands still, or nobody hears it; how it comes back."""
    match scene.world.below(3):
        case 0:
            return hold_down([node], "power")
        case 1:
            node.pause(True)
            return lambda: node.pause(False)
        case _:
            return scene.network.close(scene.network.between([node.member]))


def _live(scene: Scene, ms: int, until: Callable[[], bool] | None = None) -> None:
    """So much time goes by, or less when it is so; somebody writes all the time."""
    world = scene.world
    end_us = world.now_us + ms * MILLISECOND
    while world.now_us < end_us and (until is None or not until()):
        up = [node for node in scene.cluster.nodes if node.up and not node.paused]
        if any(client.current is None for client in scene.cluster.clients):
            scene.put(world.random.choice(up))
        world.run_until(min(end_us, world.now_us + SECOND // 2))


def _wish(scene: Scene, command: MemberCommand) -> None:
    """Ask for it, through any node, until it is done."""
    membership = scene.cluster.membership
    assert membership is not None
    done: list[object] = []
    membership.operators.ask(command, done.append)
    scene.wait(lambda: bool(done), 60)
    if done[0] is not None:
        raise Missed(f"{command} is refused: {done[0]}")


def _configuration(scene: Scene) -> Configuration:
    """As the first one to apply it has it."""
    return scene.cluster.checkers.book.configuration


def _votes(scene: Scene, node: Node) -> bool:
    current = _configuration(scene)
    return current.joint or current.is_voter(node.member)


def _is_spare(scene: Scene, node: Node) -> bool:
    return node.member in _configuration(scene).learners


def _any_voter(scene: Scene) -> Node:
    member = scene.world.random.choice(_configuration(scene).voters)
    return scene.cluster.by_member[member]


CARETAKER_WORLDS: Final[dict[str, Callable[[int], str]]] = {
    "lost-voters": lost_voters,
}
