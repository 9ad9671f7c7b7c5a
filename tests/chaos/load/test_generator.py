"""The generator under a clock of ours: what counts, from when, and what is left out."""

import msgspec
import pytest
from quorate.chaos.load import Generator, LoadOptions, PhaseFailed, Progress, Report
from quorate.chaos.load.bulk import IN_FLIGHT, TRIES_MAX
from quorate.chaos.load.mixes import key_of
from quorate.client import Forbidden, TooBusy, Unavailable, Unknown
from turns import counted_turns

from .conftest import FakeClock
from .slow_client import SlowClient

PLAIN = LoadOptions(
    workload="put",
    distribution="uniform",
    seed=1,
    in_flight=4,
    duration_s=2.0,
    keys=20,
    value_bytes=8,
)
OPEN = msgspec.structs.replace(PLAIN, rate=100.0, in_flight=1000)
MS = 1_000_000


async def measured(
    options: LoadOptions, client: SlowClient, clock: FakeClock
) -> tuple[Report, list[Report]]:
    """What a whole run says, added up and one by one."""
    reports: list[Report] = []
    generator = Generator(client.client, options, 0, clock)
    await clock.drive(generator.run(clock.now(), reports.append))
    total = Report()
    for report in reports:
        total.add(report)
    assert client.in_flight == 0
    return total, reports


# -- closed loop -------------------------------------------------------------------


async def test_a_closed_loop_keeps_so_many_in_flight(clock: FakeClock) -> None:
    client = SlowClient(clock, lambda _: 0.125)
    total, _ = await measured(PLAIN, client, clock)
    latency = total.tallies["put"].latency
    assert client.in_flight_seen == 4
    assert latency.count == len(client.calls) == 4 * 16
    assert total.seconds == 2.0
    assert latency.percentile_ns(50) == latency.max_ns == 125 * MS


async def test_an_operation_that_began_in_time_counts_whenever_it_ends(
    clock: FakeClock,
) -> None:
    client = SlowClient(clock, lambda _: 1.5)
    total, _ = await measured(PLAIN, client, clock)
    assert total.tallies["put"].latency.count == 4 * 2
    # Two rounds took three seconds, and that is how fast it was.
    assert total.seconds == 3.0


async def test_what_is_refused_at_once_leaves_time_for_others(
    clock: FakeClock,
) -> None:
    """Story: a client with too many bytes in flight refused without waiting, and one
    task of the load held the loop until the end: no reply came, and no Ctrl-C.
    """
    options = msgspec.structs.replace(PLAIN, duration_s=None, operations=2000)
    client = SlowClient(clock, lambda _: 0.0)

    async def put(key: bytes, value: bytes) -> int:
        raise TooBusy("calls of 268435456 bytes are in flight")

    client.put = put  # type: ignore[method-assign]
    async with counted_turns() as turns:
        total, _ = await measured(options, client, clock)
    assert sum(total.tallies["put"].errors.values()) == 2000
    assert turns.count > 400


async def test_warming_up_is_not_measured(clock: FakeClock) -> None:
    client = SlowClient(clock, lambda at: 0.25 if at < 1.0 else 0.125)
    options = msgspec.structs.replace(PLAIN, warmup_s=1.0)
    total, reports = await measured(options, client, clock)
    assert len(client.calls) == 4 * (4 + 16)
    assert total.tallies["put"].latency.count == 4 * 16
    assert (total.begin_s, total.end_s) == (1.0, 3.0)
    assert [report.warm for report in reports] == [True, False, False, False]


async def test_a_run_ends_after_so_many_operations(clock: FakeClock) -> None:
    client = SlowClient(clock, lambda _: 0.5)
    options = msgspec.structs.replace(PLAIN, duration_s=None, operations=10)
    total, _ = await measured(options, client, clock)
    assert total.tallies["put"].latency.count == 10
    assert total.seconds == 1.5


def test_processes_share_the_operations() -> None:
    options = msgspec.structs.replace(PLAIN, operations=10, processes=4)
    assert [options.share(process) for process in range(4)] == [3, 3, 2, 2]
    assert PLAIN.share(0) is None


async def test_failures_are_counted_by_code_and_not_as_latencies(
    clock: FakeClock,
) -> None:
    client = SlowClient(clock, lambda _: 0.5)
    client.errors = [Unknown("?"), Unavailable("nobody"), Unknown("?")]
    total, _ = await measured(PLAIN, client, clock)
    put = total.tallies["put"]
    assert put.errors == {"unknown": 2, "unavailable": 1}
    assert put.latency.count == 4 * 4 - 3


async def test_reports_come_every_second_and_hold_what_is_new(clock: FakeClock) -> None:
    client = SlowClient(clock, lambda _: 0.125)
    _, reports = await measured(PLAIN, client, clock)
    counts = [report.total().latency.count for report in reports]
    assert sum(counts) == 64
    assert len(counts) == 3
    assert counts[0] in (28, 32)  # at that very moment four more end


