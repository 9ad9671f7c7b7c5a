"""put, get, del and status: bytes in, bytes out, and what failures exit with."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quorate import client
from quorate.cli.output import to_text

from .fake_client import FakeClient

Run = Callable[..., Result]

ALL_BYTES = bytes(range(256))


def fill(cluster: FakeClient, *keys: str, run: Run) -> None:
    for key in keys:
        run("put", key, f"value of {key}")


def test_what_was_put_is_got_as_key_and_value(run: Run, cluster: FakeClient) -> None:
    assert run("put", "k", "hello").output == "OK\n"
    assert run("get", "k").output == "k\nhello\n"
    assert run("get", "k", "--print-value-only").output == "hello\n"
    assert run("get", "k", "--keys-only").output == "k\n"


def test_a_value_comes_from_standard_input(run: Run, cluster: FakeClient) -> None:
    for arguments in (["put", "k"], ["put", "k", "-"]):
        assert run(*arguments, stdin=ALL_BYTES).exit_code == 0
        assert cluster.records.pop(b"k").value == ALL_BYTES
    assert run("put", "empty").exit_code == 0
    assert cluster.records[b"empty"].value == b""


def test_a_value_comes_from_a_file(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    (tmp_path / "value").write_bytes(ALL_BYTES)
    run("put", "k", f"@{tmp_path}/value")
    assert cluster.records[b"k"].value == ALL_BYTES
    result = run("put", "k", f"@{tmp_path}/absent")
    assert result.exit_code == 1
    assert "No such file" in result.stderr


def test_a_value_over_the_limit_is_refused_before_it_is_sent(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes((4 << 20) + 1))
    assert run("put", "k", f"@{tmp_path}/large").exit_code == 1
    assert run("put", "k", stdin=bytes((4 << 20) + 1)).exit_code == 1
    assert cluster.calls == []
    assert run("put", "k", stdin=bytes(4 << 20)).exit_code == 0


def test_keys_and_values_are_any_bytes(run: Run, cluster: FakeClient) -> None:
    raw = bytes(byte for byte in range(1, 256))
    run("put", os.fsdecode(raw), os.fsdecode(raw))
    assert cluster.records[raw].value == raw
    result = run("get", os.fsdecode(raw))
    assert result.stdout_bytes == raw + b"\n" + raw + b"\n"


def test_hex_shows_every_byte(run: Run, cluster: FakeClient) -> None:
    run("put", "k", stdin=b"\x00\xff")
    assert run("get", "k", "--hex").output == "\\x6b\n\\x00\\xff\n"


def test_a_table_can_not_harm_a_terminal(run: Run, cluster: FakeClient) -> None:
    run("put", "k", stdin=b"a\x1b[31m\n\xff\xe2\x80\xaeb")
    shown = run("get", "k", "-o", "table").output
    assert "\x1b" not in shown
    assert "a\\x1b[31m\\n\\xff\\u202eb" in shown
    assert len(shown.splitlines()) == 5
    assert to_text("grüße".encode()) == "grüße"


def test_an_absent_key_exits_with_3(run: Run, cluster: FakeClient) -> None:
    result = run("get", "absent")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "not found\n")
    result = run("get", "absent", "-o", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {"kvs": [], "count": 0}


def test_an_empty_range_is_no_error(run: Run, cluster: FakeClient) -> None:
    result = run("get", "absent", "--prefix")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["a", "--prefix"], ["a", "a/1", "a/2"]),
        (["", "--prefix"], ["a", "a/1", "a/2", "b", "c"]),
        (["a/2", "--from-key"], ["a/2", "b", "c"]),
        (["", "--from-key"], ["a", "a/1", "a/2", "b", "c"]),
        (["a/1", "--range-end", "c"], ["a/1", "a/2", "b"]),
        (["b", "--range-end", "b"], []),
        (["b", "--range-end", "a"], []),
        (["b", "--range-end", ""], []),
        (["a", "--prefix", "--limit", "2"], ["a", "a/1"]),
    ],
)
def test_a_range_is_what_its_options_say(
    run: Run, cluster: FakeClient, arguments: list[str], keys: list[str]
) -> None:
    fill(cluster, "a", "a/1", "a/2", "b", "c", run=run)
    shown = run("get", *arguments, "--keys-only").output
    assert shown.splitlines() == keys
    both = [line for key in keys for line in (key, f"value of {key}")]
    assert run("get", *arguments).output.splitlines() == both


def test_json_carries_every_byte(run: Run, cluster: FakeClient) -> None:
    run("put", "k1", stdin=ALL_BYTES)
    run("put", "k2", "x")
    shown = json.loads(run("get", "k", "--prefix", "-o", "json").output)
    assert shown["count"] == 2
    assert base64.b64decode(shown["kvs"][0]["value64"]) == ALL_BYTES
    assert shown["kvs"][1] == {
        "key": "k2",
        "key64": "azI=",
        "value64": "eA==",
        "create_revision": 3,
        "mod_revision": 3,
        "version": 1,
    }
    keys = json.loads(run("get", "k1", "--keys-only", "-o", "json").output)
    assert "value64" not in keys["kvs"][0]


def test_consistency_reaches_the_client(run: Run, cluster: FakeClient) -> None:
    run("get", "k")
    run("get", "k", "--consistency", "local")
    run("get", "k", "--prefix", "--consistency", "local")
    assert cluster.calls == [
        ("get", "linearizable"),
        ("get", "local"),
        ("range", "local"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "k", "--prefix", "--from-key"],
        ["get", "k", "--prefix", "--range-end", "z"],
        ["get", "k", "--keys-only", "--print-value-only"],
        ["get", "k", "--limit", "0"],
        ["get"],
        ["put"],
        ["put", "k", "v", "w"],
        ["put", "k", "v", "--if-absent", "--if-revision", "1"],
        ["put", "k", "v", "--if-revision", "-1"],
        ["del", "k", "--if-revision", "0"],
        ["del", "k", "--prefix", "--from-key"],
        ["del", "k", "--prefix", "--range-end", "z"],
        ["del", "k", "--prefix", "--if-revision", "3"],
    ],
)
def test_wrong_usage_exits_with_2_and_asks_nobody(
    run: Run, cluster: FakeClient, arguments: list[str]
) -> None:
    assert run(*arguments).exit_code == 2
    assert cluster.calls == []


def test_del_prints_how_many_keys_there_were(run: Run, cluster: FakeClient) -> None:
    run("put", "k", "v")
    assert run("del", "k").output == "1\n"
    assert run("del", "k").output == "0\n"
    assert run("del", "k", "-o", "json").output == '{"deleted": 0}\n'


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["b", "--prefix"], ["a", "c"]),
        (["b", "--from-key"], ["a"]),
        (["b", "--range-end", "c"], ["a", "c"]),
        (["b", "--range-end", "b"], ["a", "b", "b/1", "c"]),
        (["b", "--range-end", ""], ["a", "b", "b/1", "c"]),
        (["", "--prefix"], []),
        (["x", "--prefix"], ["a", "b", "b/1", "c"]),
    ],
)
def test_del_deletes_a_range_and_prints_how_many_keys_there_were(
    run: Run, cluster: FakeClient, options: list[str], left: list[str]
) -> None:
    keys = ["a", "b", "b/1", "c"]
    for key in keys:
        run("put", key, "v")
    assert run("del", *options).output == f"{len(keys) - len(left)}\n"
    assert sorted(key.decode() for key in cluster.records) == left


def test_a_failed_precondition_exits_with_4(run: Run, cluster: FakeClient) -> None:
    assert run("put", "k", "v", "--if-absent").exit_code == 0
    assert run("put", "k", "v", "--if-absent").exit_code == 4
    assert run("put", "k", "v", "--if-revision", "7").exit_code == 4
    assert run("del", "k", "--if-revision", "7").exit_code == 4
    assert run("put", "k", "w", "--if-revision", "2").exit_code == 0
    assert run("del", "k", "--if-revision", "3").exit_code == 0


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (client.InvalidRequest("odd"), 2, "odd"),
        (client.TooLarge("big"), 1, "big"),
        (client.Forbidden("no"), 1, "no"),
        (client.Unsupported("later"), 1, "later"),
        (client.NoSpace("full"), 1, "full"),
        (client.ServerFault("bug"), 1, "bug"),
        (client.Unavailable("nobody"), 5, "nobody"),
        (client.TooStale("old"), 5, "old"),
        (client.TooBusy("busy"), 5, "busy"),
        (client.Unknown("lost"), 6, "may have happened: lost"),
        (client.DeadlineExceeded("late"), 6, "late"),
    ],
)
def test_each_failure_has_its_exit_code(
    run: Run, cluster: FakeClient, error: Exception, code: int, words: str
) -> None:
    for arguments in (["put", "k", "v"], ["get", "k"], ["del", "k"]):
        cluster.errors = [error]
        result = run(*arguments)
        assert result.exit_code == code
        assert words in result.stderr
        assert result.stdout == ""


def test_bad_endpoints_and_missing_certificates_are_wrong_usage(run: Run) -> None:
    assert run("get", "k", "--endpoints", "nowhere").exit_code == 2
    assert run("get", "k", "--endpoints", "").exit_code == 2
    assert run("get", "k", "--cacert", "/absent").exit_code == 2
    alone = run("get", "k", "--key", "/absent")
    assert alone.exit_code == 2
    assert "--key needs --cert" in alone.stderr


LEADER: dict[str, object] = {
    "name": "n1",
    "id": "000000000000000a",
    "role": "leader",
    "leader": None,
    "term": 3,
    "state_hash": "ab",
}


def test_status_shows_every_endpoint(run: Run, cluster: FakeClient) -> None:
    cluster.states = {"a:1": LEADER, "b:2": {"name": "n2", "role": "follower"}}
    lines = run("status", "--endpoints", "a:1, b:2").output.splitlines()
    assert lines[0].split()[:3] == ["ENDPOINT", "NAME", "ID"]
    assert lines[1].split()[:4] == ["a:1", "n1", "000000000000000a", "leader"]
    assert lines[2].split()[:4] == ["b:2", "n2", "-", "follower"]
    table = run("status", "--endpoints", "a:1,b:2", "-o", "table").output
    assert len(table.splitlines()) == 6
    assert "| a:1 " in table
    shown = json.loads(run("status", "--endpoints", "a:1", "-o", "json").output)
    assert shown == [{"endpoint": "a:1", **LEADER}]


def test_status_shows_the_living_when_others_are_dead_and_exits_with_5(
    run: Run, cluster: FakeClient
) -> None:
    cluster.states = {"a:1": LEADER, "b:2": client.Unavailable("refused")}
    result = run("status", "--endpoints", "a:1,b:2")
    assert result.exit_code == 5
    assert "leader" in result.stdout
    assert "b:2: refused" in result.stderr
    shown = json.loads(run("status", "--endpoints", "b:2", "-o", "json").stdout)
    assert shown == [{"endpoint": "b:2", "error": "refused"}]


def test_a_write_that_ctrl_c_ends_is_not_said_to_have_failed(
    run: Run, cluster: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code was 1, which says that it did not happen."""

    async def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "put", interrupted)
    result = run("put", "k", "v")
    assert result.exit_code == 130
    assert "what was asked may have been done" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [["put", "k", "v"], ["status"], ["members"]])
def test_a_full_standard_output_is_an_error_in_one_line(
    words: list[str], quorate_endpoints: str
) -> None:
    command = [sys.executable, "-m", "quorate", *words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command,
            env={**os.environ, "QUORATE_ENDPOINTS": quorate_endpoints},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "standard output: no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["watch", "--rev", "2"], ["elect", "e", "--listen", "-o", "json"]]
)
def test_whoever_prints_what_comes_ends_soon_after_the_reader_has_gone(
    words: list[str], quorate_client: client.Client, quorate_endpoints: str
) -> None:
    """As with `| head -1`: the next event, which would tell it, may never come."""
    quorate_client.put("k", "v")
    with subprocess.Popen(
        [sys.executable, "-m", "quorate", *words],
        env={**os.environ, "QUORATE_ENDPOINTS": quorate_endpoints},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert child.stdout.readline()
            child.stdout.close()
            assert child.wait(timeout=20) == 1
            assert child.stderr.read() == b""
        finally:
            child.kill()
