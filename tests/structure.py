"""What must hold of the source tree, as rules that read it (see test_structure).

Law: rules read text and import nothing of what they judge; each yields its violations
as `file:line: what`. The tables here are the design's: a new border, library or
exception is a line in one of them, with its reason.
"""

import ast
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

PACKAGE = "quorate"
NO_CODE_OF_OURS = {"tests", "benchmarks", "docs", "deploy", "build", "dist"}
LINES_MAX = 500

# Which rooms a room may import, as prefixes of module names. The longest prefix of the
# importing module's name decides.
BORDERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "": frozenset({"client", "cli"}),
        "raft": frozenset(),
        "storage": frozenset(),
        "wire": frozenset(),
        "client": frozenset({"wire"}),
        "node": frozenset({"raft", "storage", "wire", "node"}),
        "node.replica": frozenset({"raft", "storage", "wire", "node.database"}),
        "node.database": frozenset({"raft", "storage", "wire"}),
        # A hint and no more: it knows nothing, and what decides does not know it.
        "node.gossip": frozenset(),
        "chaos": frozenset({"client", "wire", "node.launcher", "chaos.histories"}),
        # Checkers of plain values: they know nothing of ours.
        "chaos.histories": frozenset(),
        # A client like any other: what it measures must not depend on what it knows.
        "chaos.load": frozenset({"client"}),
        "chaos.simulator": frozenset(
            {
                *("raft", "storage", "wire", "node.replica", "node.database"),
                *("node.gossip", "chaos.histories"),
                # The disk side of a replica: no loop, no clock, through the env alone.
                *("node.stable", "node.rules"),
            }
        ),
        # A real node process one of whose rules is broken: it runs what users run.
        "chaos.simulator.mutated_node": frozenset(
            {
                *("chaos.simulator", "node.process", "node.config", "node.joining"),
                *("node.launcher", "node.address", "storage", "wire"),
            }
        ),
        "cli": frozenset({"raft", "storage", "wire", "client", "node", "chaos", "cli"}),
    }
)
# What decides is pure: these can't tell the time, throw dice, or see the world.
CORES = ("raft", "wire", "node.replica", "node.database", "node.gossip")
IMPURE = frozenset(
    {
        *("asyncio", "concurrent", "datetime", "logging", "multiprocessing", "os"),
        *("pathlib", "queue", "random", "secrets", "select", "selectors", "signal"),
        *("socket", "ssl", "subprocess", "tempfile", "threading", "time", "uuid"),
    }
)
# storage is synchronous and reaches the disk through one door and its twin; a second
# one leads to the process that flushes and compacts (decision 0012).
STORAGE_DOORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "storage.env": ("os", "time"),
        "storage.closer": ("os", "queue", "threading"),
        "storage.hold_back_env": ("os", "tempfile"),
        "storage.held_inode": ("os",),
        "storage.held_names": ("os",),
        # For what each thread must have of its own.
        "storage.engine.compression": ("threading",),
        "storage.engine.worker": ("concurrent", "os", "select", "subprocess"),
    }
)
# Libraries, and the modules (prefixes) that may import them.
LIBRARIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aiohttp": ("node.api",),
        "click": ("cli",),
        "cryptography": ("node.certificates", "node.certificate_parts"),
        "isal": ("storage.checksum",),
        "msgpack": (),
        "msgspec": ("",),
        "prometheus_client": ("node.api.exposition",),
        # It is imported by pytest alone, when somebody's tests run.
        "pytest": ("chaos.pytest_plugin",),
        "uvloop": (
            *("node.process", "chaos.load.clock"),
            # What it relays must not be late because it was relayed.
            "chaos.harness.network.worker",
        ),
        "zstandard": ("storage.engine.compression",),
    }
)
# Gossip, and who may read it. LAW: nothing that decides who votes, who leads or what is
# written is among them (design: peers), nor may it get there through one of them.
GOSSIP = ("node.gossip", "node.gossiping")
GOSSIP_READERS = (
    *("node.gossip", "chaos.simulator.gossip"),
    # Its shell; who starts that and hands it its stream; who shows what it heard.
    *("node.gossiping", "node.node", "node.membership", "node.figures"),
)
# How the shell and its node are reached without an import: `node.gossiping`.
_GOSSIP_NAMES = frozenset({"gossiping", "gossip", "heard_of"})
# Handlers that may catch everything, and why.
CATCH_ALL: Mapping[str, str] = MappingProxyType(
    {"node.journal_writer": "all that is raised in the thread goes to the loop"}
)
_SET_METHODS = frozenset(
    {"union", "intersection", "difference", "symmetric_difference", "copy"}
)
_ORDERED_USES = frozenset(
    {"list", "tuple", "iter", "enumerate", "map", "filter", "zip"}
)


class Import(NamedTuple):
    """One imported module: its full name, ours without the package's."""

    line: int
    name: str
    ours: bool
    for_types: bool
    deferred: bool


class Module(NamedTuple):
    """One file: `name` is dotted, without the package ("" for the root's)."""

    path: str
    name: str
    is_package: bool
    text: str
    tree: ast.Module


