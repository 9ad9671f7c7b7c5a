"""Scripts: commands for a cluster, with what must happen written below them.

    # A comment says why.
    campaign 1
    settle
    ----
    1 is pre_candidate in term 0: asked to
    ...

A block is commands, a line `----`, and the output up to the next blank line. `quiet`
before a command hides its messages, not its effects. Members are numbers, `A>B` is a
link, `index/term` a place in a log. `turn` tells what is sent (`->`), other commands
what arrives (`=>`) or is lost (`-/`).

    nodes M... [learners M...] [spares M...] [entries K]
                                               a new cluster; K entries in an append
    disk M term T vote V log T...              M starts again, with this on its disk
    campaign M   tick K [M...]   settle   turn M
    deliver A>B   again A>B   drop [A>B]       messages that wait; `again` keeps them
    cut A>B   isolate M   lose KIND   heal     links; a kind of message
    hold M   free M                            the disk of M
    crash M [damaged]   restart M   checkpoint M
    propose M DATA...   read M   transfer M TO
    configure M voters M... [learners M...]
    hint M                                     M's link to its leader broke
    status [M...]   logs [M...]
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from quorate.raft import (
    HardState,
    Message,
    Ready,
    Refused,
    SnapshotMark,
)

from .alone import log_of
from .describe import describe_entries, describe_message, describe_node, describe_turn
from .network import SMALL, Network

RULE = "----"
ARROWS = {"send": "->", "deliver": "=>", "lose": "-/"}


def run_script(text: str) -> str:
    """The same script, with the output that it gives now."""
    runner = _Runner()
    blocks = [_run_block(runner, block) for block in text.strip().split("\n\n")]
    return "\n\n".join(blocks) + "\n"


def scripts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.txt"))


def _run_block(runner: "_Runner", block: str) -> str:
    lines = block.split("\n")
    asked = lines[: lines.index(RULE)] if RULE in lines else lines
    commands = [line for line in asked if not line.startswith("#")]
    if not commands:
        return block
    for command in commands:
        runner.run(command)
    return "\n".join([*asked, RULE, *runner.take()])


class _Runner:
    """Runs commands against a network, and keeps the lines."""

    def __init__(self) -> None:
        self.network = Network()
        self.lines: list[str] = []
        self.quiet = False
        self.telling = "deliver"

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    def run(self, command: str) -> None:
        words = command.split()
        self.quiet = words[0] == "quiet"
        name, *rest = words[1:] if self.quiet else words
        self.telling = "send" if name == "turn" else "deliver"
        COMMANDS[name](self, rest)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def attach(self, network: Network) -> None:
        self.network = network
        network.on_message = self._on_message
        network.on_turn = self._on_turn

    def _on_message(self, what: str, message: Message) -> None:
        if self.quiet or what not in (self.telling, "lose"):
            return
        self.say(describe_message(message, ARROWS[what]))

    def _on_turn(self, member: int, ready: Ready) -> None:
        for line in describe_turn(member, ready):
            self.say(line)


def _groups(words: list[str], first: str) -> dict[str, list[int]]:
    """`1 2 learners 3` with the first group named `first`."""
    groups: dict[str, list[int]] = {}
    name = first
    for word in words:
        if word.isdigit():
            groups.setdefault(name, []).append(int(word))
        else:
            name = word
            groups[name] = []
    return groups


def _nodes(runner: _Runner, words: list[str]) -> None:
    groups = _groups(words, "voters")
    learners, spares = groups.get("learners", []), groups.get("spares", [])
    (entries,) = groups.get("entries", [SMALL.append_entries_max])
    options = msgspec.structs.replace(SMALL, append_entries_max=entries)
    runner.attach(Network(groups["voters"], learners, spares, options))


def _disk(runner: _Runner, words: list[str]) -> None:
    member = int(words[0])
    groups = _groups(words[1:], "term")
    node = runner.network.nodes[member]
    (term,), (vote,) = groups["term"], groups.get("vote", [0])
    entries = log_of(*groups.get("log", []))
    runner.network.add(member, node.disk.snapshot, HardState(term, vote, 0), entries)


def _campaign(runner: _Runner, words: list[str]) -> None:
    runner.network.raft(int(words[0])).campaign()


def _tick(runner: _Runner, words: list[str]) -> None:
    times, *members = map(int, words)
    runner.network.tick(times, members or None)


def _settle(runner: _Runner, words: list[str]) -> None:
    assert not words
    runner.network.settle()


def _turn(runner: _Runner, words: list[str]) -> None:
    runner.network.turn(int(words[0]))


def _link(words: list[str]) -> tuple[int, int]:
    sender, to = words[0].split(">")
    return int(sender), int(to)


def _deliver(runner: _Runner, words: list[str]) -> None:
    network = runner.network
    for message in network.waiting(*_link(words)):
        network.sent.remove(message)
        network.deliver(message)


def _again(runner: _Runner, words: list[str]) -> None:
    for message in runner.network.waiting(*_link(words)):
        runner.network.deliver(message)


def _drop(runner: _Runner, words: list[str]) -> None:
    network = runner.network
    if not words:
        network.drop_all()
        return
    link = _link(words)
    network.sent = [m for m in network.sent if (m.sender, m.to) != link]


def _cut(runner: _Runner, words: list[str]) -> None:
    runner.network.cut_one_way(*_link(words))


def _lose(runner: _Runner, words: list[str]) -> None:
    (kind,) = words
    runner.network.loses = lambda message: type(message).__name__ == kind


def _isolate(runner: _Runner, words: list[str]) -> None:
    runner.network.isolate(int(words[0]))


def _heal(runner: _Runner, words: list[str]) -> None:
    assert not words
    runner.network.heal()


def _hold(runner: _Runner, words: list[str]) -> None:
    runner.network.hold_disk(int(words[0]))


def _free(runner: _Runner, words: list[str]) -> None:
    runner.network.free_disk(int(words[0]))


def _crash(runner: _Runner, words: list[str]) -> None:
    runner.network.crash(int(words[0]), damaged=words[1:] == ["damaged"])


def _restart(runner: _Runner, words: list[str]) -> None:
    member = int(words[0])
    runner.network.restart(member)
    _status(runner, words)


def _checkpoint(runner: _Runner, words: list[str]) -> None:
    mark: SnapshotMark = runner.network.checkpoint(int(words[0]))
    runner.say(f"{words[0]} has a checkpoint up to {mark.index}/{mark.term}")


def _propose(runner: _Runner, words: list[str]) -> None:
    raft = runner.network.raft(int(words[0]))
    answer = raft.propose([word.encode() for word in words[1:]])
    if isinstance(answer, Refused):
        runner.say(f"refused: {answer.value}")
    else:
        runner.say(f"from {answer[0]}/{answer[1]} on")


def _read(runner: _Runner, words: list[str]) -> None:
    if runner.network.raft(int(words[0])).read_index() is None:
        runner.say("no leader to ask")


def _transfer(runner: _Runner, words: list[str]) -> None:
    member, target = map(int, words)
    refused = runner.network.raft(member).transfer_leadership(target)
    if refused is not None:
        runner.say(f"refused: {refused.value}")


def _configure(runner: _Runner, words: list[str]) -> None:
    groups = _groups(words[1:], "voters")
    raft = runner.network.raft(int(words[0]))
    answer = raft.change_configuration(groups["voters"], groups.get("learners", []))
    if isinstance(answer, Refused):
        runner.say(f"refused: {answer.value}")
    else:
        runner.say(f"at {answer}/{raft.term}")


def _hint(runner: _Runner, words: list[str]) -> None:
    raft = runner.network.raft(int(words[0]))
    raft.leader_unreachable(raft.leader_id)


def _chosen(runner: _Runner, words: list[str]) -> Iterator[int]:
    yield from map(int, words) if words else sorted(runner.network.nodes)


def _status(runner: _Runner, words: list[str]) -> None:
    for member in _chosen(runner, words):
        runner.say(describe_node(member, runner.network.nodes[member]))


def _logs(runner: _Runner, words: list[str]) -> None:
    for member in _chosen(runner, words):
        entries = runner.network.raft(member).log.entries
        runner.say(f"{member}: {describe_entries(entries)}".rstrip())


COMMANDS: dict[str, Callable[[_Runner, list[str]], None]] = {
    "nodes": _nodes,
    "disk": _disk,
    "campaign": _campaign,
    "tick": _tick,
    "settle": _settle,
    "turn": _turn,
    "deliver": _deliver,
    "again": _again,
    "drop": _drop,
    "cut": _cut,
    "lose": _lose,
    "isolate": _isolate,
    "heal": _heal,
    "hold": _hold,
    "free": _free,
    "crash": _crash,
    "restart": _restart,
    "checkpoint": _checkpoint,
    "propose": _propose,
    "read": _read,
    "transfer": _transfer,
    "configure": _configure,
    "hint": _hint,
    "status": _status,
    "logs": _logs,
}
