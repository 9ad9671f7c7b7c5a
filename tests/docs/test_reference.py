"""Tables of the documents against the code: in both directions, row by row."""

import ast
import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import click
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from quorate.chaos.attach.faults import FaultEntry
from quorate.chaos.harness import FAULTS, SUITES, WORKLOADS
from quorate.chaos.harness.faults import ALL_KINDS
from quorate.chaos.harness.history import Done, Input, Kill, Output, Start, Struck
from quorate.chaos.simulator import faults, mutants
from quorate.node import config, fault_door, peer_wire, process
from quorate.node.api import (
    errors,
    http,
    http_backup,
    http_caretaker,
    http_compaction,
    http_elections,
    http_leases,
    http_locks,
    http_members,
    http_tokens,
    http_txn,
    http_watch,
    place_bodies,
)
from quorate.node.api.connections import ClientPort
from quorate.node.api.door import ASKING
from quorate.node.api.etcd import errors as etcd_errors
from quorate.node.api.etcd import gateway, probes, ranges, transactions
from quorate.node.api.exposition import Exposition
from quorate.node.api.options import ApiOptions
from quorate.node.api.rights import NODE
from quorate.node.api.service import Member, Position, Sink, WatchSink
from quorate.node.api.status import status_json
from quorate.node.gossip import codec
from quorate.node.pid_file import LIFELINE
from quorate.node.statistics import PeerStatistics, Statistics
from quorate.node.timings import Histogram, NodeTimings
from quorate.wire import KEYS_MAX, CaretakerStatus, transaction_json
from quorate.wire.errors import ERROR_TRAITS, ErrorCode
from quorate.wire.membership import Members
from quorate.wire.transaction_json import parse_transaction

from .markdown import ROOT, blocks, read, rows, section, spans

METHODS = ("GET", "POST", "DELETE")
MEMBER_CHANGES = (
    *(http_members.PROMOTE, http_members.DEMOTE),
    *(http_members.SPARE, http_members.REPLACE),
)

_TICKED = re.compile(r"`([^`]+)`")


def ticked(cell: str) -> list[str]:
    return _TICKED.findall(cell)


# -- error codes -------------------------------------------------------------------


def documented_codes(text: str) -> dict[str, tuple[int, bool]]:
    """Rows of a code, its HTTP status, and whether to retry."""
    return {
        ticked(row[0])[0]: (int(row[1]), row[2] == "yes")
        for row in rows(text)
        if len(row) == 4 and row[2] in ("yes", "no")
    }


def test_the_error_codes_of_the_http_api_are_those_of_the_code() -> None:
    expected = {code.name.lower(): tuple(t) for code, t in ERROR_TRAITS.items()}
    expected |= errors.HTTP_PROBLEMS
    assert documented_codes(read("docs/http-api.md")) == expected


def test_the_error_codes_of_the_formats_are_those_of_the_code() -> None:
    found = {
        (int(row[0]), row[1], int(row[2]), row[3] == "yes")
        for row in rows(read("docs/formats.md"))
        if len(row) == 5 and row[3] in ("yes", "no")
    }
    expected = {
        (code.value, code.name.lower(), *ERROR_TRAITS[code]) for code in ErrorCode
    }
    assert found == expected


# -- configuration -----------------------------------------------------------------


def test_every_key_of_the_configuration_is_documented_with_its_default() -> None:
    found = {
        ticked(row[0])[0]: (ticked(row[1])[0], row[2])
        for row in rows(read("docs/configuration.md"))
        if len(row) == 4
    }
    keys = {str(key): key for key in config._keys()}
    assert found.keys() == keys.keys()
    for name, (variable, default) in found.items():
        assert variable == keys[name].variable
        if name == "name":
            assert default == "none, needed"
        else:
            assert default == f"`{as_toml(keys[name].default)}`", name


def as_toml(value: object) -> str:
    return "[]" if value == () else config._toml(value)