async def test_a_stop_lets_what_is_in_flight_end(clock: FakeClock) -> None:
    client = SlowClient(clock, lambda _: 0.5)
    generator = Generator(client.client, PLAIN, 0, clock)
    reports: list[Report] = []

    def tell(report: Report) -> None:
        reports.append(report)
        generator.stop()

    await clock.drive(generator.run(0.0, tell))
    total = Report()
    for report in reports:
        total.add(report)
    assert total.total().latency.count == len(client.calls)
    assert total.seconds <= 1.5


# -- open loop ---------------------------------------------------------------------


async def test_an_open_loop_begins_operations_when_they_are_due(
    clock: FakeClock,
) -> None:
    client = SlowClient(clock, lambda _: 0.25)
    total, _ = await measured(OPEN, client, clock)
    began = [at for at, _, _ in client.calls]
    assert began == [number / 100 for number in range(200)]
    assert total.total().latency.count == 200
    assert (total.delayed, total.unsent, total.late.max_ns) == (0, 0, 0)


async def test_a_stall_is_latency_of_all_operations_that_were_due_in_it(
    clock: FakeClock,
) -> None:
    """Coordinated omission: a closed loop would have one slow operation here."""
    # From 0.5 to 1.5 seconds nothing is answered.
    client = SlowClient(clock, lambda at: 1.5 - at if 0.5 <= at < 1.5 else 0.0)
    total, _ = await measured(OPEN, client, clock)
    latency = total.total().latency
    assert latency.count == 200
    # A hundred were due while it lasted; the first of them waited for all of it.
    slow = sum(n for bucket, n in latency.counts.items() if bucket > 0)
    assert slow == 100
    assert latency.max_ns == pytest.approx(1000 * MS, rel=1e-6)
    assert latency.percentile_ns(75.0) == pytest.approx(500 * MS, rel=0.03)


async def test_the_same_stall_with_a_bound_is_the_same_latency_and_is_told(
    clock: FakeClock,
) -> None:
    """The bound keeps operations from being sent, and not from being late."""
    client = SlowClient(clock, lambda at: 1.5 - at if 0.5 <= at < 1.5 else 0.0)
    bounded = msgspec.structs.replace(OPEN, in_flight=10)
    total, _ = await measured(bounded, client, clock)
    latency = total.total().latency
    assert client.in_flight_seen == 10
    assert latency.count == 200
    assert total.unsent == 0
    # Due while ten were in flight, the tenth of them since 0.59 seconds.
    assert total.delayed == pytest.approx(90, abs=1)
    assert latency.percentile_ns(75.0) == pytest.approx(500 * MS, rel=0.03)
    assert total.late.max_ns == pytest.approx(900 * MS, rel=1e-6)


async def test_a_cluster_that_does_not_keep_up_leaves_operations_unsent(
    clock: FakeClock,
) -> None:
    client = SlowClient(clock, lambda _: 0.25)
    bounded = msgspec.structs.replace(OPEN, in_flight=10)
    total, _ = await measured(bounded, client, clock)
    # Forty a second instead of a hundred.
    sent = total.total().latency.count
    assert sent == len(client.calls)
    assert 70 <= sent <= 90
    assert sent + total.unsent == 200


@pytest.mark.parametrize("seed", range(5))
async def test_the_pace_is_that_of_sending_and_not_of_chance_or_stragglers(
    clock: FakeClock, seed: int
) -> None:
    """Two of five Poisson runs were said to have sent fewer than asked."""
    assert OPEN.rate is not None
    client = SlowClient(clock, lambda at: 5.0 if at > 1.9 else 0.0)
    options = msgspec.structs.replace(OPEN, arrivals="poisson", seed=seed)
    total, _ = await measured(options, client, clock)
    assert total.pace(OPEN.rate) == 1.0


async def test_a_cluster_that_does_not_keep_up_sets_the_pace(clock: FakeClock) -> None:
    assert OPEN.rate is not None
    client = SlowClient(clock, lambda _: 0.25)
    bounded = msgspec.structs.replace(OPEN, in_flight=10)
    total, _ = await measured(bounded, client, clock)
    assert total.pace(OPEN.rate) == pytest.approx(0.4, rel=0.1)


async def test_what_was_due_before_a_stop_and_not_sent_is_told(
    clock: FakeClock,
) -> None:
    client = SlowClient(clock, lambda _: 10.0)
    options = msgspec.structs.replace(OPEN, in_flight=10, duration_s=60.0)
    generator = Generator(client.client, options, 0, clock)
    reports: list[Report] = []

    def tell(report: Report) -> None:
        reports.append(report)
        generator.stop()

    await clock.drive(generator.run(0.0, tell))
    assert sum(report.unsent for report in reports) == pytest.approx(90, abs=1)
    assert sum(report.total().latency.count for report in reports) == 10


async def test_what_warming_up_left_over_does_not_delay_what_is_measured(
    clock: FakeClock,
) -> None:
    client = SlowClient(clock, lambda at: 1.0 - at if at < 1.0 else 0.0)
    options = msgspec.structs.replace(OPEN, in_flight=10, warmup_s=1.0)
    total, _ = await measured(options, client, clock)
    assert total.total().latency.count == 200
    assert (total.delayed, total.unsent) == (0, 0)
    assert len(client.calls) == 210


