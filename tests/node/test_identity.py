"""The data directory's identity: made once, counted at each boot, never guessed."""

import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.config import Cluster, NodeConfig, PeerPort
from quorate.node.identity import (
    BOOT_COUNT_MAX,
    DamagedIdentity,
    Identity,
    IdentityExists,
    IdentityMismatch,
    MissingIdentity,
    Voter,
    begin_boot,
    create_identity,
    decode_identity,
    encode_identity,
    identity_from_voters,
    load_identity,
    member_id_for,
    open_identity,
)
from quorate.node.tls import Kind, PeerIdentity
from quorate.storage.env import RealEnv
from quorate.storage.hold_back_env import HoldBackEnv
from quorate.storage.memory_env import MemoryEnv
from quorate.storage.memory_faults import Crashed, Operation

CLUSTER = 0xC0FFEE
ENV = RealEnv()
IDENTITY = Identity(
    cluster_id=CLUSTER, member_id=5, name="n1", voters={5: Voter("n1", "a:7500")}
)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def config_for(directory: str, voters: dict[str, str] | None = None) -> NodeConfig:
    return NodeConfig(
        name="n1",
        data_dir=directory,
        peer=PeerPort(cert="/certs/node.crt"),
        cluster=Cluster(voters=voters or {}),
    )


def certificate_for(member_id: int) -> PeerIdentity:
    return PeerIdentity(CLUSTER, Kind.MEMBER, member_id=member_id)


def boot(config: NodeConfig, certificate: PeerIdentity, nonce: int) -> Identity:
    """As a node does."""
    open_identity(ENV, config, certificate)
    return begin_boot(ENV, config.data_dir, nonce)


VOTERS = {"n1": "a:7500", "n2": "b:7500", "n3": "c:7500"}
N1 = certificate_for(member_id_for(CLUSTER, "n1"))


def test_an_identity_is_made_once(directory: str) -> None:
    create_identity(ENV, directory, IDENTITY)
    assert load_identity(ENV, directory) == IDENTITY
    with pytest.raises(IdentityExists):
        create_identity(ENV, directory, IDENTITY)
    assert load_identity(ENV, directory) == IDENTITY


def test_a_disk_of_ones_own_is_no_data(directory: str) -> None:
    (Path(directory) / "lost+found").mkdir(parents=True)
    assert create_identity(ENV, directory, IDENTITY) == IDENTITY


def test_a_directory_with_data_but_no_identity_is_never_given_one(
    directory: str,
) -> None:
    Path(directory).mkdir()
    (Path(directory) / "journal").mkdir()
    with pytest.raises(IdentityExists, match="'journal' but no identity"):
        create_identity(ENV, directory, IDENTITY)


def test_a_lock_or_a_half_written_identity_does_not_hinder_the_first_start(
    directory: str,
) -> None:
    Path(directory).mkdir()
    (Path(directory) / "lock").touch()
    (Path(directory) / "identity.tmp").write_bytes(b"half")
    create_identity(ENV, directory, IDENTITY)
    assert load_identity(ENV, directory) == IDENTITY


def test_an_identity_and_its_directory_survive_a_power_loss() -> None:
    env = MemoryEnv()
    env.make_directory("/node")
    env.sync_directory("/")
    create_identity(env, "/node/data", IDENTITY)
    booted = begin_boot(env, "/node/data", 9)
    for after in env.crash_states():
        assert load_identity(after, "/node/data") == booted


def test_an_identity_that_was_cut_short_is_whole_or_absent() -> None:
    def before(crash_at: int) -> MemoryEnv:
        env = MemoryEnv()
        env.make_directory("/node")
        env.sync_directory("/")
        left = [crash_at]

        def crash(_: Operation) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crashed

        env.on_operation = crash
        try:
            create_identity(env, "/node/data", IDENTITY)
            finished.append(crash_at)
        except Crashed:
            env.on_operation = None
        return env

    finished: list[int] = []
    for crash_at in range(30):
        for after in before(crash_at).crash_states():
            if after.exists("/node/data/identity"):
                assert load_identity(after, "/node/data") == IDENTITY
            else:
                assert crash_at not in finished
                # The next start is not hindered by what is left.
                create_identity(after, "/node/data", IDENTITY)
    assert 5 < finished[0] < 30


