"""Who this node is: one small file in its data directory, written before all others.

Law: a data directory belongs to one member of one cluster, for ever. The identity is
made once, by `init` or by a static start's voters; a directory that holds anything else
but no identity is never given one (its data may be another member's), and a damaged
identity is an error for people to look at, never a reason to begin anew. Each boot is
counted durably before the node speaks, and its nonce is added to the history: peers
refuse a history that does not hold the last boot that they have met, which is how an
old copy of a directory is found out, however often it boots.

    data/identity = crc32 u32 | body        crc32 is that of body
    body          = msgpack map { "format": 1, "cluster_id": uint, "member_id": uint,
                    "name": str, "boot_count": uint, "boot_nonce": uint,
                    "boot_history": bin (4 bytes a boot, the last 8,192 of them),
                    "voters": { member_id: { "name": str, "address": str } },
                    "contacts": { member_id: { "name": str, "address": str } } | nil }

`voters` is the cluster's first configuration, from which its log begins; of a member
that joined later `contacts` are those who were there, of a first voter it is nil. Other
keys, formats and trailing bytes are refused.

    IdentityError
    ├── MissingIdentity      the directory has none, and nothing allows making one
    ├── DamagedIdentity      there is one that can't be trusted
    ├── IdentityExists       create_identity found one, or data without one
    ├── IdentityMismatch     certificate, configuration and directory disagree
    └── RemovedMember        the cluster has sent this member away
"""

import errno
import hashlib
import zlib
from collections.abc import Mapping

import msgspec

from ..storage.env import Env, parent_of, read_file, write_file_durably
from .address import is_name, parse_address
from .config import IDENTITY_FILE, NodeConfig
from .peer_hello import HISTORY_BOOTS_MAX, HISTORY_NONCE_BYTES, short_nonce
from .tls import Kind, PeerIdentity

FORMAT = 1
LOCK_FILE = "lock"
FILE_BYTES_MAX = 64 * 1024
# Raft makes read ids from the boot count and has 31 bits for it.
BOOT_COUNT_MAX = (1 << 31) - 1

_CRC_BYTES = 4
# The id that a new member asks with, while it has no identity yet.
ASKING_FILE = "member_id"
# What may lie in a directory before its identity: the lock, taken first, what a crash
# left of an identity that was being written, or asked for, and what ext4 makes in a
# disk's topmost folder.
_NOT_DATA = frozenset(
    {
        *(LOCK_FILE, IDENTITY_FILE + ".tmp", ASKING_FILE, ASKING_FILE + ".tmp"),
        "lost+found",
    }
)


class IdentityError(Exception):
    """The data directory can't be used as it is; the message names it."""


class MissingIdentity(IdentityError):
    """There is no identity here."""


class DamagedIdentity(IdentityError):
    """The identity is there and can't be trusted."""


class IdentityExists(IdentityError):
    """A new identity would take over a directory that is in use."""


class IdentityMismatch(IdentityError):
    """Certificate, configuration and data directory name different members."""


class RemovedMember(IdentityError):
    """The cluster has sent this member away."""


class Voter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of the first configuration: its name and its peer address."""

    name: str
    address: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of a cluster, and which boot of it this is (0: not booted yet)."""

    cluster_id: int
    member_id: int
    name: str
    boot_count: int = 0
    boot_nonce: int = 0
    boot_history: bytes = b""
    voters: Mapping[int, Voter] = {}
    contacts: Mapping[int, Voter] | None = None

    @property
    def places(self) -> Mapping[int, Voter]:
        """Where other members were when this one began."""
        return self.voters if self.contacts is None else self.contacts

    def problem(self) -> str | None:
        """What makes this no identity, or None."""
        ids = [self.cluster_id, self.member_id, *self.voters, *(self.contacts or ())]
        if not all(0 < number < 1 << 64 for number in ids):
            return "an id is not a non-zero 64-bit number"
        if not is_name(self.name):
            return "not a usable name"
        if not 0 <= self.boot_count <= BOOT_COUNT_MAX:
            return "the boot count is out of range"
        # A nonce of zero means that there was no boot, and the other way round.
        nonce_fits = 0 < self.boot_nonce < 1 << 64 if self.boot_count else True
        if not nonce_fits or (self.boot_nonce != 0 and self.boot_count == 0):
            return "boot count and nonce do not go together"
        count = min(self.boot_count, HISTORY_BOOTS_MAX)
        if len(self.boot_history) != count * HISTORY_NONCE_BYTES:
            return "boot count and history do not go together"
        return _voters_problem(self)


