"""`quorate chaos run`: its arguments, what it prints, and its exit codes."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from quorate.chaos import harness
from quorate.chaos.harness import (
    DEFAULT_MIX,
    SUITES,
    FaultCount,
    FaultResult,
    HarnessOptions,
    Moment,
    Started,
    Summary,
    Verdict,
    Violation,
)
from quorate.chaos.harness.suites import Suite
from quorate.chaos.harness.verdict import Counts
from quorate.cli import group
from quorate.cli.chaos_output import stop_by_signal, teller

Event = Started | Moment | FaultResult
VIOLATION = Violation("lost write", "chaos/w001/0000", "counter 2", "nothing via n3")
STRIKE = FaultResult(
    number=1,
    kind="kill-leader",
    targets=("n2",),
    leader_hit=True,
    at_s=1.5,
    until_s=2.4,
    touched=1,
    overlapped=9,
    gap_ms=81.25,
    longest_gap_ms=80.5,
    dying_ms=300.4,
)


class FakeHarness:
    """In the place of the harness: notes what it was asked for, tells a little."""

    def __init__(self) -> None:
        self.asked: list[HarnessOptions] = []
        self.verdict: Verdict = "valid"
        self.violations: list[Violation] = []
        self.reasons: list[str] = []

    async def __call__(
        self,
        options: HarnessOptions,
        tell: Callable[[Event], None],
        stop: asyncio.Event,
    ) -> Summary:
        assert not stop.is_set()
        self.asked.append(options)
        tell(Started(options.replay(), "nodes in /nodes", False))
        tell(Moment(0.5, 0, 10, 0, "kill-leader"))
        tell(STRIKE)
        return Summary(
            verdict=self.verdict,
            reasons=self.reasons,
            violations=self.violations,
            options={},
            command=options.replay(),
            version="0",
            python="3",
            seconds=2.0,
            counts=Counts(acknowledged=120, unknown=3, reads=7),
            keys=5,
            faults={"kill-leader": FaultCount(1, 1, 80.5)},
            strikes=[STRIKE],
            leader_gap_ms={"count": 1, "median": 81.25, "p90": 81.25, "max": 81.25},
            checks=["3 nodes at index 130"],
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHarness:
    fake = FakeHarness()
    monkeypatch.setattr(harness, "run_harness", fake)
    return fake


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["chaos", "run", *arguments])


def test_the_defaults_are_ten_rounds_of_all_kills_under_64_writers(
    fake: FakeHarness,
) -> None:
    assert run("--seed", "5").exit_code == 0
    assert fake.asked == [
        HarnessOptions(
            seed=5,
            faults=("kill",),
            nodes=3,
            rounds=10,
            writers=64,
            value_bytes=256,
            load=dict(DEFAULT_MIX),
        )
    ]


def test_every_option_arrives(fake: FakeHarness, tmp_path: Path) -> None:
    result = run(
        *("--faults", "kill-one,ring", "--nodes", "5", "--duration", "1m"),
        *("--at-once", "2", "--replicas", "2", "--load", "lists,transfers=7.5"),
        *("--seed", "6", "--writers", "9", "--value-bytes", "10", "--power-loss"),
        *("--rest", "20ms"),
        *("--dir", str(tmp_path / "nodes"), "--report", str(tmp_path / "report")),
        *("--mutant", "ack-before-sync"),
    )
    assert result.exit_code == 0, result.output
    (asked,) = fake.asked
    assert asked.command is not None
    assert asked.command[-1] == "ack-before-sync"
    assert msgspec.structs.replace(asked, command=None) == HarnessOptions(
        seed=6,
        faults=("kill-one", "ring"),
        nodes=5,
        replicas=2,
        load={"lists": 20.0, "transfers": 7.5},
        at_once=2,
        duration_s=60.0,
        writers=9,
        rest_s=0.02,
        value_bytes=10,
        power_loss=True,
        mutant="ack-before-sync",
        directory=tmp_path / "nodes",
        report=tmp_path / "report",
    )


def test_the_failover_meter_has_probers_alone(fake: FakeHarness) -> None:
    run("--faults", "kill-leader")
    run("--faults", "kill-leader", "--writers", "3")
    assert [options.writers for options in fake.asked] == [0, 3]
    assert [options.load for options in fake.asked] == [{}, {}]


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_is_its_options(fake: FakeHarness, name: str) -> None:
    assert run("--suite", name, "--seed", "5").exit_code == 0
    (asked,) = fake.asked
    suite = SUITES[name]
    for field in set(Suite.__struct_fields__) - {"about"}:
        assert getattr(asked, field) == getattr(suite, field), field
    assert asked.kinds
    run(*asked.replay().split()[3:])
    assert fake.asked[1] == asked


def test_what_is_given_beside_a_suite_wins(fake: FakeHarness) -> None:
    run("--suite", "quick", "--duration", "20s", "--nodes", "5", "--writers", "7")
    (asked,) = fake.asked
    assert (asked.rounds, asked.duration_s) == (None, 20.0)
    assert (asked.nodes, asked.writers) == (5, 7)
    assert asked.faults == SUITES["quick"].faults


def test_without_a_seed_one_is_drawn_and_printed(fake: FakeHarness) -> None:
    outputs = [run().output, run().output]
    seeds = [options.seed for options in fake.asked]
    assert seeds[0] != seeds[1]
    assert [output.splitlines()[0] for output in outputs] == [
        f"seed {seed}" for seed in seeds
    ]


def test_each_round_and_the_summary_are_printed_without_a_live_line(
    fake: FakeHarness,
) -> None:
    result = run("--seed", "5")
    assert (
        "kill-leader     n2 (leader)     writes again after    81.2 ms  longest gap"
        "    80.5 ms  over after   900.0 ms (dead only after 300 ms)"
    ) in result.output
    assert (
        "| kill-leader                    | 1 (1 during operations) |" in result.output
    )
    assert "| acknowledged                   | 120" in result.output
    assert "| gap after leader kills, median | 81.2 ms" in result.output
    assert "agreed: 3 nodes at index 130" in result.output
    assert "\r" not in result.output
    assert result.stderr == ""


@pytest.mark.parametrize("touched", [0, 1])
def test_a_fault_that_met_nothing_is_told_as_such(
    capsys: pytest.CaptureFixture[str], touched: int
) -> None:
    teller()(msgspec.structs.replace(STRIKE, touched=touched))
    assert ("(it met nothing)" in capsys.readouterr().out) == (not touched)


def test_a_violation_is_told_with_the_command_that_shows_it_again(
    fake: FakeHarness,
) -> None:
    fake.verdict, fake.violations = "violated", [VIOLATION]
    result = run("--rounds", "4", "--power-loss", "--seed", "5")
    assert result.exit_code == 1
    assert str(VIOLATION) in result.output
    assert (
        "try it again: quorate chaos run --faults kill --nodes 3 --rounds 4"
        " --writers 64 --value-bytes 256 --load all --power-loss --seed 5"
    ) in result.output


def test_a_void_run_says_why(fake: FakeHarness) -> None:
    fake.verdict, fake.reasons = "void", ["too little"]
    result = run()
    assert result.exit_code == 3
    assert "void: too little" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--faults", "earthquake"),
        ("--faults", ""),
        ("--faults", "ring"),
        ("--faults", "isolate-one", "--nodes", "1"),
        ("--suite", "forever"),
        ("--at-once", "0"),
        ("--mutant", "no-such-rule"),
        ("--rounds", "0"),
        ("--duration", "soon"),
        ("--nodes", "0"),
        ("--seed", "-1"),
        ("--value-bytes", "0"),
        ("--load", "everything"),
        ("--load", "lists=none"),
        ("--load", "lists=0"),
        ("--replicas", "-1"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    fake: FakeHarness, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments).exit_code == 2
    assert fake.asked == []


def test_the_printed_command_means_the_same_run(fake: FakeHarness) -> None:
    run(
        *("--duration", "90s", "--nodes", "5", "--power-loss", "--seed", "7"),
        *("--at-once", "3", "--faults", "all"),
    )
    words = fake.asked[0].replay().split()
    assert words[:3] == ["quorate", "chaos", "run"]
    run(*words[3:])
    assert fake.asked[0] == fake.asked[1]


@pytest.mark.parametrize("load", ["none", "all", "locks,hot-key=3", "watches"])
def test_the_printed_command_means_the_same_load(fake: FakeHarness, load: str) -> None:
    run("--seed", "7", "--load", load, "--replicas", "1")
    run(*fake.asked[0].replay().split()[3:])
    assert fake.asked[0] == fake.asked[1]
    assert bool(fake.asked[0].load) == (load != "none")


def test_a_report_that_can_not_be_is_wrong_usage_and_no_verdict(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    done = run("--report", str(tmp_path / "file" / "report"))
    assert done.exit_code == 2
    assert "no report there: Not a directory" in done.output


async def test_under_nohup_a_closed_terminal_ends_no_run() -> None:
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = stop_by_signal()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5.0)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, before)
