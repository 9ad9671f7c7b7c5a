"""`quorate bench`: its arguments, what it prints, and its exit codes."""

import json
from collections.abc import Callable, Mapping
from typing import cast

import pytest
from click.testing import Result
from quorate import client
from quorate.chaos import load
from quorate.chaos.load import LoadOptions, Report
from quorate.cli import bench
from quorate.cli.bench_output import milliseconds, notes_on

from .fake_client import FakeClient

Run = Callable[..., Result]

# Enough for every kind, and no time lost.
QUICK = ("bench", "--warmup", "0", "--keys", "50", "--seed", "1")
SOME = (*QUICK, "--operations", "200")


def test_the_choices_are_those_of_the_load_generator() -> None:
    assert tuple(load.WORKLOADS) == bench.WORKLOADS
    assert load.DISTRIBUTIONS == bench.DISTRIBUTIONS
    assert load.ARRIVALS == bench.ARRIVALS


def test_a_table_shows_each_kind_and_all(run: Run, cluster: FakeClient) -> None:
    result = run(*SOME, "--workload", "a")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    kinds = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert kinds == ["KIND", "get", "put", "all"]
    assert lines[5].split("|")[2].strip() == "200"
    assert lines[5].split("|")[-2].strip() == "0"
    assert any(line.endswith("seed 1") for line in lines)
    assert "workload A, zipf over 50 keys, 256 bytes; closed loop" in result.stderr


def test_the_keys_are_put_first_when_they_will_be_read(
    run: Run, cluster: FakeClient
) -> None:
    run(*SOME, "--workload", "get")
    assert len(cluster.records) == 50
    assert {len(record.value) for record in cluster.records.values()} == {256}
    assert [name for name, _ in cluster.calls[2:]] == ["put"] * 50 + ["get"] * 200


def test_keys_are_loaded_or_not_as_one_says(run: Run, cluster: FakeClient) -> None:
    result = run(*SOME, "--workload", "get", "--no-load")
    assert cluster.records == {}
    assert "get: 200 found no key" in result.stdout
    run(*QUICK, "--operations", "1", "--load")
    assert len(cluster.records) == 50
    assert run(*SOME, "--load", "--no-load").exit_code == 2


def test_only_the_prefix_is_touched_and_cleaned(run: Run, cluster: FakeClient) -> None:
    run("put", "a", "1")
    run("put", "t/other", "1")
    result = run(*SOME, "--workload", "D", "--prefix", "t/", "--cleanup")
    assert result.exit_code == 0
    assert cluster.records.keys() == {b"a", b"t/other"}
    touched = [key for name, key in cluster.calls if name in ("put", "delete")]
    assert all(cast(bytes, key).startswith(b"t/") for key in touched[1:])
    assert run(*SOME, "--prefix", "").exit_code == 2
    assert run(*SOME, "--prefix", "p" * 1025).exit_code == 2


def test_json_holds_everything_that_was_measured(run: Run, cluster: FakeClient) -> None:
    result = run(*SOME, "--workload", "F", "-o", "json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["options"]["workload"] == "F"
    assert told["options"]["prefix"] == "bench/"
    assert told["versions"]["cluster"] == "0.0"
    assert told["interrupted"] is False
    assert told["failures"] == []
    assert told["kinds"].keys() == {"get", "read-modify-write"}
    latency = told["all"]["latency"]
    assert told["all"]["count"] == 200
    assert sum(count for _, count in latency["histogram"]) == 200
    assert latency["p50_ns"] <= latency["p99.9_ns"] <= latency["max_ns"]
    assert told["all"]["per_second"] == pytest.approx(200 / told["seconds"])


def test_in_flight_is_how_many_are_on_their_way(run: Run, cluster: FakeClient) -> None:
    run(*SOME, "--in-flight", "7")
    assert cluster.in_flight_seen == 7


def test_an_open_loop_sends_at_its_rate(run: Run, cluster: FakeClient) -> None:
    result = run(*SOME, "--rate", "5000", "--arrivals", "poisson")
    assert result.exit_code == 0
    assert "open loop, 5000/s, poisson arrivals" in result.stderr
    assert "note: sent after their time" in result.stdout
    assert len(cluster.calls) == 202


def test_bounded_reads_say_how_old_they_may_be(run: Run, cluster: FakeClient) -> None:
    arguments = (*SOME, "--workload", "get")
    assert run(*arguments, "--consistency", "bounded").exit_code == 0
    assert {what for name, what in cluster.calls if name == "get"} == {"bounded"}
    refused = run(*arguments, "--max-staleness", "1s")
    assert refused.exit_code == 2


def test_nobody_there_exits_with_5_before_anything_is_done(
    run: Run, cluster: FakeClient
) -> None:
    cluster.errors = [client.Unavailable("h:1: refused")]
    result = run(*SOME)
    assert result.exit_code == 5
    assert "refused" in result.stderr
    assert len(cluster.calls) == 1


class Deaf(FakeClient):
    """Answers until it is asked to write."""

    refusal: client.QuorateError = client.Unavailable("h:1: refused")

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        lease: int = 0,
        fence: str | None = None,
    ) -> int:
        self._call("put", key)
        raise self.refusal


