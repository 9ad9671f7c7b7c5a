"""Faults of processes: ended, stopped, paused, restarted, asked to go.

Law: each function starts one fault and answers how to end it, or None.
"""

from random import Random

from ..failpoints import FAILPOINTS
from ..node import Node
from ..world import MILLISECOND
from .ground import Ground, Undo
from .plan import Fault


def kill(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """The page cache stays."""
    return hold_down(ground.choose(fault, dice), "kill")


def power(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """What was not synced is kept, lost or torn, by chance."""
    return hold_down(ground.choose(fault, dice), "power")


def hold_down(nodes: list[Node], how: str) -> Undo:
    """End processes, and let nobody start them before the answer is called."""
    held = list(nodes)
    for node in held:
        node.wanted = False
        node.stop(how)

    def start() -> None:
        for node in held:
            node.wanted = True
            node.start()

    return start


def failpoint(ground: Ground, fault: Fault, dice: Random) -> None:
    """The process dies at a named place, around a durable step."""
    node = ground.choose(fault, dice)[0]
    node.arm(dice.choice(FAILPOINTS), "kill" if fault.strength == 0 else "power")
    # It stays armed: some places are reached once in many seconds.


def pause(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """SIGSTOP, for longer than every timeout when it has the time."""
    nodes = ground.choose(fault, dice)
    for node in nodes:
        node.pause(True)

    def end() -> None:
        for node in nodes:
            node.pause(False)

    return end


def stall(ground: Ground, fault: Fault, dice: Random) -> None:
    """The event loop is held a few times, for less than an election timeout."""
    nodes = ground.choose(fault, dice)
    for number in range(3):
        delay = number * 400 * MILLISECOND
        length = dice.randrange(20, 100 * (fault.strength + 1)) * MILLISECOND
        for node in nodes:
            ground.later(delay, node.pause, True)
            ground.later(delay + length, node.pause, False)


def restart_storm(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Processes are killed and started, again and again, also while they start."""
    nodes = ground.choose(fault, dice)
    at = 0
    for _ in range(2 + 2 * fault.strength):
        for node in nodes:
            ground.later(at, node.stop, dice.choice(("kill", "kill", "power")))
            at += dice.randrange(1, 40) * MILLISECOND
            ground.later(at, node.start)
            at += dice.randrange(1, 80) * MILLISECOND

    def end() -> None:
        for node in nodes:
            node.start()

    return end


def stop(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """SIGTERM: leadership is handed over, requests are answered, a goodbye is said."""
    nodes = ground.choose(fault, dice)
    for node in nodes:
        node.stop_politely()

    def start() -> None:
        for node in nodes:
            node.wanted = True
            node.start()

    return start


def transfer(ground: Ground, fault: Fault, dice: Random) -> None:
    """An operator moves the leadership to any voter, ready or not."""
    del fault
    leader = ground.leader(dice)
    leader.transfer_leadership(dice.choice(ground.voters))
