"""txn: a document in, what was found out, and an exit code that tells the branch."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quorate import client
from quorate.wire import (
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
)

from .fake_client import FakeClient

Run = Callable[..., Result]

SALE = {
    "if": [{"key": "stock", "value": "3"}],
    "then": [
        {"put": {"key": "stock", "value": "2"}},
        {"delete": {"key": "order"}},
        {"get": {"key": "stock"}},
        {"get": {"key": "order"}},
    ],
    "else": [{"get": {"key": "stock"}}, {"delete": {"key": "stock"}}],
}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_document_is_committed_as_what_it_says(run: Run, cluster: FakeClient) -> None:
    run("txn", stdin=encoded(SALE))
    assert cluster.calls == [
        (
            "commit",
            Transaction(
                (Compare(b"stock", Target.VALUE, Relation.EQUAL, b"3"),),
                (
                    *(TxnPut(b"stock", b"2"), TxnDelete(b"order")),
                    *(TxnGet(b"stock"), TxnGet(b"order")),
                ),
                (TxnGet(b"stock"), TxnDelete(b"stock")),
            ),
        )
    ]


def test_when_it_succeeds_each_result_is_a_block(run: Run, cluster: FakeClient) -> None:
    run("put", "stock", "3")
    result = run("txn", stdin=encoded(SALE))
    assert result.exit_code == 0
    assert result.output == "succeeded\n\nOK\n\n0\n\nstock\n2\n\nnot found\n"


def test_when_conditions_fail_the_exit_code_is_4(run: Run, cluster: FakeClient) -> None:
    run("put", "stock", "1")
    result = run("txn", stdin=encoded(SALE))
    assert result.exit_code == 4
    assert result.stdout == "failed\n\nstock\n1\n\n1\n"
    assert result.stderr == ""
    assert cluster.records == {}
    only_then = {"if": [{"key": "a", "exists": True}], "then": []}
    for output, shown in (("simple", "failed\n"), ("json", '"succeeded": false')):
        result = run("txn", "-o", output, stdin=encoded(only_then))
        assert result.exit_code == 4
        assert shown in result.stdout


def test_the_document_comes_from_a_file_or_standard_input(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    put = encoded({"then": [{"put": {"key": "a", "value": "1"}}]})
    path = tmp_path / "put.json"
    path.write_bytes(put)
    for arguments in ([str(path)], ["-"], []):
        assert run("txn", *arguments, stdin=put).output == "succeeded\n\nOK\n"
        assert cluster.records.pop(b"a").value == b"1"
    result = run("txn", str(tmp_path / "absent"))
    assert result.exit_code == 1
    assert "No such file" in result.stderr


def test_keys_and_values_are_any_bytes(run: Run, cluster: FakeClient) -> None:
    value = bytes(range(256))
    value64 = base64.b64encode(value).decode()
    document = {
        "then": [
            {"put": {"key64": "/w==", "value64": value64}},
            {"get": {"key64": "/w"}},
        ]
    }
    result = run("txn", stdin=encoded(document))
    assert result.stdout_bytes == b"succeeded\n\nOK\n\n\xff\n" + value + b"\n"
    shown = json.loads(run("txn", "-o", "json", stdin=encoded(document)).output)
    assert shown == {
        "succeeded": True,
        "revision": 3,
        "results": [
            {"found": True},
            {
                "found": True,
                "kv": {
                    "key": "\ufffd",
                    "key64": "/w==",
                    "value64": value64,
                    "create_revision": 2,
                    "mod_revision": 3,
                    "version": 2,
                },
            },
        ],
    }
    table = run("txn", "-o", "table", stdin=encoded(document)).output
    assert "\x1b" not in table
    assert "\\x1b" in table


def test_a_table_has_a_row_for_each_result(run: Run, cluster: FakeClient) -> None:
    run("put", "stock", "3")
    lines = run("txn", "-o", "table", stdin=encoded(SALE)).output.splitlines()
    assert lines[0] == "succeeded"
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row for row in cells if row] == [
        ["OPERATION", "KEY", "FOUND", "VALUE", "CREATED", "MODIFIED", "VERSION"],
        ["put", "stock", "yes", "", "", "", ""],
        ["delete", "order", "no", "", "", "", ""],
        ["get", "stock", "yes", "2", "2", "3", "2"],
        ["get", "order", "no", "", "", "", ""],
    ]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "the transaction: input data was truncated"),
        (b"{}", "it needs `then` or `else`"),
        (b"put a 1", "malformed"),
        (b'{"then": [{"put": {"key": "a"}}]}', "then[0].put: `value` or `value64`"),
        (b'{"then": [{"get": {"key": "a", "rev": 1}}]}', "unknown field 'rev'"),
        (encoded({"then": [{"get": {"key": "a"}}] * 129}), "then: more than 128 parts"),
    ],
)
def test_a_malformed_document_is_wrong_usage_and_asks_nobody(
    run: Run, cluster: FakeClient, document: bytes, words: str
) -> None:
    result = run("txn", stdin=document)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert cluster.calls == []


def test_a_document_over_the_limit_is_refused_before_it_is_parsed(
    run: Run, cluster: FakeClient
) -> None:
    document = encoded({"then": []})
    full = document + b" " * ((8 << 20) - len(document))
    assert run("txn", stdin=full).exit_code == 0
    result = run("txn", stdin=full + b" ")
    assert result.exit_code == 1
    assert "the transaction is larger than 8388608 bytes" in result.stderr
    assert len(cluster.calls) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.InvalidRequest("twice"), 2),
        (client.TooLarge("big"), 1),
        (client.Unavailable("nobody"), 5),
        (client.Unknown("lost"), 6),
    ],
)
def test_each_failure_has_its_exit_code(
    run: Run, cluster: FakeClient, error: Exception, code: int
) -> None:
    cluster.errors = [error]
    result = run("txn", stdin=encoded(SALE))
    assert result.exit_code == code
    assert str(error) in result.stderr
    assert result.stdout == ""