def test_what_the_caretaker_goes_by_is_documented_with_its_defaults() -> None:
    told = CaretakerStatus()
    found = {
        ticked(row[0])[0]: row[1]
        for row in rows(section(read("docs/membership.md"), "The caretaker"))
    }
    assert found == {
        "--voters": str(told.voters),
        "--silence": f"`{told.silence_ms // 1000}s`",
        "--stable": f"`{told.stable_ms // 1000}s`",
        "--lag": f"`{told.lag_ms}ms`",
    }


def test_every_environment_variable_that_is_named_exists() -> None:
    text = read("docs/configuration.md")
    named = {word for span in spans(text) for word in re.findall(r"QUORATE_\w+", span)}
    others = {LIFELINE, process.HOLD_BACK, fault_door.FAULTS, *command_line_variables()}
    assert named == config.environment_names() | others


def command_line_variables() -> set[str]:
    """Those that the command line reads, and those that `quorate lock` sets."""
    from quorate.cli import group
    from quorate.cli.settings import TOKEN_VARIABLE

    options = {
        str(parameter.envvar)
        for command in every_command(group)
        for parameter in command.params
        if parameter.envvar is not None
    }
    set_by_lock = set(re.findall(r'"(QUORATE_\w+)": ', read("cli/lock.py")))
    assert set_by_lock
    return options | {TOKEN_VARIABLE} | set_by_lock


def every_command(command: click.Command) -> Iterator[click.Command]:
    """It and all that are below it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from every_command(found)


# -- HTTP --------------------------------------------------------------------------


def routes_of(text: str) -> dict[str, str]:
    """The table of routes, and the methods of each."""
    return {
        ticked(row[0])[0]: row[1]
        for row in rows(text)
        if len(row) == 3
        and row[1].startswith(("GET", "POST", "DELETE"))
        and row[0][1] == "/"
    }


def test_every_route_is_documented_and_exists() -> None:
    table = routes_of(read("docs/http-api.md"))
    keys = "/v1/kv/"
    single = ", ".join(("GET", "HEAD", "PUT", "DELETE"))
    assert sorted(single.split(", ")) == sorted(http.METHODS)
    expected = dict.fromkeys(http._OPERATIONS, "GET, HEAD")
    expected |= {keys: single, f"{keys}{{key}}": single}
    for module in (http_txn, http_compaction, http_backup, http_watch):
        expected[module.PATH] = ", ".join(module.METHODS)
    expected[gateway.HEALTH] = ", ".join(gateway.HEALTH_METHODS)
    for probe in probes.CHECKS:
        for path in (probe, f"{probe}/{{check}}"):
            expected[path] = ", ".join(probes.METHODS)
    every = [f"{prefix}…" for prefix in gateway.PREFIXES]
    expected[every[0]] = ", ".join(gateway.METHODS)
    one = f"{http_leases.BELOW}{{id}}"
    expected |= {
        http_leases.PATH: ", ".join(http_leases.METHODS),
        one: ", ".join(http_leases.ONE_METHODS),
        one + http_leases.KEEP_ALIVE: ", ".join(http_leases.KEEP_METHODS),
    }
    for module in (http_locks, http_elections):
        expected[f"{module.BELOW}{{name}}"] = ", ".join(module.METHODS)
    member = f"{http_members.BELOW}{{id}}"
    change = ", ".join(http_members.CHANGE_METHODS)
    expected |= {
        http_members.PATH: ", ".join(http_members.METHODS),
        http_members.LEADER_PATH: ", ".join(http_members.LEADER_METHODS),
        member: ", ".join(http_members.ONE_METHODS),
        **dict.fromkeys((member + each for each in MEMBER_CHANGES), change),
        http_caretaker.PATH: ", ".join(http_caretaker.METHODS),
        http_tokens.PATH: ", ".join(http_tokens.METHODS),
        f"{http_tokens.BELOW}{{id}}": ", ".join(http_tokens.ONE_METHODS),
    }
    assert table == expected


def test_every_route_that_any_document_shows_exists() -> None:
    documents = ("http-api", "operations", "etcd-compatibility")
    for path in ("README.md", *(f"docs/{name}.md" for name in documents)):
        for route in re.findall(r"127\.0\.0\.1:74\d\d(/[^\s'`]*)", read(path)):
            plain = route.partition("?")[0]
            known = {*http._OPERATIONS, http_txn.PATH, http_compaction.PATH}
            known |= {f"/v3/{path}" for path in etcd_paths()}
            known |= {http_leases.PATH, http_watch.PATH, http_caretaker.PATH}
            known |= {http_members.PATH, http_members.LEADER_PATH, http_tokens.PATH}
            lease = re.fullmatch(r"/v1/leases/[0-9a-f]{16}(/keepalive)?", plain)
            named = ("/v1/kv/", http_locks.BELOW, http_elections.BELOW)
            member = re.fullmatch(r"/v1/members/[0-9a-f]{16}(/[a-z]+)?", plain)
            if member and (member[1] or "") in ("", *MEMBER_CHANGES):
                continue
            assert plain.startswith(named) or lease or plain in known, route


def etcd_paths() -> set[str]:
    """What is served of etcd's API."""
    options = ApiOptions(cluster_id=1, member_id=1, name="n1", version="0")
    loop = asyncio.new_event_loop()
    try:
        port = ClientPort(_Idle(), options, loop)
        return set(gateway.Gateway(port)._handlers)
    finally:
        loop.close()


