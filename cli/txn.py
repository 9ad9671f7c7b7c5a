"""`quorate txn`: conditions, and what to do when they hold or when not."""

import asyncio
from typing import TYPE_CHECKING

import click

from .input import read_input
from .output import print_json, print_table, record, stdout, to_text
from .settings import (
    NotAsExpected,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
)

if TYPE_CHECKING:
    from ..client import Committed, KeyValue
    from ..wire import TxnOperation
    from ..wire.transaction_json import Spelled

    Done = tuple[TxnOperation, bool | int | KeyValue | None]


@click.command("txn")
@click.argument("file", required=False)
@click.option(
    "--fence",
    "tokens",
    multiple=True,
    metavar="TOKEN",
    help="Only while the lock of this token is held; may be given more than once.",
)
@connection_options()
def command(file: str | None, tokens: tuple[str, ...]) -> None:
    """Commit the transaction in FILE, a JSON document, in one step.

    FILE may be `-` or left out, which reads standard input. The document is that of
    `POST /v1/txn`:

    \b
    {"if":   [{"key": "stock", "value": "3"}],
     "then": [{"put": {"key": "stock", "value": "2"}}],
     "else": [{"get": {"key": "stock"}}]}

    Prints `succeeded` when all conditions held, else `failed`, and then what each
    operation of "then", or of "else", found. The exit code is 4 when it was "else",
    and when a lock was lost whose token is in "fence" or --fence: then nothing is done.
    """
    spelled = _read(file)
    settings = current_settings()
    with exit_codes():
        result = asyncio.run(_commit(settings, spelled, tokens))
    transaction = spelled.transaction
    branch = transaction.then if result.succeeded else transaction.otherwise
    done = list(zip(branch, result.results, strict=True))
    match settings.output:
        case "json":
            _show_json(result, done)
        case "table":
            _show_table(result, done)
        case _:
            _show_simple(result, done)
    if not result.succeeded:
        click.get_current_context().exit(NotAsExpected.exit_code)


def _read(file: str | None) -> "Spelled":
    from ..wire import DEFAULT_LIMITS, CommandRefused
    from ..wire.transaction_json import parse_transaction

    path = None if file == "-" else file
    data = read_input(path, "transaction", DEFAULT_LIMITS.request_bytes_max)
    try:
        return parse_transaction(data)
    except CommandRefused as error:
        raise click.UsageError(error.reason) from error


async def _commit(
    settings: Settings, spelled: "Spelled", tokens: tuple[str, ...]
) -> "Committed":
    from ..client import Txn

    txn = Txn.of(spelled.transaction)
    for token in (*(fence.token for fence in spelled.fences), *tokens):
        txn.fence(token)
    async with settings.connect() as client:
        return await client.commit(txn)


def _verdict(result: "Committed") -> str:
    return "succeeded" if result.succeeded else "failed"


def _show_simple(result: "Committed", done: "list[Done]") -> None:
    from ..wire import TxnGet, TxnPut

    out = stdout()
    out.write(_verdict(result).encode() + b"\n")
    for operation, found in done:
        # What put, del and get would have printed.
        out.write(b"\n")
        if isinstance(operation, TxnPut):
            out.write(b"OK\n")
        elif not isinstance(operation, TxnGet):
            out.write(b"1\n" if found else b"0\n")
        elif found is None or isinstance(found, int):
            out.write(b"not found\n")
        else:
            out.write(found.key + b"\n" + found.value + b"\n")
    out.flush()


def _show_json(result: "Committed", done: "list[Done]") -> None:
    results: list[dict[str, object]] = []
    for _, found in done:
        if found is None or isinstance(found, int):
            results.append({"found": bool(found)})
        else:
            results.append({"found": True, "kv": record(found, keys_only=False)})
    print_json(
        {
            "succeeded": result.succeeded,
            "revision": result.revision,
            "results": results,
        }
    )


def _show_table(result: "Committed", done: "list[Done]") -> None:
    from ..wire import TxnDelete, TxnGet, TxnPut

    rows: list[list[str]] = []
    for operation, found in done:
        match operation:
            case TxnPut():
                name = "put"
            case TxnDelete():
                name = "delete"
            case TxnGet():
                name = "get"
            case _:
                raise AssertionError("JSON spells no other operation")
        row = [name, to_text(operation.key)]
        if found is None or isinstance(found, int):
            row += ["yes" if found else "no", "", "", "", ""]
        else:
            numbers = (found.create_revision, found.mod_revision, found.version)
            row += ["yes", to_text(found.value), *map(str, numbers)]
        rows.append(row)
    click.echo(_verdict(result))
    head = ["OPERATION", "KEY", "FOUND", "VALUE", "CREATED", "MODIFIED", "VERSION"]
    print_table(head, rows)
