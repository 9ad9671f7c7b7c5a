"""The page of the Python client: it runs as it stands, and names what there is."""

import io
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from quorate import client
from quorate.client import AsyncClient, ClientOptions, Election, Lease, Lock, Txn
from quorate.client.asynchronous import IN_FLIGHT_MAX_DEFAULT
from quorate.client.endpoints import ENDPOINTS_MAX
from quorate.client.in_flight import IN_FLIGHT_BYTES_MAX
from quorate.client.values import LEVELS, TIMEOUT_SECONDS_MAX
from quorate.client.watching import BUFFERED_BYTES_MAX
from quorate.node.launcher import CLIENT_FOLDER, NodeProcess, create_cluster
from quorate.wire import DEFAULT_LIMITS, TTL_MS_MIN
from quorate.wire.transactions import MET_BYTES_MAX, OPERATIONS_MAX, READ_BYTES_MAX
from theirs import run_theirs

from .markdown import Block, blocks, read, rows, section, spans

PAGE = read("docs/python-client.md")
_OPEN_NODE = "127.0.0.1:7400"
_SECURED_NODE = "localhost:7410"
_SHOWN = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
_TOKEN = "t" * 32


def of_tests(block: Block) -> bool:
    return "def test_" in block.text


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# -- the code ----------------------------------------------------------------------


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[str]:
    """A node that wants a certificate and a token; what a client needs is in `here`."""
    local = create_cluster(
        tmp_path / "nodes", ["n1"], client_port=0, peer_port=0, tls=True
    )
    (node,) = local.nodes
    here = tmp_path / "here"
    shutil.copytree(local.directory / CLIENT_FOLDER, here)
    for path in (here / "client.token", node.directory / "client.tokens"):
        path.write_text(f"{_TOKEN}\n")
        path.chmod(0o600)
    config = node.directory / "quorate.toml"
    text = config.read_text()
    wanted = '[client]\ntoken_file = "client.tokens"\n'
    config.write_text(text.replace("[client]\n", wanted, 1))
    process = NodeProcess(node)
    process.start()
    try:
        process.wait_ready(60.0)
        yield f"localhost:{node.client.port}"
    finally:
        process.terminate()
        process.stop()


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom_and_prints_what_it_says(
    quorate_endpoints: str,
    secured: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("QUORATE_ENDPOINTS", quorate_endpoints)
    names: dict[str, object] = {}
    try:
        for block in blocks(PAGE):
            if of_tests(block):
                continue
            text = block.text.replace(_OPEN_NODE, quorate_endpoints)
            text = text.replace(_SECURED_NODE, secured)
            with redirect_stdout(io.StringIO()) as out:
                exec(compile(text, "docs/python-client.md", "exec"), names)
            assert out.getvalue().splitlines() == _SHOWN.findall(block.text), text
    finally:
        kv = names.get("kv")
        if isinstance(kv, client.Client):
            kv.close()


@pytest.mark.slow
def test_the_tests_on_the_page_pass_in_somebody_elses_project(tmp_path: Path) -> None:
    text = "\n".join(block.text for block in blocks(PAGE) if of_tests(block))
    done = run_theirs(tmp_path, text, "--strict-markers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{text.count('def test_')} passed" in done.stdout


def test_all_code_is_python_and_every_print_says_what_it_prints() -> None:
    assert {block.language for block in blocks(PAGE)} == {"python"}
    for block in blocks(PAGE):
        assert block.text.count("print(") == len(_SHOWN.findall(block.text)), block.text


# -- the names ---------------------------------------------------------------------


def public(thing: type) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def named() -> set[str]:
    """All names in single backticks, without arguments."""
    return {re.split(r"[(=\[]", span)[0].split(".")[-1] for span in spans(PAGE)}


def test_every_public_method_is_named_and_every_method_named_exists() -> None:
    for thing in (AsyncClient, Lock, Election, Lease, client.KeyValue):
        # `of` is the client's own, and `over` what `lost` of a SyncLease tells.
        assert public(thing) - {"of", "over"} <= named(), thing
    assert public(Txn) - {"of", "fences", "transaction"} == {
        name
        for row in rows(section(PAGE, "Transactions"))
        for name in ticked(row[0])
        if name != "Txn"
    }
    for row in rows(section(PAGE, "Members")):
        for name in ticked(row[0]):
            assert hasattr(AsyncClient, name), name
    for row in rows(section(PAGE, "Connect")):
        for name in re.findall(r"^`(\w+)\(", row[0]):
            assert hasattr(AsyncClient, name) or name == "Client", name


def test_every_option_of_the_constructor_is_in_the_table() -> None:
    found = {
        name
        for row in rows(section(PAGE, "Connect"))
        if len(row) == 3
        for name in ticked(row[0])
    }
    assert found == set(ClientOptions.__annotations__)


def test_every_error_is_in_the_table_with_what_it_means() -> None:
    table = {
        ticked(row[0])[0]: (row[1], row[2])
        for row in rows(section(PAGE, "Errors"))
        if len(row) == 4
    }
    exported = {
        name: thing
        for name in client.__all__
        if isinstance(thing := getattr(client, name), type)
        and issubclass(thing, client.QuorateError)
    }
    assert table.keys() == exported.keys()
    happened = {"not_applied": "no", "unknown": "perhaps"}
    for name, error in exported.items():
        told, retry = table[name]
        assert retry == ("yes" if error.retryable else "no"), name
        if error is not client.QuorateError:
            assert told == happened[error.outcome], name


def test_every_read_level_is_in_the_table() -> None:
    table = rows(section(PAGE, "Read levels"))
    assert [ticked(row[0])[0].strip('"') for row in table] == list(LEVELS)


def test_the_limits_are_those_of_the_code() -> None:
    told = {row[0]: row[1] for row in rows(section(PAGE, "Limits"))}
    limits = DEFAULT_LIMITS
    assert told == {
        "key": f"{limits.key_bytes_max:,} bytes",
        "value": f"{limits.value_bytes_max >> 20} MiB",
        "request": f"{limits.request_bytes_max >> 20} MiB",
        "conditions of a transaction, and operations on each side": str(OPERATIONS_MAX),
        "keys and values that a transaction's gets return": (
            f"{READ_BYTES_MAX >> 20} MiB"
        ),
        "what a transaction compares, replaces and deletes": (
            f"{MET_BYTES_MAX >> 20} MiB"
        ),
        "page of a range": f"{limits.range_records_max:,} keys, about"
        f" {limits.range_bytes_max >> 20} MiB",
        "`timeout`": f"{TIMEOUT_SECONDS_MAX:g} s",
        "lease": f"{TTL_MS_MIN // 1000} s or longer",
        "endpoints": str(ENDPOINTS_MAX),
        "calls in flight": f"{IN_FLIGHT_MAX_DEFAULT:,} and"
        f" {IN_FLIGHT_BYTES_MAX >> 20} MiB, together",
        "changes of a watch that were not taken yet": f"{BUFFERED_BYTES_MAX >> 20} MiB,"
        " then the node is not listened to",
    }
