"""Every key survives every way in and out unchanged, and no two of them collide."""

import asyncio
import base64
import os
import random
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from click.testing import CliRunner, Result
from quorate import AsyncClient
from quorate.cli import group

from .harness import Cluster, Running, surely

pytestmark = pytest.mark.slow

SINGLE = [bytes([value]) for value in range(256)]
TRICKY = [
    *(bytes(range(256)), bytes(reversed(range(256)))),
    *(b"%2F", b"%2f", b"a%2Fb", b"a/b", b"%FF", b"%0A", b"%%", b"%zz", b"%25"),
    *(b"..", b"../..", b"a/../b", b"a/./b", b"./a", b"a/..", b"..%2f.."),
    *(b"/a", b"a/", b"//", b"a//b", b"\r\n", b"a b", b"a+b", b"a?b=c", b"a#b", b"a;b"),
    *(b"\xc3\xa4", b"a\xcc\x88", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9", b"\0\0"),
    *(b"--prefix", b"@file", b"key64=YQ=="),
    *(b"\xff" * 4096, b"/" * 4096, b"." * 4096, b"k" * 4096, b"k" * 4095),
    random.Random(7).randbytes(4096),
]
ODD = [*SINGLE, *TRICKY]
assert len(set(ODD)) == len(ODD)


def value_of(key: bytes, how: str) -> bytes:
    return f"odd {how} ".encode() + key


def escaped(key: bytes) -> str:
    """The key as a path: every byte escaped that could mean something."""
    if set(key) <= set(b"./"):
        return "".join(f"%{byte:02X}" for byte in key)
    return quote_from_bytes(key, safe="").replace(".", "%2E")


def key64(key: bytes) -> str:
    return "?key64=" + base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def put_by_path(node: Running, values: Mapping[bytes, bytes]) -> None:
    with node.keep_alive() as ask:
        for key, value in values.items():
            assert ask("PUT", "/v1/kv/" + escaped(key), value).status == 200


def put_by_key64(node: Running, values: Mapping[bytes, bytes]) -> None:
    with node.keep_alive() as ask:
        for key, value in values.items():
            assert ask("PUT", "/v1/kv/" + key64(key), value).status == 200


def put_by_client(node: Running, values: Mapping[bytes, bytes]) -> None:
    async def put() -> None:
        async with AsyncClient(str(node.node.client), learn=False) as client:
            puts = [partial(client.put, key, value) for key, value in values.items()]
            revisions = await asyncio.gather(*map(surely, puts))
            assert len(set(revisions)) == len(values)

    asyncio.run(put())


def run(*arguments: str) -> Result:
    """`quorate` in this process; an error that is no exit code is a failure here."""
    result = CliRunner().invoke(group, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def everything(client: AsyncClient) -> dict[bytes, bytes]:
    return {e.key: e.value async for e in client.range(start=b"\0", timeout=30)}


def check(cluster: Cluster, keys: Iterable[bytes], how: str) -> None:
    """Read all in every way, each on another node; nothing else was put like them."""
    expected = {key: value_of(key, how) for key in keys}

    async def by_client() -> None:
        address = str(cluster.nodes[1].node.client)
        async with AsyncClient(address, learn=False) as client:
            gets = [partial(client.get, key) for key in expected]
            entries = await asyncio.gather(*map(surely, gets))
            found = {entry.key: entry.value for entry in entries if entry}
            assert found == expected
            listed = await surely(lambda: everything(client))
            ours = {k: v for k, v in listed.items() if v.startswith(value_of(b"", how))}
            assert ours == expected

    asyncio.run(by_client())
    with cluster.nodes[2].keep_alive() as ask:
        for key, value in expected.items():
            assert ask("GET", "/v1/kv/" + escaped(key)).body == value, key
    with cluster.nodes[0].keep_alive() as ask:
        for key, value in expected.items():
            assert ask("GET", "/v1/kv/" + key64(key)).body == value, key


PATIENT = "--timeout=30s"
WAYS = (put_by_path, put_by_key64, put_by_client)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_odd_keys_put_on_one_node_are_read_unchanged_on_the_others(
    shared: Cluster, first: int
) -> None:
    """Over the three runs every tricky key goes in by each way, every byte by one."""
    chosen = TRICKY if first else ODD
    expected = {key: value_of(key, f"put {first}") for key in chosen}
    for number, put in enumerate(WAYS):
        keys = chosen[(first + number) % 3 :: 3]
        put(shared.nodes[number], {key: expected[key] for key in keys})
    check(shared, chosen, f"put {first}")


def test_a_deleted_odd_key_takes_no_other_with_it(shared: Cluster) -> None:
    put_by_client(shared.nodes[0], {key: value_of(key, "kept") for key in ODD})
    gone = ODD[1::2]
    with shared.nodes[1].keep_alive() as ask:
        for key in gone:
            # 404: it was asked again, and the first time it had worked.
            assert ask("DELETE", "/v1/kv/" + escaped(key)).status in (204, 404), key
    check(shared, ODD[::2], "kept")
    with shared.nodes[2].keep_alive() as ask:
        for key in gone:
            assert ask("GET", "/v1/kv/" + escaped(key)).status == 404, key


def test_the_command_line_takes_every_key_that_an_argument_can_be(
    shared: Cluster,
) -> None:
    # An argument can't hold a NUL; all else goes through, whatever it looks like.
    keys = [*(b"..", b"%2F", b"\xff", b"\n", b"--prefix", b"@file", b"/a", b" ")]
    keys += [bytes(range(1, 256)), b"k" * 4096, b"-", b"a\r\nb", b"%", b"a/../b"]
    by_path = f"--endpoints={shared.nodes[0].node.client}"
    elsewhere = f"--endpoints={shared.nodes[1].node.client}"
    for key in keys:
        # A value of its own: `@file` would name one to read, and `-` the input.
        argument, value = os.fsdecode(key), "of " + os.fsdecode(key)
        put = run("put", by_path, PATIENT, "--", argument, value)
        assert put.exit_code == 0, put.stderr
        got = run("get", elsewhere, PATIENT, "--print-value-only", "--", argument)
        assert (got.exit_code, got.stdout_bytes) == (0, b"of " + key + b"\n")
        raw = shared.nodes[2].request("GET", "/v1/kv/" + escaped(key))
        assert raw.body == b"of " + key
        assert run("del", by_path, PATIENT, "--", argument).exit_code == 0
        assert run("get", elsewhere, PATIENT, "--", argument).exit_code == 3


def test_files_with_odd_names_survive_import_and_export(
    shared: Cluster, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    names = [key for key in SINGLE[1:] if key not in (b".", b"/")]
    names += [b"%2F", b"%FF", b"%0A", b"..x", b"...", b"\xff" * 255, b"a\nb"]
    folder = os.fsencode(source)
    for name in names:
        os.makedirs(os.path.join(folder, b"in " + name[:200]))
        for path in (name, os.path.join(b"in " + name[:200], name)):
            Path(os.fsdecode(os.path.join(folder, path))).write_bytes(b"of " + path)
    prefix = "files/\udcff/"
    done = run(
        "import", f"--endpoints={shared.endpoints}", "--prefix", prefix, str(source)
    )
    assert done.exit_code == 0, done.stderr
    elsewhere = f"--endpoints={shared.nodes[2].node.client}"
    done = run("export", elsewhere, "--prefix", prefix, str(target))
    assert done.exit_code == 0, done.stderr
    assert files_below(target) == files_below(source)
    assert len(files_below(source)) == 2 * len(names)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_dot_segments_that_are_not_escaped_are_refused_and_touch_nothing(
    shared: Cluster,
) -> None:
    node = shared.nodes[0]
    for path in ("a/../b", "..", ".", "a/.", "../v1/status"):
        answer = node.request("PUT", "/v1/kv/" + path, b"lost")
        assert (answer.status, answer.problem) == (
            400,
            ("invalid_request", "not_applied"),
        )
    assert node.request("GET", "/v1/kv/b").body != b"lost"


def test_a_key_of_4097_bytes_is_refused_on_every_way_in(shared: Cluster) -> None:
    node, key = shared.nodes[0], b"k" * 4097
    for path in (escaped(key), key64(key)):
        answer = node.request("PUT", "/v1/kv/" + path, b"x")
        assert (answer.status, answer.problem) == (431, ("key_too_long", "not_applied"))
    where = f"--endpoints={node.node.client}"
    refused = run("put", where, key.decode(), "x")
    assert refused.exit_code == 1
    assert "4097" in refused.stderr or "4096" in refused.stderr
