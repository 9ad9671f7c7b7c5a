"""The documents as documents: links, code that compiles, commands that exist."""

import ast
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from quorate.chaos.attach import load_faults
from quorate.cli import group
from quorate.node.config import load_config

from .markdown import (
    ROOT,
    Block,
    anchors,
    blocks,
    documents,
    links,
    read,
    section,
    spans,
    without_plans,
)

_DECISION = re.compile(r"(\d{4})-[a-z0-9]+(-[a-z0-9]+)*\.md")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", documents(), ids=named)
def test_every_internal_link_leads_somewhere(path: Path) -> None:
    for link in links(path.read_text()):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.is_relative_to(ROOT), link
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.read_text()), link


def test_the_reader_of_links_sees_them() -> None:
    assert links("a [b](c.md#d) `[e](f)`\n```\n[g](h)\n```\n")[0] == "c.md#d"
    assert anchors("# The peer port\n## 6. A/B: c-d\n") == {
        "the-peer-port",
        "6-ab-c-d",
    }


def test_every_document_is_reached_from_the_readme() -> None:
    found: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        found.add(path)
        for link in links(path.read_text()):
            target = (path.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target not in found:
                waiting.append(target)
    listed = {p for p in documents() if p.parent.name != "decisions"}
    assert listed <= found


def test_decisions_are_numbered_without_gaps_and_titled_with_their_number() -> None:
    paths = sorted((ROOT / "docs/decisions").iterdir())
    for number, path in enumerate(paths, start=1):
        match = _DECISION.fullmatch(path.name)
        assert match is not None, path.name
        assert int(match[1]) == number
        text = path.read_text()
        assert text.startswith(f"# {match[1]} ")
        for heading in ("Context", "Decision", "Consequences"):
            assert section(text, heading).strip(), f"{path.name}: {heading}"


# -- code --------------------------------------------------------------------------


def code(language: str) -> list[tuple[str, Block]]:
    return [
        (named(path), block)
        for path in documents()
        for block in blocks(path.read_text())
        if block.language == language
    ]


def test_python_in_the_documents_compiles_and_imports_what_exists() -> None:
    import quorate

    snippets = code("python")
    assert snippets
    for name, block in snippets:
        tree = ast.parse(block.text, name)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "quorate":
                for alias in node.names:
                    assert hasattr(quorate, alias.name), f"{name}: {alias.name}"


def test_json_in_the_documents_is_one_whole_document_each() -> None:
    found = code("json")
    assert len(found) > 3
    for name, block in found:
        try:
            json.loads(block.text)
        except ValueError as error:
            pytest.fail(f"{name}: {error}:\n{block.text}")


def test_configurations_in_the_documents_are_accepted(tmp_path: Path) -> None:
    files = code("toml")
    assert len(files) >= 2
    for name, block in files:
        assert tomllib.loads(block.text), name
        path = tmp_path / "quorate.toml"
        path.write_text(block.text)
        if "[fault." in block.text:
            assert load_faults(path).faults, name
        else:
            assert load_config(path, {}).name == "n1", name


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    used: set[str] = set()
    for path in documents():
        text = without_plans(path.read_text())
        lines = [line for block in blocks(text) for line in block.text.splitlines()]
        for line in [*lines, *spans(text)]:
            used.update(re.findall(r"^make ([a-z-]+)", line))
    assert used
    assert used <= targets
    assert {"demo", "test", "check", "chaos"} <= used


# -- commands ----------------------------------------------------------------------


def shown_commands() -> Iterator[tuple[str, str]]:
    """Each `quorate …` in code, with its document; continued lines are joined."""
    for path in documents():
        text = without_plans(path.read_text())
        lines = [
            line
            for block in blocks(text)
            for line in block.text.replace("\\\n", " ").splitlines()
        ]
        for line in [*lines, *spans(text)]:
            words = line.strip().removeprefix("ExecStart=/opt/quorate/bin/")
            if words.startswith("quorate ") and "…" not in words:
                yield named(path), words


def resolve(words: list[str]) -> tuple[click.Context, list[str]]:
    """The command that `words` (without `quorate`) name, and what is left of them."""
    context = click.Context(group, info_name="quorate")
    while isinstance(context.command, click.Group):
        if not words or words[0].startswith("-"):
            break
        found = context.command.get_command(context, words[0])
        assert found is not None, f"no such command: {words[0]}"
        context = click.Context(found, parent=context, info_name=words[0])
        words = words[1:]
    return context, words


def option_names(context: click.Context) -> set[str]:
    """All spellings of a command's options, and of those above it."""
    names = {"--help"}
    current: click.Context | None = context
    while current is not None:
        for parameter in current.command.get_params(current):
            if isinstance(parameter, click.Option):
                names.update(parameter.opts)
        current = current.parent
    return names


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    shown = list(shown_commands())
    assert len(shown) > 30
    for name, line in shown:
        # Behind `--` stands somebody else's command.
        words = [*shlex.split(line, comments=True)[1:], "--"]
        context, rest = resolve(words[: words.index("--")])
        assert context.command is not group, f"{name}: {line}"
        options = option_names(context)
        for word in rest:
            option = word.partition("=")[0]
            if _OPTION.fullmatch(option):
                assert option in options, f"{name}: {line}: {option}"


def test_whole_command_lines_are_understood_by_their_command(tmp_path: Path) -> None:
    """In a shell block and in the reference every word has to have its place."""
    count = 0
    for path in documents():
        for block in blocks(without_plans(path.read_text())):
            for line in block.text.splitlines():
                if not line.startswith("quorate "):
                    continue
                words = shlex.split(line, comments=True)[1:]
                context, rest = resolve(words)
                parser = context.command.make_parser(context)
                try:
                    _, left, _ = parser.parse_args(rest)
                except click.UsageError as error:
                    pytest.fail(f"{named(path)}: {line}: {error.message}")
                assert not left, f"{named(path)}: {line}: {left}"
                count += 1
    assert count > 20


def test_every_command_is_in_the_reference_with_all_its_options() -> None:
    text = read("docs/cli.md")
    shared = set(_OPTION.findall(section(text, _SHARED)))
    for words in leaf_commands(group, []):
        context, _ = resolve(words)
        own = section(text, reference_heading(text, words))
        documented = set(_OPTION.findall(own)) | shared
        for parameter in context.command.get_params(context):
            if isinstance(parameter, click.Option) and "--help" not in parameter.opts:
                assert documented.issuperset(parameter.opts), (words, parameter.opts)


def test_every_option_in_the_reference_exists() -> None:
    text = read("docs/cli.md")
    for words in leaf_commands(group, []):
        heading = reference_heading(text, words)
        own = section(text, heading)
        # Commands that share a section share its text.
        family = set(re.findall(r"`quorate ([a-z]+)", heading))
        known: set[str] = set()
        for other in leaf_commands(group, []):
            if other[0] in family:
                known |= option_names(resolve(other)[0])
        for span in spans(own):
            for option in _OPTION.findall(span):
                assert option in known, f"{words}: {option}"


def leaf_commands(command: click.Group, path: list[str]) -> Iterator[list[str]]:
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if isinstance(found, click.Group):
            yield from leaf_commands(found, [*path, name])
        else:
            yield [*path, name]


def reference_heading(text: str, words: list[str]) -> str:
    """The heading of docs/cli.md that names a command, or the group around it."""
    for length in range(len(words), 0, -1):
        wanted = f"`quorate {' '.join(words[:length])}`"
        for line in text.splitlines():
            if line.startswith("## ") and wanted in line:
                return line.removeprefix("## ")
    raise AssertionError(f"docs/cli.md has no heading for {' '.join(words)}")


_SHARED = "Options of all commands that talk to a cluster"


def test_exit_codes_in_the_reference_are_those_of_the_command_line() -> None:
    import quorate.cli
    from quorate.cli import settings

    text = section(read("docs/cli.md"), "Exit codes")
    documented = {int(n) for n in re.findall(r"^\| (\d) \|", text, re.MULTILINE)}
    assert quorate.cli.__doc__ is not None
    told = quorate.cli.__doc__.partition("Exit codes:")[2]
    assert documented == {int(n) for n in re.findall(r"\b(\d) ", told)}
    failures = (settings.NotAsExpected, settings.NobodyToAsk, settings.NotKnown)
    assert documented >= {failure.exit_code for failure in failures}
    assert settings.NOT_FOUND in documented


def test_documents_name_no_path_of_a_developers_machine() -> None:
    home = os.path.expanduser("~")
    for path in documents():
        text = path.read_text()
        assert str(ROOT) not in text, named(path)
        assert home == "/" or f"{home}/" not in text, named(path)
