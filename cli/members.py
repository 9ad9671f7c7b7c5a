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

_HEAD = ["ID", "NAME", "VOTES", "WANTED", "LEADER", "CONNECTED", "BEHIND"]
_HEARD = ["HEALTH", "APPLIED", "LAG", "VERSION"]
_ADDRESSES = ["PEER", "CLIENT"]


@click.command("members")
@connection_options()
def command() -> None:
    """Show the members: what they are, what they shall be, and where.

    BEHIND is how many entries of the log a member has yet to get. HEALTH, APPLIED, LAG
    (of its event loop, in milliseconds) and VERSION are hearsay. Below the table stands
    what the leader waits for, if it does.
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
    if known.leader != known.told_by:
        click.echo("the leader was not asked: nobody knows who is behind", err=True)


def _row(known: "Members", member: "Member") -> list[str]:
    behind = "-"
    if known.leader == known.told_by:
        behind = str(max(0, known.commit_index - member.match_index))
    return [
        member.id,
        member.name or "-",
        _truth(member.votes),
        member.wanted,
        _truth(member.leads),
        _truth(member.connected),
        behind,
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


def find(known: "Members", text: str) -> str:
    """The id of the member that `text` names. Raises NotThere, UsageError."""
    for each in known.members:
        # A name may be unknown, and is empty then.
        if text and text in (each.name, each.id):
            return each.id
    found = [each.id for each in known.members if each.id.startswith(text.lower())]
    if len(found) > 1:
        raise click.UsageError(f"{text!r} may be {' or '.join(found)}")
    if not found:
        raise NotThere(f"there is no member {text!r}")
    return found[0]
