"""certs rotate, revoke, status and show: what is asked for, and what is told."""

import errno
import json
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from quorate.cli import rotation
from quorate.cli.settings import Failure
from quorate.client import CertificatesStatus, Members, PreconditionFailed, Step
from quorate.node.certificates import create_authority, describe, issue_member
from quorate.node.signing import NEXT_FOLDER, root_in
from quorate.node.tls import server_context
from quorate.wire import Revoked, Root, Shown, serial_name
from quorate.wire.certificates import Phase

from .fake_client import FakeClient
from .test_members import A1, A2, Run, known

CLUSTER = 0xC1
Tell = Callable[..., Members]


def root(data: bytes, *, signs: bool = True) -> Root:
    return Root(sha256(data).hexdigest(), signs)


def told(phase: Phase, roots: tuple[bytes, ...], *waits_for: str) -> Members:
    """What a leader tells; the last root signs, unless both are only trusted."""
    signs = roots[0] if phase == "trusting" else roots[-1]
    status = CertificatesStatus(
        phase,
        tuple(root(each, signs=each == signs) for each in roots),
        waits_for=waits_for,
    )
    return msgspec.structs.replace(
        known(), authority=sha256(signs).hexdigest(), certificates=status
    )


class Rotating:
    """A cluster whose members are all ready for the next step, but those `behind`."""

    def __init__(self, cluster: FakeClient, folder: Path) -> None:
        self.cluster = cluster
        create_authority(folder, cluster_id=CLUSTER)
        old = root_in(folder)
        assert old is not None
        self.old = old
        self.behind: tuple[str, ...] = ()
        cluster.known = told("settled", (old,))
        cluster.rotates = self.step

    def step(self, step: Step, old: bytes, new: bytes) -> Members:
        match step:
            case Step.TRUST:
                return told("trusting", (old, new), *self.behind)
            case Step.ISSUE:
                return told("issuing", (old, new), *self.behind)
            case Step.DROP:
                return told("settled", (new,))
            case Step.CANCEL:
                return told("settled", (old,))

    def steps(self) -> list[object]:
        return [said for call, said in self.cluster.calls if call == "rotate_authority"]


@pytest.fixture
def rotating(cluster: FakeClient, tmp_path: Path) -> Rotating:
    return Rotating(cluster, tmp_path / "ca")


