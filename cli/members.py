"""`quorate members`: who belongs to the cluster; and how commands find one of them.

Law: a member is named by its name, its id, or the beginning of its id, when no other
one begins like that.
"""

from typing import TYPE_CHECKING

import click
import msgspec

from .output import print_json, print_table
from .settings import NotThere, ask, connection_options, current_settings

if TYPE_CHECKING:
    from ..client import Member, Members

_HEAD = ["ID", "NAME", "VOTES", "WANTED", "LEADER", "CONNECTED", "BEHIND", "SILENT"]
_HEARD = ["HEALTH", "APPLIED", "LAG", "VERSION"]
_ADDRESSES = ["PEER", "CLIENT"]


@click.command("members")
@connection_options()
def command() -> None:
    """Show the members: what they are, what they shall be, and where.

    BEHIND is how many entries of the log a member has yet to get, SILENT for how long
    the leader has not heard it. HEALTH, APPLIED, LAG (of its event loop, in
    milliseconds) and VERSION are hearsay. Below the table stands what the leader and
    its caretaker wait for, if they do, and what the caretaker did last.
    """
    settings = current_settings()
    known = ask(settings, lambda client: client.members())
    if settings.output == "json":
        print_json(msgspec.to_builtins(known))
        return
    head = [*_HEAD, *_HEARD, *_ADDRESSES]
    print_table(head, [_row(known, each) for each in known.members])
    if known.waits_for:
        click.echo(f"waiting: {known.waits_for}")
    for line in (*version_lines(known), *caretaker_lines(known, decisions=1)):
        click.echo(line)
    if known.leader != known.told_by:
        click.echo("the leader was not asked: nobody knows who is behind", err=True)


def _row(known: "Members", member: "Member") -> list[str]:
    behind = "-"
    if known.leader == known.told_by:
        behind = str(max(0, known.commit_index - member.match_index))
    silent = "-" if member.silent_ms is None else f"{member.silent_ms // 1000}s"
    return [
        member.id,
        member.name or "-",
        _truth(member.votes),
        member.wanted,
        _truth(member.leads),
        _truth(member.connected),
        behind,
        silent,
        *_heard(member),
        member.peer or "-",
        member.client or "-",
    ]


def _heard(member: "Member") -> list[str]:
    if not member.version:
        return [member.health, "-", "-", "-"]
    lag = f"{member.lag_ms} ms"
    return [member.health, str(member.applied_index), lag, member.version]


def _truth(value: bool) -> str:
    return "yes" if value else "no"


def version_lines(known: "Members") -> list[str]:
    """Which version the cluster has, as soon as there is more than one."""
    line = f"cluster version {known.cluster_version}"
    names = {each.id: each.name or each.id for each in known.members}
    waits_for = [names.get(each, each) for each in known.version_waits_for]
    if waits_for:
        following = known.cluster_version + 1
        return [f"{line}: {', '.join(waits_for)} can't go to version {following}"]
    if known.cluster_version > 1:
        return [line]
    if any(each.understands[1] > known.cluster_version for each in known.members):
        return [f"{line}: the next one waits until the caretaker goes on"]
    return []


def caretaker_lines(known: "Members", decisions: int) -> list[str]:
    """What the caretaker waits for, and the last of what it did."""
    caretaker = known.caretaker
    lines = ["caretaker: paused"] if caretaker.paused else []
    if caretaker.waits_for:
        lines.append(f"caretaker: waiting: {caretaker.waits_for}")
    for each in caretaker.decisions[:decisions]:
        lines.append(f"caretaker: {each.reason} ({_ago(each.age_ms)} ago)")
    return lines


def _ago(milliseconds: int) -> str:
    """Roughly, in the unit that says most."""
    seconds = milliseconds // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def exactly(known: "Members", text: str) -> str | None:
    """The id of the member with this whole id, or else of the one with this name.

    Somebody may be called as another's id: as in the client, what is an id means that.
    """
    if any(text == each.id for each in known.members):
        return text
    # A name may be unknown, and is empty then.
    return next((each.id for each in known.members if text and text == each.name), None)


def find(known: "Members", text: str) -> str:
    """The id of the member that `text` names. Raises NotThere, UsageError."""
    found = exactly(known, text)
    if found is not None:
        return found
    found = [each.id for each in known.members if each.id.startswith(text.lower())]
    if len(found) > 1:
        raise click.UsageError(f"{text!r} may be {' or '.join(found)}")
    if not found:
        raise NotThere(f"there is no member {text!r}")
    return found[0]
