"""What other people's load generators print, and what is made of it."""

from pathlib import Path

import pytest
from quorate.benchmarks.clusters import syncs_of
from quorate.benchmarks.machine import parse_stat
from quorate.benchmarks.tools import (
    H2load,
    Missing,
    ToolFailed,
    Wrk,
    need,
    parse_h2load,
    parse_h2load_log,
    parse_wrk,
)

H2LOAD = """
finished in 3.01s, 2272.80 req/s, 148.70KB/s
requests: 5682 total, 5682 started, 5682 done, 5682 succeeded, 0 failed, 0 errored, \
0 timeout
status codes: 5682 2xx, 0 3xx, 0 4xx, 0 5xx
"""
WRK = """Running 2s test @ http://127.0.0.1:7400
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    26.62ms    8.22ms  80.72ms   79.85%
  4842 requests in 2.00s, 1.21MB read
Requests/sec:   2418.84
Transfer/sec:    619.06KB
"""


def test_h2load_tells_what_succeeded_and_at_which_rate() -> None:
    assert parse_h2load(H2LOAD) == H2load(5682, 2272.80)


@pytest.mark.parametrize("bad", ["1 failed", "2 errored", "3 timeout"])
def test_a_run_of_h2load_with_a_failed_request_is_no_result(bad: str) -> None:
    text = H2LOAD.replace(f"0 {bad.split()[1]}", bad)
    with pytest.raises(ToolFailed, match=bad):
        parse_h2load(text)


def test_a_run_of_h2load_in_which_nothing_was_done_is_no_result() -> None:
    with pytest.raises(ToolFailed):
        parse_h2load(H2LOAD.replace("5682 succeeded", "0 succeeded"))
    with pytest.raises(ToolFailed, match="can't connect"):
        parse_h2load("can't connect")


def test_the_log_of_h2load_has_each_latency() -> None:
    log = "1795708058407043\t200\t2449\n1795708058409601\t200\t2260\n"
    assert parse_h2load_log(log) == [2.449, 2.26]


def test_wrk_tells_what_was_answered_and_at_which_rate() -> None:
    assert parse_wrk(WRK) == Wrk(4842, 2418.84)


@pytest.mark.parametrize(
    "bad",
    [
        "  Socket errors: connect 0, read 3, write 0, timeout 1",
        "  Non-2xx or 3xx responses: 17",
    ],
)
def test_a_run_of_wrk_with_a_failed_request_is_no_result(bad: str) -> None:
    with pytest.raises(ToolFailed, match=bad.strip()[:10]):
        parse_wrk(WRK + bad + "\n")


def test_wrk_may_be_refused_where_that_is_looked_at() -> None:
    text = WRK + "  Non-2xx or 3xx responses: 17\n"
    assert parse_wrk(text, refused=True) == Wrk(4842, 2418.84, 17)
    assert parse_wrk(WRK, refused=True) == Wrk(4842, 2418.84, 0)
    with pytest.raises(ToolFailed, match="Socket"):
        parse_wrk(text + "  Socket errors: connect 0, read 3\n", refused=True)


def test_a_missing_tool_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match=r"h2load is not installed: .*nghttp2-client"):
        need("h2load")
    program = tmp_path / "folder" / "wrk"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    assert need("wrk", program.parent) == str(program)


def test_the_processor_time_of_a_command_with_brackets_in_its_name() -> None:
    line = "42 (a ) b) S 7 42 42 0 -1 0 1 2 3 4 100 50 25 25 20 0 1 0 5 6 7"
    stat = parse_stat(line)
    assert stat.parent == 7
    assert stat.cpu_s == pytest.approx(2.0)


def test_the_syncs_of_etcd_are_those_of_its_log_and_its_database() -> None:
    metrics = (
        "# HELP etcd_disk_wal_fsync_duration_seconds ...\n"
        'etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 20\n'
        "etcd_disk_wal_fsync_duration_seconds_count 30\n"
        "etcd_disk_backend_commit_duration_seconds_count 1.2e+01\n"
    )
    assert syncs_of(metrics) == 42
