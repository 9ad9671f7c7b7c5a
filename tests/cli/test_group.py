"""The command line as a whole: what it loads, and where options come from."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result
from quorate.cli import COMMANDS, ELSEWHERE
from quorate.cli.settings import duration

from .fake_client import FakeClient

Run = Callable[..., Result]

HEAVY = [
    *("aiohttp", "cryptography", "uvloop", "prometheus_client"),
    # Ours, and for few only.
    "quorate.wire.transaction_json",
]


def loaded(arguments: list[str]) -> list[str]:
    """Which heavy modules a call of `quorate` loads, in a process of its own."""
    code = (
        "import sys, json\n"
        "from quorate.cli import group\n"
        f"sys.stdout.write('\\n')\n"
        f"code = group({arguments}, standalone_mode=False)\n"
        f"print('\\n' + json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    return json.loads(shown.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["get", "--help"], ["put", "-h"], ["txn", "-h"], ["node", "-h"]],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(arguments) == []


@pytest.mark.slow
def test_get_loads_nothing_heavy_even_when_it_runs() -> None:
    # Nobody listens there: the client is loaded and used, and then says so.
    code = (
        "import sys\n"
        "from quorate.cli import group\n"
        "try:\n"
        "    group(['get', 'k', '--endpoints', '127.0.0.1:1', '--timeout', '50ms'])\n"
        "except SystemExit as end:\n"
        f"    names = [n for n in {HEAVY} if n in sys.modules]\n"
        "    print(end.code, 'quorate.client' in sys.modules, names)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "5 True []\n"


@pytest.mark.slow
def test_the_probe_for_heavy_modules_notices_them() -> None:
    assert loaded(["certs", "--help"]) == ["cryptography"]


def test_every_command_has_a_module_and_a_help(run: Run) -> None:
    shown = run("--help").output
    for name, lazy in COMMANDS.items():
        assert f"  {name} " in shown
        assert lazy.summary in " ".join(shown.split())
        assert run(name, "--help").exit_code == 0


def test_an_unknown_command_is_wrong_usage(run: Run) -> None:
    result = run("gte", "k")
    assert result.exit_code == 2
    assert "gte" in result.stderr


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").output.startswith("quorate, version ")


def test_options_may_stand_before_or_after_the_command_and_after_wins(
    run: Run, cluster: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_ENDPOINTS", "env:1")
    monkeypatch.setenv("QUORATE_TIMEOUT", "7s")
    monkeypatch.setenv("QUORATE_CACERT", "env.crt")
    run("put", "k", "v")
    assert (cluster.settings.endpoints, cluster.settings.timeout) == ("env:1", 7.0)
    run("--endpoints", "before:1", "put", "k", "v")
    assert cluster.settings.endpoints == "before:1"
    run("--endpoints", "before:1", "put", "k", "v", "--endpoints", "after:1")
    assert cluster.settings.endpoints == "after:1"
    assert cluster.settings.cacert == "env.crt"


def test_without_any_option_the_first_node_of_a_demo_is_asked(
    run: Run, cluster: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUORATE_ENDPOINTS", raising=False)
    run("put", "k", "v")
    assert cluster.settings.endpoints == "127.0.0.1:7400"
    assert cluster.settings.timeout == 5.0


def test_w_is_another_name_for_o(run: Run, cluster: FakeClient) -> None:
    assert run("put", "k", "v", "-w", "json").output == '{"revision": 2}\n'
    assert run("-o", "json", "put", "k", "v").output == '{"revision": 3}\n'
    assert run("put", "k", "v", "-o", "yaml").exit_code == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("1.5s", 1.5), ("500ms", 0.5), ("2m", 120.0), ("10m", 600.0)],
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "11m", "5 s", "1h", "nan", "٣"])
def test_other_durations_are_wrong_usage(
    run: Run, cluster: FakeClient, text: str
) -> None:
    result = run("put", "k", "v", f"--timeout={text}")
    assert result.exit_code == 2
    assert cluster.calls == []


@pytest.mark.slow
def test_a_shell_can_complete_commands_and_options() -> None:
    def completed(words: str, at: int) -> str:
        asked = {
            "_QUORATE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(at),
        }
        return subprocess.run(
            [sys.executable, "-c", "from quorate.cli import main; main()"],
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert completed("quorate mem", 1) == "plain,members\nplain,member\n"
    assert "plain,--prefix\n" in completed("quorate get --pre", 2)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("delete", "Did you mean `quorate del`?"),
        ("ls", "Did you mean `quorate get`?"),
        ("memebrs", "Did you mean `quorate members`?"),
        ("frobnicate", "There is no command 'frobnicate'.\n"),
    ],
)
def test_who_types_another_stores_command_is_told_ours(
    run: Run, cluster: FakeClient, typed: str, said: str
) -> None:
    result = run(typed, "k")
    assert result.exit_code == 2
    assert said in result.stderr
    assert cluster.calls == []


def test_what_is_called_otherwise_elsewhere_has_a_name_here() -> None:
    assert set(ELSEWHERE.values()) <= set(COMMANDS)
    assert not set(ELSEWHERE) & set(COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["put", "--help"]])
def test_help_that_standard_output_does_not_take_is_an_error_in_one_line(
    words: list[str],
) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "quorate", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: standard output: no space left on device")