def test_every_endpoint_of_etcds_is_documented_as_served_or_not() -> None:
    text = read("docs/etcd-compatibility.md")
    served = {n for row in rows(section(text, "Endpoints")) for n in ticked(row[0])}
    assert served == etcd_paths()
    table = rows(section(text, "Not served"))
    assert {n for row in table for n in ticked(row[0])} == gateway.UNSERVED.keys()


def test_every_difference_from_etcd_has_a_reason() -> None:
    table = list(rows(section(read("docs/etcd-compatibility.md"), "What differs")))
    assert len(table) > 20
    for what, *parts in table:
        assert len(parts) == 3, what
        assert all(parts), what


def test_the_limits_of_the_etcd_api_are_those_of_the_code() -> None:
    text = section(read("docs/etcd-compatibility.md"), "What differs")
    assert f"{ranges.COUNTED_KEYS_MAX:,} at most" in text
    assert f"{ranges.SORTED_BYTES_MAX >> 20} MiB to be sorted" in text
    assert f"{KEYS_MAX:,} (`deleterange`" in text
    assert f"{gateway.KEEP_ALIVES_MAX:,} messages at most" in text
    assert transactions.TRIES_MAX == 5
    assert "after five tries" in text
    for message in re.findall(r"`(etcdserver: [^`]+)`", text):
        words = " ".join(message.split())
        assert words in vars(etcd_errors).values(), words


def test_every_query_parameter_is_documented() -> None:
    from quorate.node.api import http_keys

    text = read("docs/http-api.md")
    one = " ".join(row[0] for row in rows(section(text, "`GET /v1/kv/{key}`")))
    many = " ".join(row[0] for row in rows(section(text, "`GET /v1/kv/`")))
    read_only = {"consistency", "max_staleness", "min_revision", "revision"}
    read_only |= {"timeout", "key64"}
    documented = set(ticked(one)) - response_headers(text)
    assert documented == http_keys._GET == read_only
    # A list that is given key64 is a get.
    assert set(ticked(many)) == http_keys._LIST - {"key64"}
    for method, known in (("PUT", http_keys._PUT), ("DELETE", http_keys._WRITE)):
        own = section(text, f"`{method} /v1/kv/{{key}}`")
        line = own.partition("Parameters: ")[2].partition(".")[0]
        assert set(ticked(line)) == known
    leases = rows(section(text, "`/v1/leases`"))
    named = {name for row in leases for name in ticked(row[1])}
    assert named == (http_leases._GRANT | http_leases._SHOW | http_leases._LIST)
    own = section(text, "`POST /v1/txn`")
    line = own.partition("Parameter: ")[2].partition(".")[0]
    assert set(ticked(line)) == http_txn._PARAMETERS
    own = section(text, "`POST /v1/compaction`")
    line = own.partition("Parameters: ")[2].partition(".")[0]
    assert set(ticked(line)) == http_compaction._PARAMETERS
    watch = " ".join(row[0] for row in rows(section(text, "`GET /v1/watch`")))
    assert set(ticked(watch)) == http_watch._PARAMETERS


