"""A node's configuration: quorate.toml with the environment laid over it.

Law: what is not understood is an error, never ignored: unknown keys, wrong types, an
address without a port. Each error names where the value came from (the file or the
environment variable), the key and the reason. Relative paths, from either, are relative
to the file's folder.

Each key has an environment variable, which wins over the file: QUORATE_ and the names
of section and key in capitals (`name` is QUORATE_NAME, `client.listen` is
QUORATE_CLIENT_LISTEN, `limits.value_bytes_max` is QUORATE_LIMITS_VALUE_BYTES_MAX).
Booleans are `true` or `false`; lists are separated by commas; voters are
`n1=host:7500,n2=host:7500`. Other QUORATE_ variables are no keys and are left alone:
orchestrators invent names such as QUORATE_CLIENT_PORT by themselves.

    ConfigError: the message is `source: key: reason`
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from .address import Address, is_name, is_origin, parse_address

CONFIG_FILE = "quorate.toml"
# Where `quorate init --tls` and the demo put a client port's files, beside the above.
CLIENT_PORT_FOLDER = "client-port"
# In data_dir; with it the folder is a member's.
IDENTITY_FILE = "identity"
CONFIG_BYTES_MAX = 1 << 20
VOTERS_MAX = 32
# More tiers than a store on any disk has.
TIERS_MAX = 16
MIB = 1 << 20

# A key or a section of the file, before it is checked.
Raw: TypeAlias = "str | int | float | bool | list[Raw] | dict[str, Raw]"

_ERROR_PLACE = re.compile(r"(?P<reason>.*) - at `(key in )?\$(?P<place>.*)`", re.DOTALL)
_ERROR_FIELD = re.compile(r"field `(?P<field>[^`]*)`")


class ConfigError(Exception):
    """The configuration can't be used; `str()` names source, key and reason."""

    def __init__(self, source: str, key: str, reason: str) -> None:
        super().__init__(": ".join(part for part in (source, key, reason) if part))
        self.source = source
        self.key = key
        self.reason = reason


class ClientPort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[client]: where clients are served, and which web pages may talk to it."""

    listen: str = "127.0.0.1:7400"
    advertise: str = ""
    # With a certificate TLS is spoken; with a CA each client has to show one of its.
    cert: str = ""
    key: str = ""
    ca: str = ""
    origins: tuple[str, ...] = ()
    insecure_listen_without_tls: bool = False
    # A file of tokens, of which every client has to show one; empty: none.
    token_file: str = ""


def with_tls(client: ClientPort) -> ClientPort:
    """The same with TLS and client certificates, from files in CLIENT_PORT_FOLDER."""
    return msgspec.structs.replace(
        client,
        cert=f"{CLIENT_PORT_FOLDER}/server.crt",
        key=f"{CLIENT_PORT_FOLDER}/server.key",
        ca=f"{CLIENT_PORT_FOLDER}/ca.crt",
    )


class PeerPort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[peer]: where peers are served, and the files that prove who we are."""

    listen: str = "127.0.0.1:7500"
    advertise: str = ""
    cert: str = "certs/node.crt"
    key: str = "certs/node.key"
    ca: str = "certs/ca.crt"
    # The CA's folder, where this node shall sign the certificates of new members.
    authority: str = ""
    # How long the certificates are good that this node signs.
    certificate_seconds: int = 365 * 86_400
    # Where to dial some members, by name, instead of where they say that they are.
    dial: dict[str, str] = {}


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[cluster]: the first voters of a static start, read at the first start only."""

    voters: dict[str, str] = {}


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[limits]: what is refused before it is buffered or proposed."""

    key_bytes_max: int = 4096
    value_bytes_max: int = 4 * MIB
    request_bytes_max: int = 8 * MIB
    connections_max: int = 10_000
    requests_in_flight_max: int = 16_384
    # Disk space that client writes may not use, so that elections, configuration
    # changes and deletes still find room in the journal.
    journal_reserve_bytes: int = 64 * MIB
    # How fast the engine's files are read to find what has rotted; 0: not at all.
    scrub_bytes_per_second: int = 1 * MIB
    # How fast the state goes to a member that needs it whole, so that the writes which
    # go on keep the processors and the disk that they need.
    snapshot_bytes_per_second: int = 24 * MIB
    cache_bytes: int = 16 * MIB
    # How much of the past the leader keeps before it has it compacted: so many
    # revisions (0: all of them), and everything that is younger than so long.
    history_revisions: int = 1_000_000
    history_seconds: int = 0


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[storage]: how the engine keeps what it is given."""

    # Of the runs of each tier, the youngest first; the last holds for all above.
    compression: tuple[Literal["none", "zstd"], ...] = ("none",)


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[log]: how a node tells what happens, on its standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of quorate.toml. What `load_config` returns has absolute paths."""

    name: str
    data_dir: str = "data"
    client: ClientPort = ClientPort()
    peer: PeerPort = PeerPort()
    cluster: Cluster = Cluster()
    limits: Limits = Limits()
    storage: Storage = Storage()
    log: Log = Log()

    @property
    def client_listen(self) -> Address:
        """Where the client port listens."""
        return parse_address(self.client.listen)

    @property
    def client_address(self) -> Address:
        """Where clients should dial: what is advertised, else where it listens."""
        return parse_address(self.client.advertise or self.client.listen)

    @property
    def client_url(self) -> str:
        """The client address as people and browsers write it."""
        return f"{'https' if self.client.cert else 'http'}://{self.client_address}"

    @property
    def peer_listen(self) -> Address:
        """Where the peer port listens."""
        return parse_address(self.peer.listen)

    @property
    def peer_address(self) -> Address:
        """Where peers should dial: what is advertised, else where it listens."""
        return parse_address(self.peer.advertise or self.peer.listen)


