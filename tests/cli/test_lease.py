"""lease, and put with one: what is printed, what is asked, what failures exit with."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result
from quorate import client
from quorate.cli import lease as lease_command
from quorate.client import LeaseInfo

from .fake_client import FakeClient

Run = Callable[..., Result]

A7 = "00000000000000a7"


@pytest.fixture
def leased(cluster: FakeClient) -> FakeClient:
    """A cluster with one lease of 30 seconds."""
    cluster.granted[0xA7] = 30.0
    return cluster


def test_grant_makes_a_lease_and_leaves_it_to_itself(
    run: Run, cluster: FakeClient
) -> None:
    told = run("lease", "grant", "10s").output
    assert told == "lease 0000000000000abc granted with TTL(10s)\n"
    assert cluster.calls == [("grant", (0xABC, 10.0)), ("abandon", 0xABC)]
    shown = json.loads(run("lease", "grant", "5m", "--id", "a8", "-o", "json").output)
    assert shown == {"lease": "00000000000000a8", "ttl": 300.0}
    table = run("lease", "grant", "1.5", "--id=A9", "-o", "table").output
    assert "| 00000000000000a9 | 1.5s |" in table
    assert cluster.granted == {0xABC: 10.0, 0xA8: 300.0, 0xA9: 1.5}


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1.0), ("10s", 10.0), ("5m", 300.0), ("2h", 7200.0)]
)
def test_a_time_to_live_is_read_with_its_unit(
    run: Run, cluster: FakeClient, text: str, seconds: float
) -> None:
    assert run("lease", "grant", text).exit_code == 0
    assert cluster.granted == {0xABC: seconds}


def test_an_id_that_is_taken_exits_with_1(run: Run, leased: FakeClient) -> None:
    result = run("lease", "grant", "10s", "--id", A7)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "lease_exists" in result.stderr


def test_revoke_ends_a_lease_and_its_keys(run: Run, leased: FakeClient) -> None:
    run("put", "k", "v", "--lease", A7)
    assert run("lease", "revoke", "a7").output == f"lease {A7} revoked\n"
    assert run("get", "k").exit_code == 3
    leased.granted[0xA7] = 1.0
    shown = run("lease", "revoke", A7, "-o", "json").output
    assert json.loads(shown) == {"lease": A7, "result": "revoked"}


def test_keep_alive_once_is_once(run: Run, leased: FakeClient) -> None:
    told = run("lease", "keep-alive", A7, "--once").output
    assert told == f"lease {A7} keepalived with TTL(30s)\n"
    shown = run("lease", "keep-alive", A7, "--once", "-o", "json").output
    assert json.loads(shown) == {"lease": A7, "ttl": 30.0, "left": 30.0}
    assert leased.calls == [("keep_alive", 0xA7)] * 2


def hurried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps; how long they would have."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(lease_command.asyncio, "sleep", sleep)
    return slept


def test_keep_alive_goes_on_until_the_lease_has_gone(
    run: Run, leased: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = hurried(monkeypatch)
    kept = leased.keep_alive

    async def thrice(lease: int) -> LeaseInfo:
        if len(leased.calls) == 3:
            leased.granted.clear()
        return await kept(lease)

    monkeypatch.setattr(leased, "keep_alive", thrice)
    result = run("lease", "keep-alive", A7)
    assert result.exit_code == 3
    assert result.stdout == f"lease {A7} keepalived with TTL(30s)\n" * 3
    assert "lease_not_found" in result.stderr
    assert slept == pytest.approx([10.0] * 3, abs=1)


def test_keep_alive_ends_in_order_when_it_is_interrupted(
    run: Run, leased: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lease_command.asyncio, "sleep", interrupted)
    result = run("lease", "keep-alive", A7)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"lease {A7} keepalived with TTL(30s)\n"
    assert 0xA7 in leased.granted


def test_keep_alive_tries_again_while_the_lease_has_time_left(
    run: Run, leased: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch)
    kept = leased.keep_alive

    async def failing(lease: int) -> LeaseInfo:
        if len(leased.calls) == 1:
            leased.errors = [client.Unknown("lost"), client.Unavailable("nobody")]
        if len(leased.calls) == 4:
            leased.granted.clear()
        return await kept(lease)

    monkeypatch.setattr(leased, "keep_alive", failing)
    result = run("lease", "keep-alive", A7)
    assert result.exit_code == 3
    assert result.stdout.count("keepalived") == 2
    assert "lost; trying again" in result.stderr
    assert "nobody; trying again" in result.stderr


def test_timetolive_shows_what_is_left_and_keys_when_asked(
    run: Run, leased: FakeClient
) -> None:
    run("put", "k", "v", "--lease", A7)
    run("put", b"\xff".decode("utf-8", "surrogateescape"), "v", "--lease", A7)
    told = f"lease {A7} granted with TTL(30s), remaining(29.5s)\n"
    assert run("lease", "timetolive", A7).output == told
    with_keys = run("lease", "timetolive", A7, "--keys")
    assert with_keys.stdout_bytes == told.encode() + b"k\n\xff\n"
    shown = json.loads(run("lease", "timetolive", A7, "-o", "json").output)
    assert shown == {"lease": A7, "ttl": 30.0, "left": 29.5}
    shown = json.loads(run("lease", "timetolive", A7, "--keys", "-o", "json").output)
    assert [key["key64"] for key in shown["keys"]] == ["aw==", "/w=="]
    table = run("lease", "timetolive", A7, "--keys", "-o", "table").output
    assert f"| {A7} | 30s | 29.5s | k    |" in table
    assert "KEY" not in run("lease", "timetolive", A7, "-o", "table").output


def test_list_shows_ids_one_a_line(run: Run, leased: FakeClient) -> None:
    leased.granted[2**64 - 1] = 10.0
    assert run("lease", "list").output == f"{A7}\n{'f' * 16}\n"
    shown = json.loads(run("lease", "list", "-o", "json").output)
    assert shown == {"leases": [A7, "f" * 16]}
    assert f"| {A7} |" in run("lease", "list", "-o", "table").output
    leased.granted.clear()
    assert run("lease", "list").output == ""
    assert run("lease", "list", "-o", "table").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["lease", "revoke", "ff"],
        ["lease", "keep-alive", "ff"],
        ["lease", "keep-alive", "ff", "--once"],
        ["lease", "timetolive", "ff", "--keys"],
        ["put", "k", "v", "--lease", "ff"],
    ],
)
def test_a_lease_that_is_not_there_exits_with_3(
    run: Run, leased: FakeClient, arguments: list[str]
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "lease_not_found" in result.stderr
    assert not leased.records


# -- put -------------------------------------------------------------------------------


def test_put_hangs_a_key_on_a_lease(run: Run, leased: FakeClient) -> None:
    result = run("put", "k", "v", "--lease", "a7")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "OK\n", "")
    assert leased.records[b"k"].lease == 0xA7
    shown = json.loads(run("put", "k", "v", "--lease", A7, "-o", "json").output)
    assert shown == {"revision": 3, "lease": A7}
    assert json.loads(run("get", "k", "-o", "json").output)["kvs"][0]["lease"] == A7


def test_put_with_a_ttl_grants_a_lease_of_its_own_and_tells_its_id(
    run: Run, cluster: FakeClient
) -> None:
    result = run("put", "k", "v", "--ttl", "10s")
    assert (result.exit_code, result.stdout) == (0, "OK\n")
    assert result.stderr == "lease 0000000000000abc granted with TTL(10s)\n"
    assert cluster.records[b"k"].lease == 0xABC
    # It is not kept alive, nor revoked, when the command ends.
    assert cluster.calls[-1] == ("abandon", 0xABC)
    assert cluster.granted == {0xABC: 10.0}
    cluster.granted.clear()
    result = run("put", "k", "v", "--ttl", "10s", "-o", "json")
    shown = json.loads(result.stdout)
    assert shown == {"revision": 3, "lease": "0000000000000abc"}
    assert result.stderr == ""


def test_a_put_with_a_ttl_that_was_refused_leaves_no_lease(
    run: Run, cluster: FakeClient
) -> None:
    run("put", "k", "v")
    result = run("put", "k", "v", "--ttl", "10s", "--if-absent")
    assert (result.exit_code, result.stdout) == (4, "")
    assert cluster.granted == {}


def test_a_put_with_a_ttl_whose_fate_is_unknown_leaves_its_lease(
    run: Run, cluster: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object, **__: object) -> int:
        raise client.Unknown("lost")

    monkeypatch.setattr(cluster, "put", lost)
    assert run("put", "k", "v", "--ttl", "10s").exit_code == 6
    assert cluster.granted == {0xABC: 10.0}
    assert cluster.calls[-1] == ("abandon", 0xABC)


# -- wrong usage and failures ----------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        *(["grant"], ["grant", "0"], ["grant", "0.9s"], ["grant", "-1"]),
        *(["grant", "x"], ["grant", "500ms"], ["grant", "1d"], ["grant", "nan"]),
        *(["grant", "9000000001"], ["grant", "10 s"], ["grant", "٣"]),
        *(["grant", "10", "20"], ["grant", "10", "--id", "0"]),
        *(["grant", "10", "--id", "g"], ["grant", "10", "--id", "1" * 17]),
        *(["revoke"], ["revoke", "0"], ["revoke", ""], ["revoke", "0x1"]),
        *(["revoke", "1", "2"], ["keep-alive"], ["keep-alive", "-1"]),
        *(["timetolive"], ["timetolive", "xyz"], ["timetolive", "٣"]),
        *(["list", "1"], ["nonsense"]),
    ],
)
def test_wrong_usage_exits_with_2_and_asks_nobody(
    run: Run, cluster: FakeClient, arguments: list[str]
) -> None:
    assert run("lease", *arguments).exit_code == 2
    assert cluster.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lease", "1", "--ttl", "10s"],
        *(["--lease", "0"], ["--lease", "x"], ["--ttl", "0s"], ["--ttl", "x"]),
    ],
)
def test_a_put_with_a_lease_that_is_none_is_wrong_usage(
    run: Run, cluster: FakeClient, arguments: list[str]
) -> None:
    assert run("put", "k", "v", *arguments).exit_code == 2
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.InvalidRequest("odd"), 2),
        (client.Forbidden("no"), 1),
        (client.Unavailable("nobody"), 5),
        (client.Unknown("lost"), 6),
        (client.DeadlineExceeded("late"), 6),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        *(["grant", "10s"], ["revoke", A7], ["keep-alive", A7]),
        *(["timetolive", A7], ["list"]),
    ],
)
def test_each_failure_has_its_exit_code(
    run: Run, leased: FakeClient, arguments: list[str], error: Exception, code: int
) -> None:
    leased.errors = [error]
    result = run("lease", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert str(error) in result.stderr


def test_help_is_there_for_each(run: Run) -> None:
    assert run("lease").exit_code in (0, 2)
    for name in ("grant", "revoke", "keep-alive", "timetolive", "list"):
        assert run("lease", name, "--help").exit_code == 0


@pytest.mark.slow
def test_get_does_not_load_it() -> None:
    code = (
        "import sys\n"
        "from quorate.cli import group\n"
        "group(['get', '--help'], standalone_mode=False)\n"
        "print('quorate.cli.lease' in sys.modules, 'quorate.client' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[-1] == "False False"


def test_the_number_of_a_lease_is_told_in_hex(run: Run, leased: FakeClient) -> None:
    """Python shows numbers; most have too many digits to be taken for hex."""
    number = 0x694D71D8A5A0AD0C
    result = run("lease", "timetolive", str(number))
    assert result.exit_code == 2
    assert "694d71d8a5a0ad0c" in " ".join(result.stderr.split())
    assert run("lease", "timetolive", "9" * 20).exit_code == 2
    assert leased.calls == []