class _Body(Identity, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int = FORMAT


_decoder = msgspec.msgpack.Decoder(_Body)


def member_id_for(cluster_id: int, name: str) -> int:
    """The id of the voter `name` in a static start: every machine computes the same.

    The first 8 bytes of SHA-256("quorate member" + cluster id + name), never zero.
    Only the first voters have such ids; members that join later get random ones.
    """
    assert 0 < cluster_id < 1 << 64
    seed = b"quorate member" + cluster_id.to_bytes(8, "big") + name.encode()
    return int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") or 1


def encode_identity(identity: Identity) -> bytes:
    """The file's bytes."""
    assert identity.problem() is None, identity.problem()
    body = msgspec.msgpack.encode(
        {"format": FORMAT, **msgspec.structs.asdict(identity)}
    )
    assert len(body) + _CRC_BYTES <= FILE_BYTES_MAX
    return zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body


def decode_identity(data: bytes) -> Identity:
    """Read the file's bytes back; `ValueError` says why they are not to be trusted."""
    if len(data) <= _CRC_BYTES:
        raise ValueError("too short")
    crc, body = int.from_bytes(data[:_CRC_BYTES], "little"), data[_CRC_BYTES:]
    if zlib.crc32(body) != crc:
        raise ValueError("checksum mismatch")
    try:
        decoded = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if decoded.format != FORMAT:
        raise ValueError(f"format {decoded.format} is not known to this version")
    fields = msgspec.structs.asdict(decoded)
    del fields["format"]
    identity = Identity(**fields)
    problem = identity.problem()
    if problem is not None:
        raise ValueError(problem)
    return identity


def create_identity(
    env: Env, directory: str, identity: Identity, *, filled: bool = False
) -> Identity:
    """Make `directory` the data directory of a new member, durably.

    It is empty, unless whoever calls has `filled` it for this member.
    """
    env.make_directory(directory)
    path = f"{directory}/{IDENTITY_FILE}"
    if env.exists(path):
        raise IdentityExists(f"{path}: this directory has an identity already")
    if not filled:
        check_unused(env, directory)
    write_file_durably(env, path, encode_identity(identity))
    _sync_name(env, directory)
    return identity


def check_unused(env: Env, directory: str) -> None:
    """Refuse what may be another member's data. Raises IdentityExists."""
    others = [name for name in env.list(directory) if name not in _NOT_DATA]
    if others:
        raise IdentityExists(
            f"{directory}: holds {others[0]!r} but no identity: it may be the data of"
            " another member"
        )


def load_identity(env: Env, directory: str) -> Identity:
    """Read the identity of a data directory."""
    path = f"{directory}/{IDENTITY_FILE}"
    if not env.exists(path):
        raise MissingIdentity(
            f"{directory}: not a node's data directory: it has no identity"
        )
    if env.size(path) > FILE_BYTES_MAX:
        raise DamagedIdentity(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return decode_identity(read_file(env, path))
    except ValueError as error:
        raise DamagedIdentity(f"{path}: {error}") from error


def begin_boot(env: Env, directory: str, nonce: int) -> Identity:
    """Count one more boot, durably; the node may speak only after this returned."""
    assert 0 < nonce < 1 << 64
    identity = load_identity(env, directory)
    if identity.boot_count == BOOT_COUNT_MAX:
        raise DamagedIdentity(f"{directory}: no boots are left; replace this member")
    booted = msgspec.structs.replace(
        identity,
        boot_count=identity.boot_count + 1,
        boot_nonce=nonce,
        boot_history=(identity.boot_history + short_nonce(nonce))[
            -HISTORY_BOOTS_MAX * HISTORY_NONCE_BYTES :
        ],
    )
    write_file_durably(env, f"{directory}/{IDENTITY_FILE}", encode_identity(booted))
    return booted


def identity_from_voters(config: NodeConfig, certificate: PeerIdentity) -> Identity:
    """The identity that a static start gives this node.

    The cluster is the one that signed the certificate; the configuration's voters are
    its first members. Every machine computes the same from the same voters.
    """
    assert config.cluster.voters
    assert config.name in config.cluster.voters
    cluster_id = certificate.cluster_id
    voters = {
        member_id_for(cluster_id, name): Voter(name, str(parse_address(address)))
        for name, address in config.cluster.voters.items()
    }
    assert len(voters) == len(config.cluster.voters), "two names made one id"
    identity = Identity(
        cluster_id=cluster_id,
        member_id=member_id_for(cluster_id, config.name),
        name=config.name,
        voters=voters,
    )
    check_identity(identity, config, certificate)
    return identity


def check_identity(
    identity: Identity, config: NodeConfig, certificate: PeerIdentity
) -> None:
    """Refuse to start as one member with the certificate or name of another."""
    if certificate.kind is not Kind.MEMBER:
        raise IdentityMismatch(
            f"{config.peer.cert}: for a {certificate.kind}, not for a member"
        )
    ours = PeerIdentity(identity.cluster_id, Kind.MEMBER, member_id=identity.member_id)
    if certificate != ours:
        raise IdentityMismatch(
            f"{config.peer.cert}: is for {certificate.uri}, but {config.name} is"
            f" {ours.uri}"
        )
    if identity.name != config.name:
        raise IdentityMismatch(
            f"{config.data_dir}: belongs to {identity.name!r}, but the configuration"
            f" says name = {config.name!r}"
        )


def take_back_boot(env: Env, directory: str, before: Identity) -> None:
    """Let a boot of which nobody has heard not have been. Raises OSError.

    The history holds so many. A node that is started again and again, and can't start,
    would lose the boots that its peers have met, and be an old copy to them for ever.
    """
    write_file_durably(env, f"{directory}/{IDENTITY_FILE}", encode_identity(before))


def open_identity(env: Env, config: NodeConfig, certificate: PeerIdentity) -> Identity:
    """Whose data is here: a member's, or from now on that of a static start's voter.

    The voters are read at the first start only; without them an empty directory does
    not start, since starting it could only mean a second cluster by accident.
    """
    directory = config.data_dir
    if not env.exists(f"{directory}/{IDENTITY_FILE}"):
        if not config.cluster.voters:
            raise MissingIdentity(
                f"{directory}: has no identity, and the configuration names no"
                " [cluster] voters: `quorate init` makes a new cluster; if there should"
                " be data, this is the wrong folder, or its disk is not mounted"
            )
        create_identity(env, directory, identity_from_voters(config, certificate))
    identity = load_identity(env, directory)
    check_identity(identity, config, certificate)
    # Whoever made the folder may have ended before it had.
    _sync_name(env, directory)
    return identity


def _sync_name(env: Env, directory: str) -> None:
    """Make the directory's own name durable: without it the next start finds nothing.

    A static start would then begin as a new member that has forgotten its votes.
    """
    try:
        env.sync_directory(parent_of(directory))
    except OSError as error:
        # An env that is confined to the data directory (a harness's) refuses what lies
        # outside, and so may the system; then the name is the care of who made it.
        if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _voters_problem(identity: Identity) -> str | None:
    voters, contacts = identity.voters, identity.contacts
    if not voters:
        return "it names no first voters"
    if (identity.member_id in voters) == (contacts is not None):
        return "this member is a first voter, or it joined, and not both"
    for voter in [*voters.values(), *(contacts or {}).values()]:
        if not is_name(voter.name):
            return "not a usable name of a voter"
        try:
            parse_address(voter.address)
        except ValueError as error:
            return f"voter {voter.name}: {error}"
    return None
