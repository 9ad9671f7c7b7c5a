"""`quorate certs rotate`, `revoke`, `status` and `renew`: while the cluster serves.

Law: each step of a rotation is in the log, and taken only when every member is ready
for it; what is here asks for the next one and waits. Whoever was interrupted gives the
same command again. The new CA's key is made in the old one's folder and stays there.
"""

import os
import shutil
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..node.authority_folder import take_over
from ..node.certificates import CertificateError, create_authority, load_authority
from ..node.config import CONFIG_FILE, ConfigError, load_config
from ..node.credentials import span
from ..node.key_files import sync_directory
from ..node.pid_file import running_pid
from ..node.signing import NEXT_FOLDER, root_in
from ..node.tls import (
    PeerCertificate,
    TlsError,
    digest_of_root,
    own_certificate,
    roots_of,
)
from ..wire import Step, parse_serial, serial_name
from .lease import time_to_live
from .members import exactly
from .output import print_json, print_table
from .passphrase import passphrase_option, read_passphrase
from .settings import (
    Failure,
    NotAsExpected,
    NotThere,
    Settings,
    ask,
    connection_options,
    current_settings,
)

if TYPE_CHECKING:
    from ..client import AsyncClient, CertificatesStatus, Members
    from ..wire import Shown

_POLL_S = 0.2
_RENEWAL_S = 15.0
# A certificate and its key are two files: far more than it takes to put both in place.
_REPLACED_S = 2.0
_ANSWER_S = 5.0
_NOT_ITS_TURN = (
    "the cluster does not take this step: somebody else changes its CA, or a member is"
    " not ready; see `quorate certs status`, and give the command again"
)
_CANCELLED_LATE = (
    "there is nothing to cancel: no rotation to this CA is on its way, or the new one"
    " signs already; see `quorate certs status`"
)
_REVOKED_ENOUGH = "no more members and certificates can be revoked: they are too many"
_ANOTHER = (
    "another rotation, to a CA that is not here, is on its way: go on where it was"
    " begun, or cancel it there"
)
_RESTORE = (
    "while both CAs are trusted, each node's peer.ca holds it as its last certificate;"
    " restore it, or, if no rotation to it has begun, move the folder away"
)