def test_operations_that_nobody_took_exit_with_5(run: Run, cluster: FakeClient) -> None:
    cluster.__class__ = Deaf
    result = run(*SOME)
    assert result.exit_code == 5
    assert "put: 200 unavailable" in result.stdout


def test_a_cluster_that_is_too_busy_for_any_operation_exits_with_5(
    run: Run, cluster: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was measured, and a script that goes on would believe that it was."""
    monkeypatch.setattr(Deaf, "refusal", client.Overloaded("h:1: too_busy"))
    cluster.__class__ = Deaf
    result = run(*SOME)
    assert result.exit_code == 5
    assert "put: 200 too_busy" in result.stdout
    assert "too busy" in result.stderr


def test_a_failed_operation_exits_with_1(run: Run, cluster: FakeClient) -> None:
    good: list[Exception] = []
    cluster.errors = good
    ask = cluster._call

    def call(name: str, what: object) -> None:
        ask(name, what)
        if name == "put" and len(cluster.calls) == 10:
            raise client.Unknown("the connection was lost")

    cluster._call = call
    result = run(*SOME)
    assert result.exit_code == 1
    assert "put: 1 unknown" in result.stdout
    assert "1 operations failed" in result.stderr


def test_overload_is_a_result_and_no_failure(run: Run, cluster: FakeClient) -> None:
    ask = cluster._call

    def call(name: str, what: object) -> None:
        ask(name, what)
        if name == "put" and len(cluster.calls) % 2:
            raise client.Overloaded("h:1: too_busy: the queue is full")

    cluster._call = call
    result = run(*SOME)
    assert result.exit_code == 0
    assert "put: 100 too_busy" in result.stdout


def test_keys_that_can_not_be_loaded_exit_with_1(run: Run, cluster: FakeClient) -> None:
    ask = cluster._call

    def call(name: str, what: object) -> None:
        ask(name, what)
        if name == "put":
            raise client.Forbidden("not yours")

    cluster._call = call
    result = run(*SOME, "--load")
    assert result.exit_code == 1
    assert "not yours" in result.stderr
    assert "nothing was measured" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workload", "G"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--operations", "0"],
        ["--duration", "0s"],
        ["--warmup", "soon"],
        ["--processes", "0"],
        ["--value-bytes", "4194305"],
    ],
)
def test_impossible_arguments_are_wrong_usage(
    run: Run, cluster: FakeClient, arguments: list[str]
) -> None:
    assert run("bench", *arguments).exit_code == 2
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("value_ns", "shown"),
    [
        (0, "0.000"),
        (400, "0.000"),
        (123_456, "0.123"),
        (1_234_567, "1.23"),
        (12_345_678, "12.3"),
        (123_456_789, "123"),
        (12_345_678_901, "12346"),
    ],
)
def test_times_are_shown_with_three_digits(value_ns: int, shown: str) -> None:
    assert milliseconds(value_ns) == shown


def report(**fields: float) -> Report:
    made = Report(begin_s=0.0, end_s=10.0)
    for name, value in fields.items():
        setattr(made, name, value)
    for _ in range(1000):
        made.late.record(1)
    return made


OPEN = LoadOptions(workload="put", distribution="uniform", seed=1, rate=100.0)
# Chance has sent fewer, and the last of them took ten seconds.
UNLUCKY = report(end_s=20.0, due_s=9.97, sent_s=9.97)
NOTES: Mapping[str, tuple[Report, str]] = {
    "waited": (report(delayed=3), "3 operations waited to be sent"),
    "never sent": (report(unsent=3), "3 operations were due and never sent"),
    "too few": (report(due_s=9.99, sent_s=19.99), "50 operations a second were sent"),
    "busy": (report(cpu_s=9.5), "no time to spare"),
}


def test_chance_and_a_straggler_have_not_sent_fewer_than_asked() -> None:
    assert "fewer than asked" not in " ".join(notes_on(OPEN, UNLUCKY))


@pytest.mark.parametrize("name", NOTES)
def test_what_makes_figures_too_good_is_said(name: str) -> None:
    made, words = NOTES[name]
    assert words in " ".join(notes_on(OPEN, made))
    others = [words for other, (_, words) in NOTES.items() if other != name]
    assert not [word for word in others if word in " ".join(notes_on(OPEN, made))]