def test_an_env_confined_to_the_directory_can_hold_an_identity(directory: str) -> None:
    Path(directory).mkdir()
    create_identity(HoldBackEnv(directory), directory, IDENTITY)
    assert load_identity(ENV, directory) == IDENTITY


def test_each_boot_is_counted_with_its_nonce(directory: str) -> None:
    create_identity(ENV, directory, IDENTITY)
    assert begin_boot(ENV, directory, 77).boot_count == 1
    second = begin_boot(ENV, directory, 78)
    assert (second.boot_count, second.boot_nonce) == (2, 78)
    assert load_identity(ENV, directory) == second
    assert second.voters == IDENTITY.voters


def test_boots_can_run_out_and_do_not_wrap(directory: str) -> None:
    last = msgspec.structs.replace(
        IDENTITY, boot_count=BOOT_COUNT_MAX, boot_nonce=1, boot_history=bytes(4 * 8192)
    )
    create_identity(ENV, directory, last)
    with pytest.raises(DamagedIdentity, match="no boots are left"):
        begin_boot(ENV, directory, 2)


def test_a_directory_without_identity_does_not_boot(directory: str) -> None:
    with pytest.raises(MissingIdentity):
        load_identity(ENV, directory)
    with pytest.raises(MissingIdentity):
        begin_boot(ENV, directory, 1)


def test_every_flipped_bit_and_every_truncation_is_noticed(directory: str) -> None:
    good = encode_identity(IDENTITY)
    assert decode_identity(good) == IDENTITY
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            decode_identity(bytes(bad))
    for length in range(len(good)):
        with pytest.raises(ValueError):
            decode_identity(good[:length])
    with pytest.raises(ValueError):
        decode_identity(good + b"\0")


def sealed(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "little") + body


def fields() -> dict[str, object]:
    return {
        "format": 1,
        "cluster_id": CLUSTER,
        "member_id": 5,
        "name": "n1",
        "boot_count": 0,
        "boot_nonce": 0,
        "boot_history": b"",
        "voters": {5: {"name": "n1", "address": "a:1"}},
        "contacts": None,
    }


def test_the_bytes_of_an_identity_are_these_for_ever() -> None:
    body = (
        b"\x89\xa6format\x01\xaacluster_id\xce\x00\xc0\xff\xee\xa9member_id\x05"
        b"\xa4name\xa2n1\xaaboot_count\x00\xaaboot_nonce\x00"
        b"\xacboot_history\xc4\x00\xa6voters\x81\x06\x82\xa4name\xa2n2"
        b"\xa7address\xa3a:1\xa8contacts\x81\x07\x82\xa4name\xa2n3"
        b"\xa7address\xa3b:1"
    )
    joined = msgspec.structs.replace(
        IDENTITY, voters={6: Voter("n2", "a:1")}, contacts={7: Voter("n3", "b:1")}
    )
    assert encode_identity(joined) == sealed(body)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"extra": 1},
        {"cluster_id": 0},
        {"cluster_id": -1},
        {"member_id": "5"},
        {"member_id": 0},
        {"name": "a/b"},
        {"boot_count": -1},
        {"boot_count": BOOT_COUNT_MAX + 1, "boot_nonce": 1},
        {"boot_count": 1},
        {"boot_nonce": 1},
        {"voters": {}},
        {"contacts": {6: {"name": "n2", "address": "a:1"}}},
        {"contacts": {0: {"name": "n2", "address": "a:1"}}},
        {"voters": {6: {"name": "n1", "address": "a:1"}}},
        {"voters": {5: {"name": "n1", "address": "a"}}},
        {"voters": {5: {"name": "", "address": "a:1"}}},
        {"voters": {5: {"name": "n1", "address": "a:1", "extra": 1}}},
        {"voters": {5: {"name": "n1"}}},
    ],
)
def test_a_well_sealed_identity_that_makes_no_sense_is_refused(
    change: dict[str, object],
) -> None:
    assert decode_identity(sealed(msgspec.msgpack.encode(fields())))
    with pytest.raises(ValueError):
        decode_identity(sealed(msgspec.msgpack.encode({**fields(), **change})))