def test_every_field_of_a_transaction_is_documented() -> None:
    own = section(read("docs/http-api.md"), "`POST /v1/txn`")
    parts = {row[0]: set(ticked(row[1])) for row in rows(own)}
    conditions = msgspec.structs.fields(transaction_json._Condition)
    assert parts["a condition"] == {field.encode_name for field in conditions}
    operations = msgspec.structs.fields(transaction_json._Operation)
    put = msgspec.structs.fields(transaction_json._Put)
    named = {field.encode_name for field in (*operations, *put)}
    assert parts["an operation"] == named


def test_every_field_of_what_wants_a_lock_is_documented() -> None:
    text = read("docs/http-api.md")
    own = section(text, "`/v1/locks/{name}`")
    named = {name for row in rows(own) for name in ticked(row[0])}
    lock = {field.name for field in msgspec.structs.fields(place_bodies._Wanted)}
    assert named == lock
    election = section(text, "`/v1/elections/{name}`")
    fields = msgspec.structs.fields(place_bodies._Campaign)
    assert {field.name for field in fields} - lock <= set(spans(election))
    options = ApiOptions(cluster_id=1, member_id=1, name="n1", version="0")
    assert f"when {options.waiting_max:,} requests wait" in own
    assert f"the first {http_locks.QUEUE_SHOWN_MAX} of them" in own
    assert f"At most {KEYS_MAX:,} stand in one" in own


def test_transactions_in_the_documents_are_understood() -> None:
    found = [
        document
        for name in ("README.md", "docs/http-api.md", "docs/cli.md")
        # With -d they are etcd's.
        for document in re.findall(r"(?<!-d )'(\{\s*\"[^']*\})'", read(name))
    ]
    assert found
    for document in found:
        assert parse_transaction(document.encode()), document


def test_the_sample_of_the_members_has_the_fields_of_the_code() -> None:
    own = section(read("docs/http-api.md"), "`/v1/members`, `/v1/tokens`, `/v1/leader`")
    (text,) = (block.text for block in blocks(own) if block.language == "json")
    # Where a hash is cut off.
    sample = re.sub(r'"([0-9a-f]+)…"', lambda cut: f'"{cut[1]:0<64}"', text)
    told = msgspec.json.decode(sample, type=Members)
    again = msgspec.json.encode(told)
    assert msgspec.json.decode(again) == msgspec.json.decode(sample)


def response_headers(text: str) -> set[str]:
    table = rows(section(text, "`GET /v1/kv/{key}`"))
    return {name for row in table for name in ticked(row[0]) if name[0].isupper()}


def test_every_field_of_the_status_is_documented() -> None:
    table = list(rows(section(read("docs/http-api.md"), "`GET /v1/status`")))
    named = {name for row in table for name in ticked(row[0])}
    document: dict[str, object] = msgspec.json.decode(status_json(Statistics()))
    assert named == document.keys()
    peer = next(row for row in table if row[0] == "`peers`")
    assert set(ticked(peer[1])) == set(PeerStatistics.__struct_fields__)


