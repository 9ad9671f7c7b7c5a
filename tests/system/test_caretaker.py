"""A voter dies for good, and nobody is called: real processes and `kill -9`."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from quorate.client import Client, Members

from .harness import QUORATE, Running, wait_for
from .test_members import Growing, Writer, growing

pytestmark = pytest.mark.slow

SILENCE_S = 5.0
LAG_S, HELD_S = 0.1, 0.15


def tended(cluster: Growing) -> Running:
    """Let a spare join, and a silent voter be replaced soon; the spare."""
    with Client(cluster.endpoints) as client:
        client.set_caretaker(silence=SILENCE_S, stable=1.0)
    return cluster.joins("n4", "spare")


def known(cluster: Growing) -> Members:
    """As the leader knows it."""

    def asked() -> Members | None:
        with Client(cluster.endpoints) as client:
            found = client.members()
        return found if found.leader == found.told_by else None

    return wait_for(asked, "the leader answers")


def shown(cluster: Growing, *words: str) -> str:
    """What the command line shows of it."""
    command = [*QUORATE, *words, "--endpoints", cluster.endpoints]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def silent_s(cluster: Growing, name: str) -> float:
    (member,) = (each for each in known(cluster).members if each.name == name)
    assert member.silent_ms is not None
    return member.silent_ms / 1000


def test_a_dead_leader_is_replaced_by_a_spare_with_the_reason(tmp_path: Path) -> None:
    with growing(tmp_path / "c", 3) as cluster:
        with Writer(cluster.endpoints) as writer:
            spare = tended(cluster)
            assert cluster.voters() == {"n1", "n2", "n3"}
            dead = cluster.leader()
            dead.process.kill()
            cluster.nodes.remove(dead)
            writer.endpoints = cluster.endpoints
            cluster.wait_for_voters(*(node.name for node in cluster.nodes))
            writer.goes_on()
            reason = re.compile(
                f"caretaker: {dead.name} not heard for [0-9]+ s, replaced by n4"
            )
            assert reason.search(shown(cluster, "members"))
            assert reason.search(shown(cluster, "caretaker", "status"))
            for node in cluster.nodes:
                wait_for(lambda log=node.log: reason.search(log()), "it is logged")
            writer.nothing_is_lost(spare)
            # Its machine is mended: it has what it had, and is a spare now.
            dead.process.start()
            dead.process.wait_ready()
            cluster.nodes.append(dead)
            wait_for(lambda: dead.status().role == "learner", "it is a spare")
        cluster.wait_until_equal()
        writer.nothing_is_lost(dead)


def test_a_paused_caretaker_does_nothing_until_it_goes_on(tmp_path: Path) -> None:
    with growing(tmp_path / "c", 3) as cluster:
        tended(cluster)
        assert shown(cluster, "caretaker", "pause") == "the caretaker is paused\n"
        dead = cluster.followers()[0]
        dead.process.kill()
        cluster.nodes.remove(dead)
        wait_for(
            lambda: silent_s(cluster, dead.name) > SILENCE_S + 2, "it is long silent"
        )
        assert cluster.voters() == {"n1", "n2", "n3"}
        assert "caretaker: paused\n" in shown(cluster, "members")
        shown(cluster, "caretaker", "resume")
        cluster.wait_for_voters(*(node.name for node in cluster.nodes))


def held(node: Running) -> None:
    """Stop a process for a moment, too short for an election, and let it go on."""
    os.kill(node.pid, signal.SIGSTOP)
    since = time.monotonic()
    try:
        wait_for(lambda: time.monotonic() - since > HELD_S, "the moment is over")
    finally:
        os.kill(node.pid, signal.SIGCONT)


def test_a_leader_that_is_held_again_and_again_hands_over(tmp_path: Path) -> None:
    with growing(tmp_path / "c", 3) as cluster:
        with Client(cluster.endpoints) as client:
            client.set_caretaker(lag=LAG_S)

        def moved() -> bool:
            held(cluster.leader())
            return bool(known(cluster).caretaker.decisions)

        wait_for(moved, "somebody else leads")
        (decision,) = known(cluster).caretaker.decisions
        assert decision.did == "move_leader"
        left = next(n for n in cluster.nodes if n.status().id == decision.member)
        wait_for(lambda: left.status().role == "follower", "it follows")
        assert f"the loop of {left.name} is late, by up to" in decision.reason
        cluster.wait_until_equal()