# The smallest and largest value of each limit. Every replica must be able to apply what
# another admitted, so keys and values can be limited further and not beyond the
# defaults; a request must leave room for one of each, and a page of a range.
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "key_bytes_max": (1, 4096),
    "value_bytes_max": (1, 4 * MIB),
    "request_bytes_max": (2 * MIB, 32 * MIB),
    "connections_max": (1, 1_000_000),
    "requests_in_flight_max": (1, 1_000_000),
    "journal_reserve_bytes": (1 * MIB, 1 << 40),
    "scrub_bytes_per_second": (0, 1 << 40),
    "snapshot_bytes_per_second": (1 * MIB, 1 << 40),
    "cache_bytes": (0, 1 << 40),
    "history_revisions": (0, 1 << 63),
    "history_seconds": (0, 365 * 86_400),
}
_CERTIFICATE_SECONDS = (10, 3650 * 86_400)
# A command's head and its frame's, rounded up: what a request holds besides key and
# value.
_REQUEST_OVERHEAD_BYTES = 64

_ALWAYS_WRITTEN = frozenset(
    {
        *("name", "data_dir", "client.listen"),
        *("peer.listen", "peer.cert", "peer.key", "peer.ca"),
    }
)
# Files that need not be named.
_CLIENT_FILES = ("cert", "key", "ca", "token_file")


class _Key(NamedTuple):
    """One key of the file: its section ("" at the top), its name, its default."""

    section: str
    name: str
    default: object

    def __str__(self) -> str:
        return f"{self.section}.{self.name}".lstrip(".")

    @property
    def variable(self) -> str:
        return "QUORATE_" + str(self).replace(".", "_").upper()


def _keys() -> Iterator[_Key]:
    defaults = NodeConfig(name="")
    for name in NodeConfig.__struct_fields__:
        value: object = getattr(defaults, name)
        if isinstance(value, msgspec.Struct):
            for inner in value.__struct_fields__:
                yield _Key(name, inner, getattr(value, inner))
        else:
            yield _Key("", name, value)


def environment_names() -> frozenset[str]:
    """The environment variables that are keys."""
    return frozenset(key.variable for key in _keys())