# -- metrics -----------------------------------------------------------------------


class _Idle:
    """A node that does nothing but have figures."""

    def submit(
        self, sink: Sink, request_id: int, kind: int, body: bytes, timeout_ms: int
    ) -> None:
        raise AssertionError("no request is made here")

    def timings(self) -> NodeTimings:
        return NodeTimings(Histogram(), Histogram())

    def statistics(self) -> Statistics:
        return Statistics(peers=[PeerStatistics(member_id="1")])

    def gone(self, sink: WatchSink) -> None:
        raise AssertionError("nobody watches here")

    def position(self) -> Position:
        return Position(1, 1)

    def members(self) -> tuple[Member, ...]:
        return ()

    def backup(self, timeout_ms: int) -> AsyncGenerator[bytes]:
        raise AssertionError("nobody asks for a backup here")

    def endpoints(self) -> tuple[str, ...]:
        return ()

    def troubles(self) -> tuple[str, ...]:
        return ()


async def test_every_metric_is_documented_and_exposed() -> None:
    options = ApiOptions(cluster_id=1, member_id=1, name="n1", version="0")
    port = ClientPort(_Idle(), options, asyncio.get_running_loop())
    ASKING.set(NODE)
    text = Exposition(port).text().decode()
    exposed: set[str] = set()
    for family in text_string_to_metric_families(text):
        ending = {"counter": "_total"}.get(family.type, "")
        exposed.add(family.name + ending)
    ours = {name for name in exposed if name.startswith("quorate_")}
    table = section(read("docs/operations.md"), "Metrics")
    documented = {name for row in rows(table) for name in ticked(row[0])}
    assert documented == ours
    others = {name.partition("_")[0] for name in exposed - ours}
    assert others <= {"process", "python"}


# -- formats -----------------------------------------------------------------------


def peer_messages() -> dict[int, list[str]]:
    """The documented layouts: kind, then name and fields (`field: type`)."""
    text = section(read("docs/formats.md"), "6. The peer protocol")
    found: dict[int, list[str]] = {}
    for kind, name, payload in (row for row in rows(text) if len(row) == 3):
        if kind.isdigit():
            fields = ticked(payload)[0].split(", ") if "`" in payload else []
            found[int(kind)] = [name, *fields]
    return found


def test_the_layouts_of_fixed_peer_messages_are_those_of_the_code() -> None:
    documented = peer_messages()
    for cls, (kind, layout) in peer_wire._FIXED.items():
        name, *fields = documented.pop(kind)
        assert name == cls.__name__
        plain = [field.partition(":")[0] for field in fields]
        assert plain == list(cls.__struct_fields__)
        letters = "".join("?" if field.endswith(": truth") else "Q" for field in fields)
        assert layout.format == "<" + letters
    variable = {
        "AppendEntries": peer_wire._KIND_APPEND,
        "InstallSnapshot": peer_wire._KIND_SNAPSHOT,
        "EntriesReply": peer_wire._KIND_ENTRIES,
        "ForwardRequest": peer_wire._KIND_FORWARD,
        "ForwardReply": peer_wire._KIND_FORWARD_REPLY,
    }
    assert {fields[0]: kind for kind, fields in documented.items()} == variable


