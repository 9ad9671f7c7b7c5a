"""What is said of a cluster with many keys, and in which order they come."""

from itertools import islice

import msgspec
from quorate.benchmarks.frames import key_of
from quorate.benchmarks.large import STRIDE, Figures, lines_of, scattered

FOUND = Figures(
    keys=1000,
    state_bytes=300_000_000,
    load_per_second=20_000,
    debt_s=7,
    node_bytes=192 << 20,
    worker_bytes=96 << 20,
    restart_s=3,
    backup_s=2,
    backup_bytes=310_000_000,
    backup_late_s=0.1,
    transfer_s=15,
    transfer_bytes=300_000_000,
    transfer_late_s=0.025,
    quiet_p99_ms=10,
    transfer_p99_ms=20,
)


def test_each_key_comes_once_and_then_again() -> None:
    for count in (1, 10, 1000):
        assert count % STRIDE
        keys = list(islice(scattered(count), 2 * count))
        assert sorted(keys[:count]) == [key_of(number) for number in range(count)]
        assert keys[count:] == keys[:count]


def test_aims_that_are_just_met_are_met() -> None:
    lines = lines_of(FOUND)
    assert [line.rpartition("aim")[2].count("missed") for line in lines] == [0] * 7
    assert "155 MB/s" in lines[4]
    assert "20 MB/s" in lines[5]
    assert "2.00 times" in lines[6]


def test_each_aim_can_be_missed() -> None:
    worse = msgspec.structs.replace(
        FOUND,
        node_bytes=FOUND.node_bytes + 1,
        worker_bytes=FOUND.worker_bytes + 1,
        restart_s=3.1,
        backup_late_s=0.25,
        transfer_s=15.1,
        transfer_p99_ms=20.1,
    )
    lines = lines_of(worse)
    assert ["missed" in line for line in lines] == [False] + [True] * 6
