"""Messages and effects as lines that a stranger can read.

Law: stable; the scripts are compared with them. A place in a log is written
`index/term`. Configurations are `voters 1 2 3`, joint ones `voters 1 4 (from 1 2 3)`.
"""

from collections.abc import Iterable, Iterator

from quorate.raft import (
    CONFIGURATION,
    NOOP,
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Configuration,
    EntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVoteReply,
    ReadIndex,
    ReadIndexReply,
    Ready,
    RequestEntries,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    decode_configuration,
)

from .network import Node

STATES = {1: "held", 2: "absent", 3: "doubted"}


def describe_message(message: Message, arrow: str) -> str:
    """`1 -> 2 Kind term 3: what it says`."""
    kind = type(message).__name__
    head = f"{message.sender} {arrow} {message.to} {kind} term {message.term}"
    said = _said(message)
    return f"{head}: {said}" if said else head


def _said(message: Message) -> str:
    match message:
        case RequestPreVote() | RequestVote():
            asked = f"log ends at {message.last_index}/{message.last_term}"
            transfer = isinstance(message, RequestVote) and message.transfer
            return f"{asked}, the leader asked for it" if transfer else asked
        case PreVoteReply():
            return f"{_yes(message.granted)} for term {message.asked_term}"
        case RequestVoteReply():
            return _yes(message.granted)
        case AppendEntries():
            place = f"after {message.previous_index}/{message.previous_term}"
            entries = describe_entries(message.entries)
            return f"{place} commit {message.commit_index} [{entries}]"
        case AppendEntriesReply(accepted=True):
            return f"has {message.index}"
        case AppendEntriesReply():
            hint = f"{message.hint_index}/{message.hint_term}"
            return f"refuses {message.index}, try {hint}"
        case Commit():
            return f"commit {message.commit_index}"
        case Heartbeat():
            return f"round {message.round} commit {message.commit_index}"
        case HeartbeatReply():
            return f"round {message.round}"
        case InstallSnapshot():
            configuration = describe_configuration(message.configuration)
            return f"up to {message.index}/{message.snapshot_term}, {configuration}"
        case ReadIndex():
            return f"read {_read(message.id)}"
        case ReadIndexReply():
            return f"read {_read(message.id)} at {message.index}"
        case RequestEntries():
            wanted = f"{message.last_index}/{message.last_term}"
            return f"{wanted} from {message.next_index} on"
        case EntriesReply():
            state = STATES[message.state]
            about = f"{message.last_index}/{message.last_term} {state}"
            return f"{about} [{describe_entries(message.entries)}]"
        case _:
            return ""


def describe_entries(entries: Iterable[Entry]) -> str:
    return ", ".join(f"{e.index}/{e.term} {_data(e)}" for e in entries)


def describe_configuration(configuration: Configuration) -> str:
    parts = [f"voters {_ids(configuration.voters)}"]
    if configuration.joint:
        parts.append(f"(from {_ids(configuration.outgoing)})")
    if configuration.learners:
        parts.append(f"learners {_ids(configuration.learners)}")
    if configuration.learners_next:
        parts.append(f"then learners {_ids(configuration.learners_next)}")
    return " ".join(parts)


def describe_turn(member: int, ready: Ready) -> Iterator[str]:
    """What changed at `member`; its messages are told when they arrive."""
    for event in ready.events:
        yield f"{member} is {event.role} in term {event.term}: {event.reason}"
    if ready.snapshot is not None:
        mark = ready.snapshot
        yield f"{member} installs the snapshot up to {mark.index}/{mark.term}"
    if ready.committed:
        yield f"{member} applies {describe_entries(ready.committed)}"
    for read_id, index in ready.reads:
        yield f"{member} may answer read {_read(read_id)} at {index}"
    for read_id in ready.failed_reads:
        yield f"{member} fails read {_read(read_id)}"


def describe_node(member: int, node: Node) -> str:
    """One line of status."""
    raft, log = node.raft, node.raft.log
    if not node.alive:
        return f"{member}: down"
    text = f"{member}: {raft.role.value} term {raft.term} leader {raft.leader_id}"
    text += f" log {log.base_index}..{log.last_index} commit {log.commit_index}"
    if raft.doubt is not None:
        text += f" doubts {raft.doubt[1]}/{raft.doubt[0]}"
    return f"{text} {describe_configuration(raft.configuration)}"


def _data(entry: Entry) -> str:
    if entry.kind == NOOP:
        return "noop"
    if entry.kind == CONFIGURATION:
        return describe_configuration(decode_configuration(entry.data))
    return entry.data.decode()


def _ids(members: tuple[int, ...]) -> str:
    return " ".join(map(str, members))


def _read(read_id: int) -> str:
    return f"{read_id >> 32}.{read_id & 0xFFFFFFFF}"


def _yes(granted: bool) -> str:
    return "granted" if granted else "refused"