def test_the_kinds_and_layouts_of_gossip_are_those_of_the_code() -> None:
    text = section(read("docs/formats.md"), "6. The peer protocol")
    table = {int(row[0]): row[1] for row in rows(text) if len(row) == 4}
    assert table == {kind: cls.__name__ for cls, kind in codec.KINDS.items()}
    letters = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}
    for name, layout in (("message", codec._HEAD), ("claim", codec._CLAIM)):
        start = text.index(f"{name} = " if name == "message" else f"{name}   = ")
        words = text[
            start : text.index("\n    text" if name == "claim" else "claim*", start)
        ]
        found = "".join(letters[word] for word in re.findall(r" (u\d+)", words))
        assert layout.format == "<" + found
    assert f"at most {codec.CLAIMS_MAX} claims" in text
    assert f"at most {codec.TEXT_BYTES_MAX} bytes" in text


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (peer_wire._KIND_APPEND, peer_wire._APPEND),
        (peer_wire._KIND_SNAPSHOT, peer_wire._SNAPSHOT),
        (peer_wire._KIND_ENTRIES, peer_wire._ENTRIES),
        (peer_wire._KIND_FORWARD, peer_wire._FORWARD),
        (peer_wire._KIND_FORWARD_REPLY, peer_wire._FORWARD_REPLY),
    ],
)
def test_the_heads_of_other_peer_messages_are_those_of_the_code(
    kind: int, layout: "peer_wire.struct.Struct"
) -> None:
    # The last field is the part of variable length.
    fields = peer_messages()[kind][1:-1]
    letters = {"u8": "B", "u32": "I", "": "Q"}
    found = "".join(letters[field.partition(": ")[2]] for field in fields)
    assert layout.format == "<" + found


