"""What is measured at each place of an axis, and what is said and drawn of it."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from quorate.benchmarks.frames import RunFailed
from quorate.benchmarks.pairs import Leg
from quorate.benchmarks.plots import bars
from quorate.benchmarks.sweeps import (
    AXES,
    FLYING_BYTES,
    Axis,
    Bench,
    Point,
    Report,
    Sweep,
    draw,
    in_flight_of,
    line_of,
    spread_over,
    sweep,
)
from quorate.benchmarks.tools import Missing


@pytest.mark.parametrize("in_flight", [1, 4, 16, 64, 256, 1024])
def test_connections_share_all_that_is_in_flight(in_flight: int) -> None:
    connections, streams = spread_over(in_flight)
    assert connections * streams == in_flight
    assert connections <= 64


def test_large_values_do_not_fill_a_queue() -> None:
    assert in_flight_of(16) == in_flight_of(4096) == 64
    assert in_flight_of(1_000_000) * 1_000_000 <= FLYING_BYTES
    assert in_flight_of(10 * FLYING_BYTES) == 1


def test_a_point_tells_both_systems_and_their_ratio() -> None:
    legs = [Leg(300.0, cpu_us=50.0), Leg(100.0, cpu_us=70.0), Leg(200.0, cpu_us=60.0)]
    others = [Leg(100.0, cpu_us=9.0)] * 3
    text = line_of(Point(1024, legs, others), "puts/s")
    assert "    1,024  200 puts/s, 60 µs of the nodes each" in text
    assert text.endswith(
        "etcd 100 puts/s, 9 µs of the nodes each; ratio 2.00 (1.00–3.00)"
    )
    assert "etcd" not in line_of(Point(0, legs), "ms")


def test_a_point_that_fails_ends_its_axis_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(bench: Bench) -> Generator[Point]:
        yield Point(1, [Leg(bench.seconds)])
        raise RunFailed("refused")

    axis = Axis("some", "of something", "puts/s", measured)
    told = sweep(axis, Bench(tmp_path, None, 7.0, 1))
    assert told.points == [Point(1, [Leg(7.0)])]
    assert "the rest is not measured: refused" in capsys.readouterr().out


def test_a_bar_goes_from_the_lowest_leg_to_the_highest() -> None:
    points = [
        {"at": 1, "quorate": [{"figure": 3.0}, {"figure": 1.0}, {"figure": 7.0}]},
        {"at": 3, "quorate": [], "etcd": [{"figure": 2.0}]},
    ]
    assert bars(points, "quorate", "figure") == ([1], [3.0], ([2.0], [4.0]))


@pytest.mark.slow
def test_puts_are_measured_at_a_cluster_of_any_size(tmp_path: Path) -> None:
    axis = next(axis for axis in AXES if axis.name == "nodes")
    with closing(axis.measured(Bench(tmp_path, None, 0.1, 1))) as points:
        first = next(points)
    assert first.at == 1
    assert first.quorate[0].figure > 0
    assert first.quorate[0].cpu_us > 0


def test_without_matplotlib_it_is_said_what_to_install(tmp_path: Path) -> None:
    report = Report({}, "", [Sweep("some", "of something", "puts/s", [])])
    (tmp_path / "python").symlink_to("/bin/false")
    with pytest.raises(Missing, match="matplotlib"):
        draw(report, tmp_path / "pictures", tmp_path)