def source_files(root: Path) -> Generator[Path]:
    """Every file of code below `root`, in order, hidden folders left out."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from source_files(path)
        elif path.suffix == ".py":
            yield path


def code_of_the_package(root: Path) -> Generator[Path]:
    """The same without the folders at the root that are not part of it."""
    for path in source_files(root):
        if path.relative_to(root).parts[0] not in NO_CODE_OF_OURS:
            yield path


def read_tree(root: Path) -> list[Module]:
    """Every module of the package below `root`."""
    modules: list[Module] = []
    for path in code_of_the_package(root):
        relative = path.relative_to(root)
        parts = list(relative.with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text()
        tree = ast.parse(text, str(relative))
        modules.append(Module(str(relative), name, is_package, text, tree))
    return modules


def imports_of(module: Module, names: Iterable[str]) -> list[Import]:
    """All imports: relative ones, those within functions and those for types alone.

    `from .room import thing` is an import of `room.thing` when that is a module.
    """
    known = frozenset(names)
    found: list[Import] = []

    def visit(node: ast.AST, for_types: bool, deferred: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                visit(child, True, deferred)
            for child in node.orelse:
                visit(child, for_types, deferred)
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, ours in _targets(module, node, known):
                found.append(Import(node.lineno, name, ours, for_types, deferred))
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, for_types, deferred or inner)

    visit(module.tree, False, False)
    return found


def _targets(
    module: Module, node: ast.Import | ast.ImportFrom, known: frozenset[str]
) -> Generator[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            head, _, rest = alias.name.partition(".")
            yield (rest, True) if head == PACKAGE else (alias.name, False)
        return
    base = node.module or ""
    if node.level:
        parts = module.name.split(".") if module.name else []
        up = node.level - module.is_package
        parts = parts[: len(parts) - up] if up else parts
        base = ".".join([*parts, *([base] if base else [])])
    elif base.partition(".")[0] == PACKAGE:
        base = base.partition(".")[2]
    else:
        yield base, False
        return
    for alias in node.names:
        deeper = f"{base}.{alias.name}".lstrip(".")
        yield (deeper if deeper in known else base), True


def _within(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix + ".")


def _in_core(module: Module) -> bool:
    return any(_within(module.name, core) for core in CORES)


# -- the rules -------------------------------------------------------------------------


def crossed_borders(modules: list[Module]) -> Generator[str]:
    """Rooms import only the rooms that the design lets them."""
    names = [module.name for module in modules]
    for module in modules:
        room = max(
            (prefix for prefix in BORDERS if _within(module.name, prefix)), key=len
        )
        if not room and module.name not in ("", "__main__"):
            yield f"{module.path}:1: a room that the design does not know"
            continue
        for each in imports_of(module, names):
            if not each.ours or not each.name:
                continue
            allowed = {room, *BORDERS[room]} if room else BORDERS[room]
            if not any(_within(each.name, prefix) for prefix in allowed):
                yield f"{module.path}:{each.line}: {room} may not import {each.name}"


def circles(modules: list[Module]) -> Generator[str]:
    """No circle between rooms, however they import; none of modules as they load."""
    names = [module.name for module in modules]
    rooms: dict[str, set[str]] = {}
    loads: dict[str, set[str]] = {}
    for module in modules:
        room = module.name.partition(".")[0]
        for each in imports_of(module, names):
            if not each.ours or not each.name:
                continue
            other = each.name.partition(".")[0]
            if room and other != room:
                rooms.setdefault(room, set()).add(other)
            if not (each.for_types or each.deferred) and each.name != module.name:
                loads.setdefault(module.name, set()).add(each.name)
    for graph, what in ((rooms, "rooms"), (loads, "modules")):
        circle = _circle(graph)
        if circle:
            yield f"{what} import each other: {' → '.join(circle)}"


def _circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of the graph, or nothing."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    for name in sorted(graph):
        if found := walk(name, []):
            return found
    return []


def impure_cores(modules: list[Module]) -> Generator[str]:
    """Cores import nothing by which the world could get in."""
    for module in modules:
        for each in imports_of(module, ()):
            top = each.name.partition(".")[0]
            if each.ours or top not in IMPURE:
                continue
            if _in_core(module):
                yield f"{module.path}:{each.line}: a core imports {each.name}"
            elif _within(module.name, "storage") and (
                top not in STORAGE_DOORS.get(module.name, ())
            ):
                yield f"{module.path}:{each.line}: storage imports {each.name}"


def libraries(modules: list[Module]) -> Generator[str]:
    """Each library is imported where it belongs, and no other is."""
    for module in modules:
        for each in imports_of(module, ()):
            top = each.name.partition(".")[0]
            if each.ours or top in sys.stdlib_module_names:
                continue
            places = LIBRARIES.get(top, ())
            if not any(_within(module.name, place) for place in places):
                yield f"{module.path}:{each.line}: {top} has no business here"


def unordered_cores(modules: list[Module]) -> Generator[str]:
    """Nothing in a core depends on hashes or addresses: runs replay from a seed."""
    for module in modules:
        if not _in_core(module):
            continue
        sets = _Sets(module.tree)
        for node in ast.walk(module.tree):
            for line, what in sets.misuses(node):
                yield f"{module.path}:{line}: {what}"


class _Sets:
    """Which expressions of a module are sets, as far as its text tells."""

    def __init__(self, tree: ast.Module) -> None:
        self.names: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation:
                target = node.target if isinstance(node, ast.AnnAssign) else node.arg
                if _names_a_set(node.annotation):
                    self.names.add(_dotted(target))
            elif isinstance(node, ast.Assign) and self.is_set(node.value):
                self.names.update(map(_dotted, node.targets))

    def is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.Call(func=ast.Attribute(value=value, attr=attr)):
                return attr in _SET_METHODS and self.is_set(value)
            case ast.BinOp(left=left, op=op, right=right):
                algebra = isinstance(op, ast.BitAnd | ast.BitOr | ast.BitXor | ast.Sub)
                sides = (left, right)
                return algebra and any(self.is_set(s) or _is_keys(s) for s in sides)
            case ast.IfExp(body=body, orelse=orelse):
                return self.is_set(body) or self.is_set(orelse)
            case ast.Name() | ast.Attribute():
                return _dotted(node) in self.names
            case _:
                return False

    def misuses(self, node: ast.AST) -> Generator[tuple[int, str]]:
        match node:
            case ast.For(iter=source) | ast.AsyncFor(iter=source):
                if self.is_set(source):
                    yield node.lineno, "iterates over a set"
            case ast.comprehension(iter=source) if self.is_set(source):
                yield source.lineno, "iterates over a set"
            case ast.Starred(value=value) if self.is_set(value):
                yield value.lineno, "unpacks a set"
            case ast.Call(func=ast.Name(id="hash" | "id" as name)):
                yield node.lineno, f"calls {name}()"
            case ast.Call(func=ast.Name(id=name), args=args) if name in _ORDERED_USES:
                if any(map(self.is_set, args)):
                    yield node.lineno, f"orders a set by {name}()"
            case ast.Call(func=ast.Attribute(value=value, attr="pop"), args=[]):
                if self.is_set(value):
                    yield node.lineno, "takes any item of a set"
            case _:
                pass


def _is_keys(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="keys"), args=[]):
            return True
        case _:
            return False


def _names_a_set(annotation: ast.expr) -> bool:
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return _dotted(outer).rpartition(".")[2] in (
        "set",
        "frozenset",
        "Set",
        "AbstractSet",
    )


def _dotted(target: ast.expr | str) -> str:
    return target if isinstance(target, str) else ast.unparse(target)


def missing_docstrings(modules: list[Module]) -> Generator[str]:
    """Every module opens by saying what it is."""
    for module in modules:
        if not ast.get_docstring(module.tree):
            yield f"{module.path}:1: has no docstring"


def long_files(modules: list[Module]) -> Generator[str]:
    """A file past this is probably two rooms."""
    for module in modules:
        count = module.text.count("\n")
        if count > LINES_MAX:
            yield f"{module.path}:{count}: more than {LINES_MAX} lines"


def swallowed_errors(modules: list[Module]) -> Generator[str]:
    """On the paths of data nothing catches everything, unless it raises it again."""
    for module in modules:
        if module.name.partition(".")[0] not in ("raft", "storage", "node"):
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler) or module.name in CATCH_ALL:
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            words = caught.strip("()").replace(",", " ").split()
            broad = not words or {"Exception", "BaseException"} & set(words)
            last = node.body[-1]
            again = isinstance(last, ast.Raise) and last.exc is None
            if broad and not again:
                yield f"{module.path}:{node.lineno}: catches everything"


def heard_gossip(modules: list[Module]) -> Generator[str]:
    """I-66: gossip is read by who shows it or dials by it, and by nobody else."""
    names = [module.name for module in modules]
    for module in modules:
        for each in imports_of(module, names):
            told = any(_within(each.name, place) for place in GOSSIP)
            if not each.ours or not told:
                continue
            if not any(_within(module.name, place) for place in GOSSIP_READERS):
                yield f"{module.path}:{each.line}: {module.name} hears gossip"
        if not any(_within(module.name, place) for place in GOSSIP_READERS):
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Attribute) and node.attr in _GOSSIP_NAMES:
                    yield f"{module.path}:{node.lineno}: {module.name} hears gossip"


def waits_that_swallow(modules: list[Module]) -> Generator[str]:
    """`asyncio.wait_for` may lose a cancellation before Python 3.12, `timeout` not.

    Two nodes that had been told to end ran on because of it (tests/regressions).
    """
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Attribute) or node.attr != "wait_for":
                continue
            if _dotted(node.value) == "asyncio":
                yield f"{module.path}:{node.lineno}: waits with asyncio.wait_for"


Rule = Callable[[list[Module]], Generator[str]]
RULES: tuple[Rule, ...] = (
    crossed_borders,
    circles,
    impure_cores,
    libraries,
    unordered_cores,
    missing_docstrings,
    long_files,
    swallowed_errors,
    heard_gossip,
    waits_that_swallow,
)