def test_the_sizes_of_the_journals_head_and_foot_are_those_of_the_code() -> None:
    from quorate.storage import journal_format

    text = section(read("docs/formats.md"), "4. The journal")
    found = {
        name: sum(int(bits) // 8 for bits in re.findall(r"\bu(8|16|32|64)\b", grammar))
        for name, grammar in re.findall(
            r"^    (head|foot) +=((?:.+\n)(?: {10,}.+\n)*)", text, re.MULTILINE
        )
    }
    assert found == {
        "head": journal_format.HEAD_BYTES,
        "foot": journal_format.FOOT_BYTES,
    }


# -- invariants --------------------------------------------------------------------


def invariants() -> dict[int, list[str]]:
    """The table's rows by number: what, simulator, tests."""
    table = rows(section(read("docs/testing.md"), "The invariants"))
    numbered = [row for row in table if row[0].startswith("I-")]
    found = {int(row[0].removeprefix("I-")): row[1:] for row in numbered}
    assert len(found) == len(numbered), "a number stands there twice"
    return found


def sources(folder: str) -> str:
    return "\n".join(p.read_text() for p in sorted((ROOT / folder).rglob("*.py")))


def test_every_invariant_has_one_row() -> None:
    assert list(invariants()) == list(range(1, 83))


def test_the_tests_that_the_invariants_name_exist() -> None:
    for number, (_, _, tests) in invariants().items():
        paths = [name for name in ticked(tests) if name.startswith("tests/")]
        assert paths or tests.startswith("not yet"), f"I-{number}"
        for name in paths:
            path, _, function = name.partition("::")
            assert (ROOT / path).is_file(), f"I-{number}: {path}"
            if function:
                assert function in functions(ROOT / path), f"I-{number}: {name}"


def functions(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in tree if isinstance(node, kinds)}


def test_the_checkers_that_the_invariants_name_exist_and_all_are_named() -> None:
    looked_for = re.findall(r'fail\(\s*"I-(\d+)"', sources("chaos/simulator"))
    looked_for += re.findall(r'"I-(\d+)"', sources("chaos/histories"))
    named = {n for n, row in invariants().items() if row[1].startswith("checker")}
    assert named == {int(number) for number in looked_for}


def test_every_mutant_stands_in_the_row_of_the_rule_that_it_breaks() -> None:
    table = invariants()
    text = read("docs/testing.md")
    named = {name for row in table.values() for name in ticked(row[1])}
    assert named <= mutants.MUTANTS.keys()
    for name, mutant in mutants.MUTANTS.items():
        assert f"`{name}`" in text, name
        number = re.match(r"I-(\d+)", mutant.breaks)
        if number is not None:
            assert name in ticked(table[int(number[1])][1]), name


def test_what_tests_mention_is_not_called_missing() -> None:
    mentioned = {int(n) for n in re.findall(r"\bI-(\d+)", sources("tests/raft"))}
    for number in mentioned:
        assert not invariants()[number][2].startswith("not yet"), f"I-{number}"


def test_the_faults_of_the_simulator_are_documented() -> None:
    table = rows(section(read("docs/testing.md"), "The simulator"))
    named = {name for row in table if len(row) == 2 for name in ticked(row[0])}
    assert named == {*faults.KINDS, *faults.MEMBER_KINDS}


def test_the_faults_of_the_harness_are_documented() -> None:
    tables = rows(section(read("docs/testing.md"), "The harness"))
    named = {name for row in tables if len(row) == 2 for name in ticked(row[0])}
    assert named >= {*ALL_KINDS, *SUITES}
    lines = {Done, Kill, Start, Struck}
    assert named - {*ALL_KINDS, *SUITES} == {
        str(line.__struct_config__.tag) for line in lines
    }
    groups = set(FAULTS) - set(ALL_KINDS)
    text = section(read("docs/testing.md"), "The harness")
    assert all(f"`{name}`" in text for name in groups)


def test_the_workloads_of_the_harness_are_documented() -> None:
    tables = rows(section(read("docs/testing.md"), "The harness"))
    named = {name for row in tables if len(row) == 3 for name in ticked(row[0])}
    assert named - mutants.MUTANTS.keys() == WORKLOADS.keys()


def test_the_keys_of_a_file_of_faults_are_documented() -> None:
    tables = rows(section(read("docs/testing.md"), "A cluster of one's own"))
    named = {name for row in tables for name in ticked(row[0])}
    assert named == {*FaultEntry.__struct_fields__}


def test_the_fields_of_a_history_are_documented() -> None:
    text = section(read("docs/testing.md"), "The history's format")
    for line in (Done, Kill, Start, Struck, Input, Output):
        for field in line.__struct_fields__:
            assert f"`{field}`" in text, f"{line.__name__}.{field}"


# -- the map -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/testing.md"])
def test_files_and_folders_that_the_map_names_exist(name: str) -> None:
    shape = re.compile(r"[a-z_]+(/[a-z_]+)*(/|\.py|\.txt)")
    paths = [span for span in spans(read(name)) if shape.fullmatch(span)]
    assert len(paths) > 10
    for path in paths:
        anywhere = "/" not in path and any(ROOT.glob(f"*/**/{path}"))
        assert (ROOT / path).exists() or anywhere, path


def test_the_threads_that_the_map_names_are_started() -> None:
    named = {span for span in spans(read("ARCHITECTURE.md")) if "quorate-" in span}
    code = sources("node") + sources("storage") + sources("client")
    assert named
    for name in named:
        assert f'"{name}"' in code, name


def test_messages_in_the_trouble_table_are_said_by_the_code() -> None:
    """What a node says when it does not start: the words between the varying parts."""
    table = rows(section(read("docs/operations.md"), "When a node does not start"))
    said = joined_strings("node", "storage", "cli")
    missing: list[str] = []
    for row in table:
        for message in ticked(row[0]):
            parts = re.split(
                r"…|reason|KEY|ACTION|FILE|\bN\b|'n\d'|\bn\d\b|certs/\S+", message
            )
            for part in (part.strip(" :,'/") for part in parts):
                # What the operating system says is not ours to compare.
                if part not in said and part != "address already in use":
                    missing.append(part)
    assert not missing


def joined_strings(*folders: str) -> str:
    """All string constants, pieces of f-strings joined by nothing."""
    found: list[str] = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    pieces = [v for v in node.values if isinstance(v, ast.Constant)]
                    found.append("\0".join(str(piece.value) for piece in pieces))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_public_names_are_in_the_readme() -> None:
    import quorate

    words = set(re.findall(r"\w+", read("README.md")))
    assert {name for name in quorate.__all__ if name.endswith("Client")} <= words