def load_config(path: Path, environment: Mapping[str, str]) -> NodeConfig:
    """Read `path`, lay `environment` over it and check the whole."""
    source = str(path)
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1)
        if len(text) > CONFIG_BYTES_MAX:
            raise ConfigError(source, "", f"larger than {CONFIG_BYTES_MAX} bytes")
        raw: dict[str, Raw] = tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(source, "", error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, "", f"not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        # Beside TOMLDecodeError, a plain ValueError for an endless number.
        raise ConfigError(source, "", f"not TOML: {error}") from error
    sources = _overlay(raw, environment)
    try:
        config = msgspec.convert(raw, NodeConfig)
    except msgspec.ValidationError as error:
        key, reason = _place(str(error))
        raise ConfigError(sources.get(key, source), key, reason) from error
    try:
        check_config(config)
    except ConfigError as error:
        raise ConfigError(
            sources.get(error.key, source), error.key, error.reason
        ) from None
    return _resolved(config, path.absolute().parent)


def check_config(config: NodeConfig) -> None:
    """Refuse what has the right types and still can't work; the error has no source."""
    if not is_name(config.name):
        reason = f"not a usable name: {config.name[:128]!r}"
        raise ConfigError("", "name", reason)
    paths = {
        "data_dir": config.data_dir,
        "peer.cert": config.peer.cert,
        "peer.key": config.peer.key,
        "peer.ca": config.peer.ca,
    }
    for key, value in paths.items():
        if not value or "\0" in value:
            raise ConfigError("", key, "not a path")
    _check_client(config.client)
    _check_port("peer", config.peer.listen, config.peer.advertise)
    _check_addresses("peer.dial", config.peer.dial)
    smallest, largest = _CERTIFICATE_SECONDS
    seconds = config.peer.certificate_seconds
    if not smallest <= seconds <= largest:
        reason = f"{seconds} is not from {smallest} to {largest}"
        raise ConfigError("", "peer.certificate_seconds", reason)
    _check_voters(config)
    _check_limits(config.limits)
    tiers = len(config.storage.compression)
    if not 0 < tiers <= TIERS_MAX:
        reason = f"{tiers} tiers are not from 1 to {TIERS_MAX}"
        raise ConfigError("", "storage.compression", reason)


def to_toml(config: NodeConfig) -> str:
    """Write what differs from the defaults, and always what people come to change."""
    lines: list[str] = []
    for key in _keys():
        section: object = getattr(config, key.section) if key.section else config
        value: object = getattr(section, key.name)
        if value == key.default and str(key) not in _ALWAYS_WRITTEN:
            continue
        if key.section and f"[{key.section}]" not in lines:
            lines += ["", f"[{key.section}]"]
        lines.append(f"{key.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _overlay(raw: dict[str, Raw], environment: Mapping[str, str]) -> dict[str, str]:
    """Put the environment's values into `raw`; returns which key came from where."""
    sources: dict[str, str] = {}
    for key in _keys():
        text = environment.get(key.variable)
        if text is None:
            continue
        table = raw.setdefault(key.section, {}) if key.section else raw
        if not isinstance(table, dict):
            # The file has no section of this name but a value: the conversion says so.
            continue
        table[key.name] = _from_environment(key, text)
        sources[str(key)] = key.variable
    return sources


def _from_environment(key: _Key, text: str) -> Raw:
    """A variable's text as the value that the file would hold."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    match key.default:
        case bool():
            if text not in ("true", "false"):
                reason = f"{text[:64]!r} is not true or false"
                raise ConfigError(key.variable, str(key), reason)
            return text == "true"
        case int():
            if not (text.isascii() and text.isdigit() and len(text) <= 19):
                reason = f"{text[:64]!r} is not a number"
                raise ConfigError(key.variable, str(key), reason)
            return int(text)
        case tuple():
            return list[Raw](items)
        case dict():
            return _voters_from_environment(key, items)
        case _:
            return text


def _voters_from_environment(key: _Key, items: list[str]) -> dict[str, Raw]:
    voters: dict[str, Raw] = {}
    for item in items:
        name, equals, address = (part.strip() for part in item.partition("="))
        if not equals or name in voters:
            reason = f"{item[:128]!r} is not one more name=host:port"
            raise ConfigError(key.variable, str(key), reason)
        voters[name] = address
    return voters


def _place(message: str) -> tuple[str, str]:
    """Split msgspec's message into our key and the reason."""
    match = _ERROR_PLACE.fullmatch(message)
    reason = match["reason"] if match else message
    key = match["place"].lstrip(".") if match else ""
    field = _ERROR_FIELD.search(reason)
    if field:
        # Unknown and missing fields are reported at the section around them.
        key = f"{key}.{field['field']}".lstrip(".")
        missing = "missing" in reason
        reason = "is missing" if missing else "no such key"
    return key, reason


def _check_port(section: str, listen: str, advertise: str) -> Address:
    try:
        address = parse_address(listen)
    except ValueError as error:
        raise ConfigError("", f"{section}.listen", str(error)) from error
    key = f"{section}.advertise"
    if advertise:
        try:
            dialled = parse_address(advertise)
        except ValueError as error:
            raise ConfigError("", key, str(error)) from error
        if dialled.wildcard or dialled.port == 0:
            raise ConfigError("", key, f"nobody can dial {advertise}")
    elif address.wildcard:
        reason = f"needed, since nobody can dial {section}.listen = {listen!r}"
        raise ConfigError("", key, reason)
    return address


def _check_client(client: ClientPort) -> None:
    address = _check_port("client", client.listen, client.advertise)
    for name in _CLIENT_FILES:
        if "\0" in getattr(client, name):
            raise ConfigError("", f"client.{name}", "not a path")
    for name, needed in (("cert", "key"), ("key", "cert"), ("ca", "cert")):
        if getattr(client, name) and not getattr(client, needed):
            reason = f"client.{name} needs client.{needed}"
            raise ConfigError("", f"client.{needed}", reason)
    open_to_all = not (client.cert or client.insecure_listen_without_tls)
    if not address.loopback and open_to_all:
        raise ConfigError(
            "",
            "client.listen",
            f"{client.listen} is reachable from other machines, and the client port has"
            " no TLS: anybody there could read and write everything. Give it a"
            " certificate (client.cert, client.key), listen on 127.0.0.1, or set"
            " client.insecure_listen_without_tls = true",
        )
    for origin in client.origins:
        if not is_origin(origin):
            reason = f"{origin[:128]!r} is not an origin (https://host[:port])"
            raise ConfigError("", "client.origins", reason)


def _check_addresses(key: str, places: Mapping[str, str]) -> None:
    """Names, and for each an address of its own that can be dialled."""
    seen: dict[Address, str] = {}
    for name, text in places.items():
        if not is_name(name):
            reason = f"not a usable name: {name[:128]!r}"
            raise ConfigError("", key, reason)
        try:
            address = parse_address(text)
        except ValueError as error:
            raise ConfigError("", key, f"{name}: {error}") from error
        if address.wildcard or address.port == 0:
            raise ConfigError("", key, f"{name}: nobody can dial {text}")
        if address in seen:
            reason = f"{seen[address]} and {name} have the same address {text}"
            raise ConfigError("", key, reason)
        seen[address] = name


def _check_voters(config: NodeConfig) -> None:
    voters = config.cluster.voters
    if len(voters) > VOTERS_MAX:
        raise ConfigError("", "cluster.voters", f"more than {VOTERS_MAX} voters")
    _check_addresses("cluster.voters", voters)
    if voters and config.name not in voters:
        reason = f"this node, {config.name!r}, is not among them"
        raise ConfigError("", "cluster.voters", reason)


def _check_limits(limits: Limits) -> None:
    for key, (smallest, largest) in _BOUNDS.items():
        value: int = getattr(limits, key)
        if not smallest <= value <= largest:
            reason = f"{value} is not from {smallest} to {largest}"
            raise ConfigError("", f"limits.{key}", reason)
    needed = limits.key_bytes_max + limits.value_bytes_max + _REQUEST_OVERHEAD_BYTES
    if limits.request_bytes_max < needed:
        reason = f"at least {needed}, for one key and one value of the largest size"
        raise ConfigError("", "limits.request_bytes_max", reason)


def _resolved(config: NodeConfig, base: Path) -> NodeConfig:
    """The same with absolute paths."""
    peer = msgspec.structs.replace(
        config.peer,
        cert=str(base / config.peer.cert),
        key=str(base / config.peer.key),
        ca=str(base / config.peer.ca),
        authority=str(base / config.peer.authority) if config.peer.authority else "",
    )
    named = {name: getattr(config.client, name) for name in _CLIENT_FILES}
    files = {name: str(base / path) for name, path in named.items() if path}
    client = msgspec.structs.replace(config.client, **files)
    data_dir = str(base / config.data_dir)
    return msgspec.structs.replace(config, data_dir=data_dir, client=client, peer=peer)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _toml_string(value)
        case _:
            pass
    if isinstance(value, tuple):
        items = msgspec.convert(value, tuple[str, ...])
        return "[" + ", ".join(map(_toml_string, items)) + "]"
    voters = msgspec.convert(value, dict[str, str])
    pairs = [f"{_toml_string(k)} = {_toml_string(v)}" for k, v in voters.items()]
    return f"{{ {', '.join(pairs)} }}" if pairs else "{}"


def _toml_string(text: str) -> str:
    # JSON's escapes are TOML's, but JSON leaves DEL as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