async def test_an_open_loop_ends_after_so_many_operations(clock: FakeClock) -> None:
    options = msgspec.structs.replace(OPEN, duration_s=None, operations=30)
    total, _ = await measured(options, SlowClient(clock), clock)
    assert total.total().latency.count == 30


# -- what is done ------------------------------------------------------------------


@pytest.mark.parametrize("workload", ["A", "B", "C", "D", "E", "F", "get", "mixed"])
async def test_every_workload_touches_only_its_prefix_and_finds_its_keys(
    workload: str, clock: FakeClock
) -> None:
    options = msgspec.structs.replace(
        PLAIN, workload=workload, load=True, cleanup=True, duration_s=0.1
    )
    client = SlowClient(clock)
    client.records[b"a"] = client.records[b"z"] = b"not ours"
    generator = Generator(client.client, options, 0, clock)
    reports: list[Report] = []
    await clock.drive(generator.load(lambda _: None))
    assert len(client.records) == 22
    await clock.drive(generator.run(clock.now(), reports.append))
    total = Report()
    for report in reports:
        total.add(report)
    assert total.tallies.keys() == options.mix.shares.keys()
    assert total.total().absent == 0
    assert all(key.startswith(b"bench/") for _, _, key in client.calls)
    await clock.drive(generator.clean(lambda _: None))
    assert client.records.keys() == {b"a", b"z"}


async def test_reads_are_asked_for_as_they_were_ordered(clock: FakeClock) -> None:
    client = SlowClient(clock)
    options = msgspec.structs.replace(
        PLAIN, workload="E", level="bounded", max_staleness_s=0.5, operations=20
    )
    await measured(options, client, clock)
    asked = {tuple(each.items()) for each in client.options}
    assert asked == {(("level", "bounded"), ("max_staleness", 0.5))}


async def test_reads_that_find_nothing_are_told(clock: FakeClock) -> None:
    options = msgspec.structs.replace(PLAIN, workload="get", operations=7)
    total, _ = await measured(options, SlowClient(clock), clock)
    assert total.tallies["get"].absent == 7


# -- loading and cleaning ----------------------------------------------------------


async def test_processes_share_the_keys_to_be_loaded(clock: FakeClock) -> None:
    client = SlowClient(clock)
    options = msgspec.structs.replace(PLAIN, processes=3, keys=200)
    told: list[Progress] = []
    for process in range(3):
        generator = Generator(client.client, options, process, clock)
        await clock.drive(generator.load(told.append))
    keys = [key for _, _, key in client.calls]
    assert sorted(keys) == [key_of(b"bench/", number) for number in range(200)]
    assert [(each.done, each.total) for each in told] == [(67, 67), (67, 67), (66, 66)]
    assert client.in_flight_seen == IN_FLIGHT


async def test_a_key_whose_fate_is_unknown_is_loaded_again(clock: FakeClock) -> None:
    client = SlowClient(clock)
    client.errors = [Unknown("?"), Unavailable("nobody")]
    generator = Generator(client.client, PLAIN, 0, clock)
    await clock.drive(generator.load(lambda _: None))
    assert len(client.records) == 20
    assert len(client.calls) == 22


async def test_a_key_that_can_not_be_loaded_ends_the_run(clock: FakeClock) -> None:
    client = SlowClient(clock)
    client.errors = [Unavailable("nobody") for _ in range(20 * TRIES_MAX)]
    generator = Generator(client.client, PLAIN, 0, clock)
    with pytest.raises(PhaseFailed, match="nobody") as raised:
        await clock.drive(generator.load(lambda _: None))
    assert raised.value.code == "unavailable"
    client = SlowClient(clock)
    client.errors = [Forbidden("no")]
    generator = Generator(client.client, PLAIN, 0, clock)
    with pytest.raises(PhaseFailed, match="no"):
        await clock.drive(generator.load(lambda _: None))
    assert client.in_flight <= 20


async def test_only_what_was_written_is_deleted(clock: FakeClock) -> None:
    client = SlowClient(clock)
    client.records = {key_of(b"bench/", number): b"" for number in range(20)}
    options = msgspec.structs.replace(PLAIN, operations=5, cleanup=True)
    generator = Generator(client.client, options, 0, clock)
    client.errors = [Unknown("?")]
    await clock.drive(generator.run(0.0, lambda _: None))
    put = {key for _, name, key in client.calls if name == "put"}
    await clock.drive(generator.clean(lambda _: None))
    assert {key for _, name, key in client.calls if name == "delete"} == put
    assert len(client.records) == 20 - len(put)


async def test_a_stop_ends_loading_but_not_cleaning(clock: FakeClock) -> None:
    client = SlowClient(clock)
    options = msgspec.structs.replace(PLAIN, keys=1000, cleanup=True)
    generator = Generator(client.client, options, 0, clock)
    loading = generator.load(lambda _: None)

    def takes(_: float) -> float:
        if len(client.calls) > 100:
            generator.stop()
        return 0.001

    client.takes = takes
    await clock.drive(loading)
    assert 100 < len(client.records) < 300
    await clock.drive(generator.clean(lambda _: None))
    assert client.records == {}