@pytest.mark.slow
def test_a_rotation_takes_all_steps_and_leaves_the_new_ca_in_the_folder(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    done = run("certs", "rotate", str(tmp_path / "ca"), "-o", "json")
    assert done.exit_code == 0, done.stderr
    assert rotating.steps() == [Step.TRUST, Step.ISSUE, Step.DROP]
    new = root_in(tmp_path / "ca")
    assert new not in (None, rotating.old)
    assert new is not None
    authority = sha256(new).hexdigest()
    assert json.loads(done.stdout) == {"result": "rotated", "authority": authority}
    assert not (tmp_path / "ca" / NEXT_FOLDER).exists()


@pytest.mark.slow
def test_an_interrupted_rotation_goes_on_to_the_same_ca(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    ca = str(tmp_path / "ca")
    rotating.behind = (A2,)
    stuck = run("certs", "rotate", ca, "--wait", "1s")
    assert stuck.exit_code == 1
    assert "everybody trusts both CAs; waiting for n2." in stuck.stderr
    new = root_in(tmp_path / "ca" / NEXT_FOLDER)
    assert new is not None
    rotating.cluster.known = told("trusting", (rotating.old, new))
    rotating.behind = ()
    assert run("certs", "rotate", ca).exit_code == 0
    assert rotating.steps() == [Step.TRUST, Step.ISSUE, Step.DROP]
    assert root_in(tmp_path / "ca") == new


def test_a_rotation_that_was_interrupted_at_its_end_only_clears_up(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    folder = tmp_path / "ca"
    create_authority(folder / NEXT_FOLDER, cluster_id=CLUSTER, successor=True)
    new = root_in(folder / NEXT_FOLDER)
    assert new is not None
    rotating.cluster.known = told("settled", (new,))
    assert run("certs", "rotate", str(folder)).exit_code == 0
    assert rotating.steps() == []
    assert root_in(folder) == new


@pytest.mark.parametrize("phase", ["settled", "trusting", "issuing"])
def test_a_key_without_its_certificate_is_never_thrown_away(
    run: Run, rotating: Rotating, tmp_path: Path, phase: Phase
) -> None:
    """The cluster may sign with it, whatever the node says that is asked."""
    following = tmp_path / "ca" / NEXT_FOLDER
    create_authority(following, cluster_id=CLUSTER, successor=True)
    new, key = root_in(following), (following / "ca.key").read_bytes()
    assert new is not None
    roots = (rotating.old,) if phase == "settled" else (rotating.old, new)
    rotating.cluster.known = told(phase, roots)
    kept = following / "ca.crt"
    text = kept.read_bytes()
    kept.unlink()
    for more in ((), ("--cancel",)):
        lost = run("certs", "rotate", str(tmp_path / "ca"), *more)
        assert lost.exit_code == 1
        assert "ca.key is there without ca.crt" in lost.stderr
    assert (following / "ca.key").read_bytes() == key
    assert rotating.steps() == []
    kept.write_bytes(text)
    assert run("certs", "rotate", str(tmp_path / "ca")).exit_code == 0
    assert (tmp_path / "ca" / "ca.key").read_bytes() == key


def test_nobody_is_asked_to_trust_a_ca_whose_key_is_not_there(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    following = tmp_path / "ca" / NEXT_FOLDER
    create_authority(following, cluster_id=CLUSTER, successor=True)
    (following / "ca.key").unlink()
    lost = run("certs", "rotate", str(tmp_path / "ca"))
    assert lost.exit_code == 1
    assert "ca.key" in lost.stderr
    assert rotating.steps() == []


def test_a_new_ca_appears_whole_or_not_at_all(
    run: Run, rotating: Rotating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(path: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut)
        assert run("certs", "rotate", str(tmp_path / "ca")).exit_code == 1
    names = sorted(path.name for path in (tmp_path / "ca").iterdir())
    assert names == ["ca.crt", "ca.key"]


@pytest.mark.slow
def test_a_rotation_is_cancelled(run: Run, rotating: Rotating, tmp_path: Path) -> None:
    ca = str(tmp_path / "ca")
    rotating.behind = (A2,)
    run("certs", "rotate", ca, "--wait", "1s")
    cancelled = run("certs", "rotate", ca, "--cancel")
    assert "cancelled" in cancelled.stdout
    assert rotating.steps() == [Step.TRUST, Step.CANCEL]
    assert root_in(tmp_path / "ca") == rotating.old


def test_another_clusters_ca_and_another_rotation_are_refused(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    create_authority(tmp_path / "other")
    other = run("certs", "rotate", str(tmp_path / "other"))
    assert "not the CA of this cluster" in other.stderr
    rotating.cluster.known = told("trusting", (rotating.old, b"elsewhere"))
    for more in ((), ("--cancel",)):
        elsewhere = run("certs", "rotate", str(tmp_path / "ca"), *more)
        assert elsewhere.exit_code == 1
        assert "is not here" in elsewhere.stderr
        # It made one more CA first, which the next rotation from here would take.
        assert not (tmp_path / "ca" / NEXT_FOLDER).exists()
    assert rotating.steps() == []


def test_what_was_not_begun_is_not_cancelled_and_makes_no_ca(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    done = run("certs", "rotate", str(tmp_path / "ca"), "--cancel")
    assert done.exit_code == 4
    assert "there is nothing to cancel" in done.stderr
    assert rotating.steps() == []
    assert not (tmp_path / "ca" / NEXT_FOLDER).exists()


KEYS_ONLY = "precondition_failed: the key is at revision 7, not the expected one"


def test_a_step_that_is_refused_is_told_in_words_of_its_own(
    run: Run, rotating: Rotating, tmp_path: Path
) -> None:
    """Nodes have one text for that code, which speaks of keys."""

    def refused(step: Step, old: bytes, new: bytes) -> Members:
        raise PreconditionFailed(KEYS_ONLY, 0)

    rotating.cluster.rotates = refused
    for more, said in (
        ((), "the cluster does not take this step"),
        (("--cancel",), "there is nothing to cancel"),
    ):
        done = run("certs", "rotate", str(tmp_path / "ca"), *more)
        assert done.exit_code == 4
        assert said in done.stderr
        assert "the key" not in done.stderr


def test_what_can_not_be_revoked_any_more_is_told_in_words_of_its_own(
    run: Run, cluster: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(**_: object) -> None:
        raise PreconditionFailed(KEYS_ONLY, 0)

    cluster.known = known()
    monkeypatch.setattr(cluster, "revoke_certificate", refused)
    done = run("certs", "revoke", "n2")
    assert done.exit_code == 4
    assert "no more members and certificates can be revoked" in done.stderr
    assert "the key" not in done.stderr


@pytest.mark.slow
def test_the_new_key_is_encrypted_as_the_old_one_is(
    run: Run, cluster: FakeClient, tmp_path: Path
) -> None:
    folder, secret = tmp_path / "ca", tmp_path / "secret"
    secret.write_text("open sesame\n")
    create_authority(folder, cluster_id=CLUSTER, passphrase="open sesame")
    old = root_in(folder)
    assert old is not None
    cluster.known = told("settled", (old,))
    plain = run("certs", "rotate", str(folder))
    assert "is encrypted" in plain.stderr
    run(
        "certs", "rotate", str(folder), "--passphrase-file", str(secret), "--wait", "1s"
    )
    assert "ENCRYPTED" in (folder / NEXT_FOLDER / "ca.key").read_text()


def test_a_member_is_revoked_by_its_name_and_a_certificate_by_its_number(
    run: Run, cluster: FakeClient
) -> None:
    cluster.known = known()
    for said, meant, text in [
        (("n2",), (A2, None), f"member {A2} revoked"),
        ((A1,), (A1, None), f"member {A1} revoked"),
        (("0A:1B",), (None, "0A:1B"), "serial a1b revoked"),
        (("--serial", A1), (None, A1), f"serial {A1.lstrip('0')} revoked"),
    ]:
        assert text in run("certs", "revoke", *said).stdout
        assert cluster.calls[-1] == ("revoke_certificate", meant)
    assert run("certs", "revoke", "n7").exit_code == 3
    shown = run("certs", "revoke", "77", "-o", "json").stdout
    assert json.loads(shown) == {"serial": "77"}


def test_the_status_shows_what_members_show_and_what_was_revoked(
    run: Run, cluster: FakeClient
) -> None:
    status = CertificatesStatus(
        "issuing",
        (root(b"old", signs=False), root(b"new")),
        (Shown(A1, "a1", "the CA", 90_000), Shown(A2, "b2", "the CA", -1)),
        (Revoked(A2, ""), Revoked("", "77")),
        (A2,),
    )
    cluster.known = msgspec.structs.replace(known(), certificates=status)
    lines = run("certs", "status").stdout.splitlines()
    cells = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if "|" in x]
    assert cells[1:] == [
        [A1, "n1", "a1", "the CA", "25 hours"],
        [A2, "n2", "b2", "the CA", "has ended"],
    ]
    assert lines[-5:] == [
        f"CA {sha256(b'old').hexdigest()}",
        f"CA {sha256(b'new').hexdigest()} signs",
        f"revoked: member {A2}",
        "revoked: 77",
        "rotation: issuing; waits for n2",
    ]
    shown = json.loads(run("certs", "status", "-o", "json").stdout)
    assert shown == json.loads(msgspec.json.encode(status))


def test_a_nodes_folder_shows_what_the_node_shows(run: Run, tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "ca", cluster_id=CLUSTER)
    issue_member(authority, tmp_path / "n1" / "certs", name="n1", member_id=0xA1)
    (tmp_path / "n1" / "quorate.toml").write_text('name = "n1"\n')
    (shown,) = json.loads(
        run("certs", "show", str(tmp_path / "n1"), "-o", "json").stdout
    )
    assert (shown["member_id"], shown["cluster_id"]) == (
        f"{0xA1:016x}",
        f"{CLUSTER:016x}",
    )
    assert shown["sha256"]
    assert "member:" in run("certs", "show", str(tmp_path / "n1")).stdout
    assert run("certs", "show", str(tmp_path)).exit_code == 1


def test_a_folder_of_certificates_shows_all_of_them(run: Run, tmp_path: Path) -> None:
    """Also two of CAs in one file, as every node has while the CA is replaced."""
    old = create_authority(tmp_path / "ca", cluster_id=CLUSTER)
    create_authority(tmp_path / "next", cluster_id=CLUSTER, successor=True)
    certs = tmp_path / "n1" / "certs"
    issue_member(old, certs, name="n1", member_id=0xA1)
    with (certs / "ca.crt").open("ab") as roots:
        roots.write((tmp_path / "next" / "ca.crt").read_bytes())
    told = run("certs", "show", str(certs), "-o", "json")
    assert [each["kind"] for each in json.loads(told.stdout)] == ["ca", "ca", "member"]
    refused = run("certs", "show", str(certs / "node.key"))
    assert refused.exit_code == 1
    assert "node.key: not a certificate" in refused.stderr
    assert "http" not in refused.stderr


def test_a_certificate_is_issued_for_a_member_by_its_id(
    run: Run, tmp_path: Path
) -> None:
    create_authority(tmp_path / "ca", cluster_id=CLUSTER)
    issue = (
        "certs",
        "issue",
        "--ca",
        str(tmp_path / "ca"),
        "--out",
        str(tmp_path / "o"),
    )
    done = run(*issue, "--name", "n9", "--member-id", A1)
    assert f"/member/{A1} in" in done.stdout
    assert run(*issue, "--name", "n9", "--member-id", "9").exit_code == 2
    assert run(*issue, "--client", "c", "--member-id", A1).exit_code == 2


def test_nothing_is_renewed_where_no_node_runs(run: Run, tmp_path: Path) -> None:
    assert "no node runs here" in run("certs", "renew", str(tmp_path)).stderr


class Showing:
    """The folder of a node that runs, as far as `certs renew` can tell.

    Its peer port shows `shown`; `reads` is what it does when it is asked to.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.authority = create_authority(folder / "ca", cluster_id=CLUSTER)
        self.reads: Callable[[], None] = lambda: None
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        (folder / "quorate.toml").write_text(
            f'name = "n1"\n[peer]\nlisten = "127.0.0.1:{port}"\n'
        )
        self.put(folder / "certs")
        self.shown = self.context()
        monkeypatch.setattr(rotation, "running_pid", self.pid)
        monkeypatch.setattr(rotation, "_RENEWAL_S", 0.5)
        monkeypatch.setattr(rotation.os, "kill", self.told)

    def pid(self, directory: Path) -> int:
        assert directory == self.folder
        return 1 << 30

    def told(self, pid: int, number: int) -> None:
        assert (pid, number) == (1 << 30, signal.SIGHUP)
        self.reads()

    def put(self, place: Path) -> None:
        """Another certificate, whatever is there."""
        shutil.rmtree(place, ignore_errors=True)
        issue_member(self.authority, place, name="n1", member_id=1)

    def context(self) -> ssl.SSLContext:
        names = ("node.crt", "node.key", "ca.crt")
        return server_context(*(str(self.folder / "certs" / name) for name in names))

    def take(self) -> None:
        self.shown = self.context()

    def serve(self) -> None:
        while True:
            try:
                raw = self.listener.accept()[0]
            except OSError:
                return
            with suppress(OSError), self.shown.wrap_socket(raw, server_side=True) as it:
                it.recv(1)


@pytest.fixture
def showing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Showing]:
    made = Showing(tmp_path, monkeypatch)
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    # Closing alone leaves who accepts where it is.
    made.listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    made.listener.close()


def test_who_is_asked_to_renew_and_does_not_is_told_as_a_failure(
    run: Run, showing: Showing
) -> None:
    done = run("certs", "renew", str(showing.folder))
    assert done.exit_code == 1
    assert "not renewed, the files are as they were" in done.stderr
    # What was put there is in the files, but the node does not take it.
    showing.put(showing.folder / "certs")
    done = run("certs", "renew", str(showing.folder))
    assert done.exit_code == 1
    assert "does not show them" in done.stderr


def test_files_that_were_put_there_are_seen_to_be_shown(
    run: Run, showing: Showing
) -> None:
    showing.put(showing.folder / "certs")
    showing.reads = showing.take
    done = run("certs", "renew", str(showing.folder))
    assert done.exit_code == 0, done.stderr
    serial = describe(showing.folder / "certs" / "node.crt")[0].serial
    assert f"now shows {serial}" in done.stdout


def test_a_new_certificate_is_seen_in_the_files(run: Run, showing: Showing) -> None:
    showing.reads = lambda: showing.put(showing.folder / "certs")
    done = run("certs", "renew", str(showing.folder))
    assert done.exit_code == 0, done.stderr


def test_who_looks_while_a_node_replaces_its_pair_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`certs renew` failed now and then: the key was new, its certificate not yet."""
    folder, coming = tmp_path / "n1", tmp_path / "coming"
    authority = create_authority(tmp_path / "ca", cluster_id=CLUSTER)
    for place in (folder / "certs", coming):
        issue_member(authority, place, name="n1", member_id=1)
    (folder / "quorate.toml").write_text('name = "n1"\n')
    expected = describe(coming / "node.crt")[0].serial
    (coming / "node.key").replace(folder / "certs" / "node.key")
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_REPLACED_S", 0.0)
        with pytest.raises(Failure, match="mismatch"):
            rotation.shown_in(folder)

    def replace(_seconds: float) -> None:
        (coming / "node.crt").replace(folder / "certs" / "node.crt")

    monkeypatch.setattr(rotation.time, "sleep", replace)
    assert serial_name(rotation.shown_in(folder).serial) == expected