@given(st.binary(max_size=200))
def test_garbage_is_damaged_and_nothing_worse(body: bytes) -> None:
    for data in (body, sealed(body)):
        with pytest.raises(ValueError):
            decode_identity(data)


def test_a_damaged_identity_names_its_file_and_is_left_alone(directory: str) -> None:
    create_identity(ENV, directory, IDENTITY)
    path = Path(directory) / "identity"
    for damage in (b"", b"junk", bytes(70_000)):
        path.write_bytes(damage)
        with pytest.raises(DamagedIdentity, match=str(path)):
            boot(config_for(directory, VOTERS), N1, 1)
        assert path.read_bytes() == damage


def test_a_static_start_computes_the_same_voters_everywhere() -> None:
    first = identity_from_voters(config_for("/d", VOTERS), N1)
    assert first.member_id == N1.member_id
    assert first.voters == {
        member_id_for(CLUSTER, name): Voter(name, address)
        for name, address in VOTERS.items()
    }
    second = identity_from_voters(
        msgspec.structs.replace(config_for("/d", VOTERS), name="n2"),
        certificate_for(member_id_for(CLUSTER, "n2")),
    )
    assert second.voters == first.voters


def test_voters_are_read_at_the_first_start_only(directory: str) -> None:
    first = boot(config_for(directory, VOTERS), N1, 1)
    assert (first.boot_count, len(first.voters or ())) == (1, 3)
    again = boot(config_for(directory, {"n1": "z:1"}), N1, 2)
    assert (again.boot_count, again.voters) == (2, first.voters)
    without = boot(config_for(directory), N1, 3)
    assert (without.boot_count, without.voters) == (3, first.voters)


def test_an_empty_directory_without_voters_does_not_start(directory: str) -> None:
    with pytest.raises(MissingIdentity, match="quorate init"):
        boot(config_for(directory), N1, 1)
    assert not Path(directory).exists()


def another_member() -> PeerIdentity:
    return certificate_for(member_id_for(CLUSTER, "n2"))


def another_cluster() -> PeerIdentity:
    return PeerIdentity(CLUSTER + 1, Kind.MEMBER, member_id=N1.member_id)


def a_client() -> PeerIdentity:
    return PeerIdentity(CLUSTER, Kind.CLIENT, name="n1")


@pytest.mark.parametrize("other", [another_member, another_cluster, a_client])
def test_a_certificate_of_somebody_else_does_not_start_this_node(
    directory: str, other: Callable[[], PeerIdentity]
) -> None:
    config = config_for(directory, VOTERS)
    with pytest.raises(IdentityMismatch, match=r"node\.crt"):
        boot(config, other(), 1)
    assert not Path(directory).exists()
    boot(config, N1, 1)
    with pytest.raises(IdentityMismatch, match=r"node\.crt"):
        boot(config, other(), 2)
    assert load_identity(ENV, directory).boot_count == 1


def test_another_name_does_not_start_this_directory(directory: str) -> None:
    create_identity(ENV, directory, IDENTITY)
    config = msgspec.structs.replace(config_for(directory), name="n2")
    with pytest.raises(IdentityMismatch, match="belongs to 'n1'"):
        boot(config, certificate_for(5), 1)
