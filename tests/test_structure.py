"""The structure of the source tree is what the design says.

The rules are in structure.py. Each is tried here on small trees that break it, and on
trees that come close and do not.
"""

from pathlib import Path

import pytest
from structure import (
    CATCH_ALL,
    CORES,
    GOSSIP,
    GOSSIP_READERS,
    LIBRARIES,
    RULES,
    STORAGE_DOORS,
    Module,
    Rule,
    read_tree,
)

ROOT = Path(__file__).resolve().parents[1]
DOC = '"""Says what it is."""\n'


@pytest.fixture(scope="module")
def tree() -> list[Module]:
    return read_tree(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_every_rule(rule: Rule, tree: list[Module]) -> None:
    assert list(rule(tree)) == []


def test_every_exception_and_place_that_the_rules_name_exists(
    tree: list[Module],
) -> None:
    """An exception whose file has gone would silently cover the next of that name."""
    names = {module.name for module in tree}
    places = {place for each in LIBRARIES.values() for place in each if place}
    assert {*CATCH_ALL, *CORES, *STORAGE_DOORS, *places} <= names


def test_nothing_that_decides_can_hear_gossip(tree: list[Module]) -> None:
    """I-66: not raft, not the replica with its steward, not the database, not the loop.

    The rule heard_gossip holds the tree to this table; here stands what may never be
    put into it.
    """
    deciding = ("raft", "storage", "wire", "node.replica", "node.database", "node.loop")
    for reader in GOSSIP_READERS:
        assert not reader.startswith(deciding), reader
    assert {*GOSSIP} <= {module.name for module in tree}


def violations(folder: Path, files: dict[str, str]) -> list[str]:
    """What all rules together say of a tree of these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DOC + text)
    modules = read_tree(folder)
    return [violation for rule in RULES for violation in rule(modules)]


BROKEN = {
    "raft imports wire": {"raft/a.py": "from ..wire import b", "wire/b.py": ""},
    "client may not import node": {
        "client/a.py": "from ..node.config import x",
        "node/config.py": "x = 1",
    },
    "in a function": {
        "storage/a.py": "def f() -> None:\n    from ..raft import b",
        "raft/b.py": "",
    },
    "for types alone": {
        "wire/a.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from ..client import b",
        "client/b.py": "",
    },
    "by the absolute name": {"raft/a.py": "import quorate.wire.b", "wire/b.py": ""},
    "absolute from": {"raft/a.py": "from quorate.wire import b", "wire/b.py": ""},
    "from the parent": {"raft/a.py": "from .. import wire", "wire/__init__.py": ""},
    "cli is imported": {"node/a.py": "from ..cli import b", "cli/b.py": ""},
    "a core imports its shell": {
        "node/replica/a.py": "from ..loop import x",
        "node/loop.py": "",
    },
    "the harness imports a core": {
        "chaos/harness/a.py": "from ...node.replica import b",
        "node/replica/b.py": "",
    },
    "the harness imports a shell": {
        "chaos/harness/a.py": "from ...node.node import b",
        "node/node.py": "",
    },
    "an unknown room": {"attic/a.py": ""},
    "a circle of rooms": {
        "node/a.py": "from ..wire import b",
        "wire/b.py": "def f() -> None:\n    from ..node import a",
    },
    "a circle of modules": {
        "raft/a.py": "from . import b",
        "raft/b.py": "from .a import x",
    },
    "asyncio in a core": {"raft/a.py": "import asyncio"},
    "os.path in a core": {"wire/a.py": "from os.path import join"},
    "time in a function of a core": {"node/replica/a.py": "def f():\n    import time"},
    "random in a core": {"node/database/a.py": "from random import random"},
    "time in storage": {"storage/a.py": "import time"},
    "os in storage": {"storage/journal.py": "import os"},
    "threads at storage's door": {"storage/env.py": "import threading"},
    "aiohttp in the client": {"client/a.py": "import aiohttp"},
    "aiohttp in the node": {"node/a.py": "from aiohttp import web"},
    "uvloop elsewhere": {"node/node.py": "import uvloop"},
    "cryptography elsewhere": {"node/tls.py": "from cryptography import x509"},
    "an undeclared library": {"cli/a.py": "import requests"},
    "a loop over a set": {"raft/a.py": "for x in {1, 2}:\n    print(x)"},
    "a loop over set()": {"raft/a.py": "y = [x for x in set((1, 2))]"},
    "a set by its name": {"wire/a.py": "s = {1}\nfor x in s:\n    print(x)"},
    "a set by annotation": {"wire/a.py": "def f(s: set[int]) -> None:\n    list(s)"},
    "a set of an object": {
        "raft/a.py": "class A:\n    def __init__(self) -> None:\n"
        "        self.s: set[int] = set()\n"
        "    def f(self) -> None:\n        for x in self.s | {1}:\n            print(x)"
    },
    "keys by algebra": {"raft/a.py": "d = {1: 2}\nfor x in d.keys() - {1}:\n    pass"},
    "an unpacked set": {"raft/a.py": "print(*{1, 2})"},
    "any of a set": {"raft/a.py": "s = {1}\ns.pop()"},
    "hash()": {"node/database/a.py": "x = hash(b'')"},
    "id()": {"node/replica/a.py": "x = id(0)"},
    "a bare except": {"node/a.py": "try:\n    pass\nexcept:\n    pass"},
    "except Exception": {"raft/a.py": "try:\n    pass\nexcept Exception:\n    pass"},
    "among others": {
        "storage/a.py": "try:\n    pass\nexcept (OSError, Exception):\n    pass"
    },
    "another error instead": {
        "node/a.py": "try:\n    pass\nexcept BaseException:\n    raise OSError"
    },
    "the steward hears gossip": {
        "node/replica/steward.py": "from ..gossip import core",
        "node/gossip/core.py": "",
    },
    "the loop hears gossip, for a type alone": {
        "node/loop.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from .gossip import core",
        "node/gossip/core.py": "",
    },
    "the roster asks the node's gossip": {
        "node/roster.py": "def f(node: object) -> object:\n"
        "    return node.gossiping.gossip",
    },
    "gossip hears the log": {
        "node/gossip/core.py": "from ...raft import b",
        "raft/b.py": "",
    },
    "a wait that may not end": {
        "client/a.py": "import asyncio\nasync def f(x: object) -> None:\n"
        "    await asyncio.wait_for(x, 1)"
    },
    "a long file": {"cli/a.py": "x = 1\n" * 500},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_tree_that_breaks_a_rule_is_told_so(tmp_path: Path, name: str) -> None:
    assert len(violations(tmp_path, BROKEN[name])) in (1, 2)


def test_a_module_without_a_docstring_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "raft").mkdir()
    (tmp_path / "raft" / "a.py").write_text("x = 1\n")
    assert violations(tmp_path, {}) == ["raft/a.py:1: has no docstring"]


ALLOWED = {
    "borders": {
        "node/a.py": "from ..raft import b\nfrom ..wire import c\nfrom . import d",
        "node/d.py": "",
        "raft/b.py": "from .e import x",
        "raft/e.py": "x = 1",
        "wire/c.py": "",
        "chaos/harness/h.py": "from ...node.launcher import x\nfrom ... import y",
        "chaos/simulator/s.py": "from ...node.replica import r\nfrom ...raft import b",
        "node/launcher.py": "x = 1",
        "node/replica/r.py": "from ..database import q",
        "node/database/q.py": "from ...storage import env",
        "storage/env.py": "import os",
        "__init__.py": "def f():\n    import quorate.client",
        "__main__.py": "from .cli import main",
        "cli/__init__.py": "import click\nfrom ..chaos.simulator import s",
    },
    "a circle for types alone": {
        "raft/a.py": "from . import b",
        "raft/b.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from .a import x",
    },
    "sets that are not ordered by themselves": {
        "raft/a.py": "s = {2, 1}\nx = sorted(s)\ny = len(s), 1 in s, max(s)\n"
        "for z in sorted({1, 2}):\n    print(z)\nd = {1: 2}\nfor k in d:\n    print(k)"
    },
    "errors that go on": {
        "node/a.py": "try:\n    pass\nexcept BaseException:\n    print()\n    raise"
    },
    "a wait of our own": {"client/a.py": "def f(x: object) -> None:\n    x.wait_for()"},
    "clocks in shells": {"node/loop.py": "import asyncio, time, random"},
    "what is not code of ours": {
        "tests/a.py": "import requests",
        ".x/b.py": "import r",
    },
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_tree_that_comes_close_to_a_rule_passes(tmp_path: Path, name: str) -> None:
    assert violations(tmp_path, ALLOWED[name]) == []