class Rotation:
    """One CA's place is taken by another one."""

    def __init__(self, settings: Settings, old: bytes, new: bytes) -> None:
        self.settings = settings
        self.old = old
        self.new = new

    def known(self) -> "Members":
        return ask(self.settings, lambda client: client.members())

    def step(self, step: Step) -> None:
        with _refusals(_CANCELLED_LATE if step is Step.CANCEL else _NOT_ITS_TURN):
            ask(
                self.settings,
                lambda client: client.rotate_authority(step, self.old, self.new),
            )

    def run(self, patience_s: float) -> None:
        """All steps, from wherever it is. Raises Failure."""
        ours = [digest_of_root(root).hex() for root in (self.old, self.new)]
        known = self.known()
        if known.certificates.phase == "settled":
            if known.authority == ours[1]:
                return
            self.step(Step.TRUST)
        elif [root.sha256 for root in known.certificates.roots] != ours:
            raise Failure(_ANOTHER)
        if known.certificates.phase != "issuing":
            self._wait("trusting", "everybody trusts both CAs", patience_s)
            self.step(Step.ISSUE)
        self._wait("issuing", "everybody has a certificate of the new CA", patience_s)
        self.step(Step.DROP)

    def _wait(self, phase: str, what: str, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        while True:
            known = self.known()
            # A node that is behind knows of no step, and of nobody to wait for.
            told = known.certificates
            if told.phase == phase and not told.waits_for:
                click.echo(what, err=True)
                return
            if time.monotonic() >= until:
                raise Failure(_waiting(known, what))
            time.sleep(_POLL_S)


@contextmanager
def _refusals(meaning: str) -> Generator[None]:
    """What a precondition of no key is: the nodes' message speaks of keys alone."""
    try:
        yield
    except NotAsExpected as error:
        raise NotAsExpected(meaning) from error


def _waiting(known: "Members", what: str) -> str:
    names = {each.id: each.name for each in known.members}
    missing = [names.get(each) or each for each in known.certificates.waits_for]
    return (
        f"not yet: {what}; waiting for {', '.join(missing)}. Start them, or remove"
        " them, see that a node runs whose peer.authority names the CA's folder, and"
        " give the command again"
    )


@click.command("rotate")
@click.argument("directory", type=click.Path(path_type=Path, exists=True), metavar="CA")
@click.option("--cancel", is_flag=True, help="Go back, while only both are trusted.")
@click.option(
    "--wait",
    type=time_to_live,
    default="60s",
    metavar="DURATION",
    help="How long to wait for each step (default 60s).",
)
@passphrase_option
@connection_options()
def rotate_command(
    directory: Path, cancel: bool, wait: float, passphrase_file: Path | None
) -> None:
    """Put a new CA in the place of the one in the folder CA, while all goes on.

    The new one is made in CA/next. Nodes trust both, then get certificates of the new
    one, then forget the old one, which goes to CA/retired-…. Given again, the command
    goes on where it was.
    """
    settings = current_settings()
    old = root_in(directory)
    known = ask(settings, lambda client: client.members())
    following = directory / NEXT_FOLDER
    ours = old is not None and digest_of_root(old).hex() in _digests(known)
    if not ours and not _came_here_before(known, following):
        raise Failure(f"{directory}: not the CA of this cluster")
    try:
        new = _new_root(directory, known, passphrase_file, cancel=cancel)
        rotation = Rotation(settings, old or new, new)
        if cancel:
            rotation.step(Step.CANCEL)
        else:
            rotation.run(wait)
            take_over(directory, new)
    except OSError as error:
        raise Failure(str(error)) from error
    done = "cancelled" if cancel else "rotated"
    authority = ask(settings, lambda client: client.members()).authority
    if settings.output == "json":
        print_json({"result": done, "authority": authority})
    else:
        click.echo(f"{done}: certificates are made by the CA {authority}")


def _digests(known: "Members") -> set[str]:
    return {known.authority, *(root.sha256 for root in known.certificates.roots)}


def _came_here_before(known: "Members", following: Path) -> bool:
    """All is done but the last: the new CA has yet to take the old one's place."""
    new = root_in(following)
    return new is not None and digest_of_root(new).hex() == known.authority


def _new_root(
    directory: Path, known: "Members", passphrase_file: Path | None, *, cancel: bool
) -> bytes:
    """The CA that is to come: the one that was made before, or a new one.

    Nothing is taken away: a key alone may be the one that the cluster signs with.
    Raises Failure, NotAsExpected, OSError.
    """
    following = directory / NEXT_FOLDER
    passphrase = read_passphrase(passphrase_file)
    found = root_in(following)
    try:
        if found is not None:
            if digest_of_root(found).hex() not in _digests(known):
                # Nobody could sign, once everybody trusts it.
                load_authority(following, passphrase=passphrase)
            return found
        if (following / "ca.crt").exists():
            raise Failure(f"{following / 'ca.crt'} is damaged: {_RESTORE}")
        if (following / "ca.key").exists():
            raise Failure(f"{following / 'ca.key'} is there without ca.crt: {_RESTORE}")
        # Nothing is made that nobody would be asked to trust.
        if known.certificates.phase != "settled":
            raise Failure(_ANOTHER)
        if cancel:
            raise NotAsExpected(_CANCELLED_LATE)
        if (directory / "ca.key").exists():
            # As the old key is encrypted, or not, so is the new one.
            load_authority(directory, passphrase=passphrase)
        return _make_next(directory, int(known.cluster_id, 16), passphrase)
    except CertificateError as error:
        raise Failure(str(error)) from error


def _make_next(directory: Path, cluster_id: int, passphrase: str | None) -> bytes:
    """Both files of a new CA appear in `next` at once, or neither does."""
    making = Path(tempfile.mkdtemp(prefix=".next-", dir=directory))
    try:
        create_authority(
            making, cluster_id=cluster_id, passphrase=passphrase, successor=True
        )
        # In the place of an empty folder, but of no other.
        making.replace(directory / NEXT_FOLDER)
    except BaseException:
        shutil.rmtree(making)
        raise
    sync_directory(str(directory))
    return roots_of(str(directory / NEXT_FOLDER / "ca.crt"))[0]


@click.command("revoke")
@click.argument("what", metavar="MEMBER|SERIAL")
@click.option("--serial", "by_serial", is_flag=True, help="It is a serial number.")
@connection_options()
def revoke_command(what: str, by_serial: bool) -> None:
    """Refuse a certificate, or all of a member, from now on and for ever.

    A member is its name or whole id; anything else, or with --serial, is a serial
    number as `certs show` and `certs status` tell it. A node that shows what was
    revoked is cut off by all others, and ends.
    """

    async def revoke(client: "AsyncClient") -> dict[str, str]:
        known = await client.members()
        found = None if by_serial else exactly(known, what)
        if found is not None:
            await client.revoke_certificate(member=found)
            return {"member": found}
        serial = parse_serial(what)
        if serial is None:
            raise NotThere(f"{what!r} is no member, and no serial number")
        await client.revoke_certificate(serial=what)
        return {"serial": serial_name(serial)}

    settings = current_settings()
    with _refusals(_REVOKED_ENOUGH):
        revoked = ask(settings, revoke)
    if settings.output == "json":
        print_json(revoked)
    else:
        (kind, value), *_ = revoked.items()
        click.echo(f"{kind} {value} revoked")


@click.command("status")
@connection_options()
def status_command() -> None:
    """Show what members show to the node that is asked, and what was revoked."""
    settings = current_settings()
    known = ask(settings, lambda client: client.members())
    told = known.certificates
    if settings.output == "json":
        print_json(msgspec.to_builtins(told))
        return
    names = {each.id: each.name for each in known.members}
    print_table(
        ["ID", "NAME", "SERIAL", "ISSUER", "ENDS IN"],
        [
            [each.id, names.get(each.id, ""), each.serial, each.issuer, _left(each)]
            for each in told.shown
        ],
    )
    for line in _told(told, names):
        click.echo(line)


def _left(shown: "Shown") -> str:
    return span(shown.ends_in_s) if shown.ends_in_s > 0 else "has ended"


def _told(told: "CertificatesStatus", names: dict[str, str]) -> list[str]:
    """What there is to say below the table."""
    lines = [f"CA {root.sha256}{' signs' if root.signs else ''}" for root in told.roots]
    lines += [f"revoked: member {each.member}" for each in told.revoked if each.member]
    lines += [f"revoked: {each.serial}" for each in told.revoked if each.serial]
    if told.phase != "settled":
        waits = ", ".join(names.get(each) or each for each in told.waits_for)
        lines.append(f"rotation: {told.phase}; waits for {waits or 'the next step'}")
    return lines


@click.command("renew")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
def renew_command(directory: Path) -> None:
    """Let the node that runs in DIR read its certificate again, or get a new one.

    Where the files are other ones than when it read them last, it takes them; else it
    makes a new key and has a certificate for it signed. The exit code is 1 when there
    is none in time.
    """
    pid = running_pid(directory)
    if pid is None:
        raise Failure(f"{directory}: no node runs here")
    before = shown_in(directory)
    # Files that were put there by hand: the node shows others until it reads them.
    placed = _is_shown(directory) is False
    os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + _RENEWAL_S
    while time.monotonic() < until:
        after = shown_in(directory)
        if after.serial != before.serial or (placed and _is_shown(directory)):
            click.echo(f"{directory}: now shows {serial_name(after.serial)}")
            return
        time.sleep(_POLL_S)
    reason = "does not show them" if placed else "the files are as they were"
    raise Failure(f"{directory}: not renewed, {reason}; the node's log says why")


def _is_shown(directory: Path) -> bool | None:
    """Is the certificate in the file the one on the peer port? None: nobody answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is said to whoever is there: only what it shows is looked at.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        config = load_config(directory / CONFIG_FILE, {})
        at = config.peer_listen
        host = at.host
        if at.wildcard:
            # That is where a node listens, and nowhere to dial.
            host = "::1" if ":" in host else "127.0.0.1"
        ours = roots_of(config.peer.cert)[0]
        with (
            socket.create_connection((host, at.port), _ANSWER_S) as plain,
            context.wrap_socket(plain) as stream,
        ):
            return stream.getpeercert(binary_form=True) == ours
    except (ConfigError, TlsError, OSError):
        return None


def shown_in(directory: Path) -> PeerCertificate:
    """What the node of a folder shows, by its files. Raises Failure.

    The node may be replacing them right now: who sees half of it looks again.
    """
    until = time.monotonic() + _REPLACED_S
    while True:
        try:
            peer = load_config(directory / CONFIG_FILE, {}).peer
            return own_certificate(peer.cert, peer.key, peer.ca)
        except ConfigError as error:
            raise Failure(str(error)) from error
        except TlsError as error:
            if time.monotonic() >= until:
                raise Failure(str(error)) from error
        time.sleep(_POLL_S)
