"""quorate.toml and the environment over it: what is accepted, and what errors say."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.address import Address, is_name, is_origin, parse_address
from quorate.node.config import (
    ClientPort,
    Cluster,
    ConfigError,
    Limits,
    Log,
    NodeConfig,
    PeerPort,
    Storage,
    check_config,
    environment_names,
    load_config,
    to_toml,
)
from quorate.wire.limits import Limits as WireLimits

FULL = """
name = "n1"
data_dir = "/var/lib/quorate"

[client]
listen = "0.0.0.0:7400"
advertise = "n1.example:7400"
cert = "certs/server.crt"
key = "/etc/quorate/server.key"
ca = "certs/clients.crt"
origins = ["https://ui.example", "http://[::1]:8080"]
insecure_listen_without_tls = true

[peer]
listen = "[::]:7500"
advertise = "n1.example:7500"
cert = "certs/node.crt"
key = "/etc/quorate/node.key"
ca = "../ca.crt"

[cluster]
voters = { n1 = "n1.example:7500", n2 = "n2.example:7500" }

[limits]
key_bytes_max = 1024
value_bytes_max = 1_000_000
request_bytes_max = 4_000_000
connections_max = 100
requests_in_flight_max = 1000
journal_reserve_bytes = 10_000_000
history_revisions = 9_223_372_036_854_775_807
history_seconds = 3600

[storage]
compression = ["none", "zstd"]

[log]
format = "json"
level = "debug"
"""


def load(
    directory: Path, text: str, environment: dict[str, str] | None = None
) -> NodeConfig:
    path = directory / "quorate.toml"
    path.write_text(text)
    return load_config(path, environment or {})


def refused(
    directory: Path, text: str, environment: dict[str, str] | None = None
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, environment)
    return caught.value


def test_a_name_alone_is_a_whole_configuration(tmp_path: Path) -> None:
    config = load(tmp_path, 'name = "n1"')
    assert config.data_dir == str(tmp_path / "data")
    assert config.client_url == "http://127.0.0.1:7400"
    assert str(config.peer_address) == "127.0.0.1:7500"
    assert config.limits == Limits()
    assert config.cluster.voters == {}


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert config.client_listen == Address("0.0.0.0", 7400)
    assert config.client_address == Address("n1.example", 7400)
    assert config.client.origins == ("https://ui.example", "http://[::1]:8080")
    assert config.peer_listen == Address("::", 7500)
    assert config.peer_address == Address("n1.example", 7500)
    assert config.cluster.voters["n2"] == "n2.example:7500"
    assert config.limits.value_bytes_max == 1_000_000
    assert config.limits.history_revisions == 2**63 - 1
    assert config.limits.history_seconds == 3600
    assert config.storage.compression == ("none", "zstd")
    assert config.log == Log(format="json", level="debug")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert config.data_dir == "/var/lib/quorate"
    assert config.peer.cert == str(tmp_path / "certs" / "node.crt")
    assert config.peer.key == "/etc/quorate/node.key"
    assert config.peer.ca == str(tmp_path / ".." / "ca.crt")
    assert config.client.cert == str(tmp_path / "certs" / "server.crt")
    assert config.client.key == "/etc/quorate/server.key"
    assert config.client.ca == str(tmp_path / "certs" / "clients.crt")


def test_each_key_has_an_environment_variable_that_wins(tmp_path: Path) -> None:
    values = {
        "QUORATE_NAME": "n2",
        "QUORATE_DATA_DIR": "elsewhere",
        "QUORATE_CLIENT_LISTEN": "127.0.0.1:1",
        "QUORATE_CLIENT_ADVERTISE": "a:2",
        "QUORATE_CLIENT_CERT": "s",
        "QUORATE_CLIENT_KEY": "/sk",
        "QUORATE_CLIENT_CA": "sa",
        "QUORATE_CLIENT_ORIGINS": "https://a, https://b",
        "QUORATE_CLIENT_INSECURE_LISTEN_WITHOUT_TLS": "true",
        "QUORATE_CLIENT_TOKEN_FILE": "tokens",
        "QUORATE_PEER_LISTEN": "127.0.0.1:3",
        "QUORATE_PEER_ADVERTISE": "a:4",
        "QUORATE_PEER_CERT": "c",
        "QUORATE_PEER_KEY": "/k",
        "QUORATE_PEER_CA": "a",
        "QUORATE_PEER_AUTHORITY": "ca",
        "QUORATE_PEER_CERTIFICATE_SECONDS": "10",
        "QUORATE_PEER_DIAL": "n3=c:7",
        "QUORATE_CLUSTER_VOTERS": "n1=a:5, n2=b:6",
        "QUORATE_LIMITS_KEY_BYTES_MAX": "7",
        "QUORATE_LIMITS_VALUE_BYTES_MAX": "8",
        "QUORATE_LIMITS_REQUEST_BYTES_MAX": "3000000",
        "QUORATE_LIMITS_CONNECTIONS_MAX": "10",
        "QUORATE_LIMITS_REQUESTS_IN_FLIGHT_MAX": "11",
        "QUORATE_LIMITS_JOURNAL_RESERVE_BYTES": "12000000",
        "QUORATE_LIMITS_SCRUB_BYTES_PER_SECOND": "0",
        "QUORATE_LIMITS_SNAPSHOT_BYTES_PER_SECOND": "1099511627776",
        "QUORATE_LIMITS_CACHE_BYTES": "0",
        "QUORATE_LIMITS_HISTORY_REVISIONS": "9223372036854775808",
        "QUORATE_LIMITS_HISTORY_SECONDS": "31536000",
        "QUORATE_STORAGE_COMPRESSION": "none, zstd",
        "QUORATE_LOG_FORMAT": "text",
        "QUORATE_LOG_LEVEL": "error",
    }
    assert set(values) == environment_names()
    assert load(tmp_path, FULL, values) == NodeConfig(
        name="n2",
        data_dir=str(tmp_path / "elsewhere"),
        client=ClientPort(
            listen="127.0.0.1:1",
            advertise="a:2",
            origins=("https://a", "https://b"),
            insecure_listen_without_tls=True,
            token_file=str(tmp_path / "tokens"),
            cert=str(tmp_path / "s"),
            key="/sk",
            ca=str(tmp_path / "sa"),
        ),
        peer=PeerPort(
            listen="127.0.0.1:3",
            advertise="a:4",
            cert=str(tmp_path / "c"),
            key="/k",
            ca=str(tmp_path / "a"),
            authority=str(tmp_path / "ca"),
            certificate_seconds=10,
            dial={"n3": "c:7"},
        ),
        cluster=Cluster(voters={"n1": "a:5", "n2": "b:6"}),
        limits=Limits(
            key_bytes_max=7,
            value_bytes_max=8,
            request_bytes_max=3_000_000,
            connections_max=10,
            requests_in_flight_max=11,
            journal_reserve_bytes=12_000_000,
            scrub_bytes_per_second=0,
            snapshot_bytes_per_second=1 << 40,
            cache_bytes=0,
            history_revisions=2**63,
            history_seconds=31_536_000,
        ),
        storage=Storage(compression=("none", "zstd")),
        log=Log(format="text", level="error"),
    )


def test_the_environment_may_name_what_the_file_does_not(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"QUORATE_NAME": "n7"}).name == "n7"


def test_variables_that_are_no_keys_are_left_alone(tmp_path: Path) -> None:
    invented = {
        "QUORATE_CLIENT_PORT": "tcp://10.0.0.1:7400",
        "QUORATE_ENDPOINTS": "a:1",
        "QUORATE_PEER_SERVICE_HOST": "10.0.0.1",
    }
    assert load(tmp_path, FULL, invented) == load(tmp_path, FULL)


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("", "name", "is missing"),
        ("name = 1", "name", "Expected `str`, got `int`"),
        ('name = ""', "name", "not a usable name"),
        ('name = "../n1"', "name", "not a usable name"),
        ('name = "n"\nnmae = "x"', "nmae", "no such key"),
        ('name = "n"\nclient = 1', "client", "Expected `object`"),
        ('name = "n"\n[clinet]', "clinet", "no such key"),
        ('name = "n"\n[client]\nlisen = "x"', "client.lisen", "no such key"),
        ('name = "n"\n[client]\nlisten = 7400', "client.listen", "Expected `str`"),
        ('name = "n"\n[client]\nlisten = "localhost"', "client.listen", "host:port"),
        ('name = "n"\n[client]\nlisten = ":7400"', "client.listen", "not a host"),
        ('name = "n"\n[client]\nlisten = "::1:7400"', "client.listen", "brackets"),
        ('name = "n"\n[client]\nlisten = "a:70000"', "client.listen", "not a port"),
        ('name = "n"\n[client]\nadvertise = "a:0"', "client.advertise", "dial"),
        ('name = "n"\n[client]\ncert = "c"', "client.key", "cert needs client.key"),
        ('name = "n"\n[client]\nkey = "k"', "client.cert", "key needs client.cert"),
        ('name = "n"\n[client]\nca = "a"', "client.cert", "ca needs client.cert"),
        ('name = "n"\n[client]\norigins = ["*"]', "client.origins", "not an origin"),
        ('name = "n"\n[client]\norigins = "x"', "client.origins", "Expected `array`"),
        ('name = "n"\n[peer]\nlisten = "0.0.0.0:1"', "peer.advertise", "needed"),
        ('name = "n"\n[peer]\ncert = ""', "peer.cert", "not a path"),
        ('name = "n"\ndata_dir = "a\\u0000"', "data_dir", "not a path"),
        ('name = "n"\n[cluster]\nvoters = {a = "a:1"}', "cluster.voters", "not among"),
        (
            'name = "n"\n[cluster]\nvoters = {n = "a"}',
            "cluster.voters",
            "n: 'a' is not",
        ),
        ('name = "n"\n[cluster]\nvoters = {n = "a:0"}', "cluster.voters", "dial"),
        (
            'name = "n"\n[cluster]\nvoters = {n = "a:1", m = "a:1"}',
            "cluster.voters",
            "same address",
        ),
        ('name = "n"\n[limits]\nkey_bytes_max = 0', "limits.key_bytes_max", "from 1"),
        (
            'name = "n"\n[limits]\nkey_bytes_max = 4097',
            "limits.key_bytes_max",
            "to 4096",
        ),
        (
            'name = "n"\n[limits]\nhistory_revisions = -1',
            "limits.history_revisions",
            "from 0 to 9223372036854775808",
        ),
        (
            'name = "n"\n[limits]\nhistory_seconds = 31536001',
            "limits.history_seconds",
            "from 0 to 31536000",
        ),
        (
            'name = "n"\n[limits]\nconnections_max = true',
            "limits.connections_max",
            "Expected `int`",
        ),
        (
            'name = "n"\n[limits]\nrequest_bytes_max = 4194304',
            "limits.request_bytes_max",
            "one value of the largest size",
        ),
        (
            'name = "n"\n[storage]\ncompression = ["lz4"]',
            "storage.compression[0]",
            "Invalid enum value 'lz4'",
        ),
        (
            'name = "n"\n[storage]\ncompression = []',
            "storage.compression",
            "0 tiers are not from 1 to 16",
        ),
        ('name = "n"\n[log]\nlevel = "loud"', "log.level", "loud"),
        ('name = "n"\nname = "m"', "", "not TOML"),
        ("name = ", "", "not TOML"),
        ("name = " + "[" * 10_000, "", "not TOML"),
        ("name = " + "9" * 10_000, "", "not TOML"),
    ],
)
def test_an_error_names_file_key_and_reason(
    tmp_path: Path, text: str, key: str, reason: str
) -> None:
    error = refused(tmp_path, text)
    assert error.source == str(tmp_path / "quorate.toml")
    assert error.key == key
    assert reason in error.reason
    assert str(error).startswith(str(tmp_path / "quorate.toml") + ": ")


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("QUORATE_NAME", "a b", "name"),
        ("QUORATE_CLIENT_LISTEN", "nowhere", "client.listen"),
        ("QUORATE_CLIENT_CERT", "c\0", "client.cert"),
        ("QUORATE_LIMITS_CONNECTIONS_MAX", "-1", "limits.connections_max"),
        ("QUORATE_LIMITS_CONNECTIONS_MAX", "0", "limits.connections_max"),
        ("QUORATE_LIMITS_CONNECTIONS_MAX", "9" * 99, "limits.connections_max"),
        ("QUORATE_CLUSTER_VOTERS", "n1", "cluster.voters"),
        ("QUORATE_CLUSTER_VOTERS", "n1=a:1,n1=b:2", "cluster.voters"),
        ("QUORATE_STORAGE_COMPRESSION", "", "storage.compression"),
        ("QUORATE_STORAGE_COMPRESSION", ",".join(["zstd"] * 17), "storage.compression"),
        ("QUORATE_LOG_LEVEL", "loud", "log.level"),
    ],
)
def test_an_error_in_the_environment_names_the_variable(
    tmp_path: Path, variable: str, value: str, key: str
) -> None:
    error = refused(tmp_path, 'name = "n1"', {variable: value})
    assert (error.source, error.key) == (variable, key)


def test_a_missing_unreadable_or_endless_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml", {})
    (tmp_path / "quorate.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "quorate.toml", {})
    (tmp_path / "quorate.toml").write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path / "quorate.toml", {})
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path, {})


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "n1.lan:1"])
def test_the_client_port_is_not_opened_to_the_network_without_saying_so(
    tmp_path: Path, listen: str
) -> None:
    text = f'name = "n"\n[client]\nlisten = "{listen}"\nadvertise = "n1.lan:1"\n'
    error = refused(tmp_path, text)
    assert error.key == "client.listen"
    assert "insecure_listen_without_tls" in error.reason
    load(tmp_path, text + "insecure_listen_without_tls = true")
    secured = load(tmp_path, text + 'cert = "c"\nkey = "k"')
    assert secured.client_url == "https://n1.lan:1"


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.8.7:0", "[::1]:1"])
def test_the_client_port_may_listen_on_loopback(tmp_path: Path, listen: str) -> None:
    load(tmp_path, f'name = "n"\n[client]\nlisten = "{listen}"')


def test_more_voters_than_a_cluster_may_have_are_refused(tmp_path: Path) -> None:
    voters = ", ".join(f'n{i} = "a:{i}"' for i in range(1, 34))
    text = f'name = "n1"\n[cluster]\nvoters = {{ {voters} }}'
    assert "more than 32" in refused(tmp_path, text).reason


@pytest.mark.parametrize("size", [1, 4096, 1 << 20, 4 << 20])
def test_limits_that_are_accepted_are_good_for_the_wire(size: int) -> None:
    for request in (2 << 20, 8 << 20, 32 << 20):
        limits = Limits(
            key_bytes_max=min(size, 4096),
            value_bytes_max=size,
            request_bytes_max=request,
        )
        try:
            check_config(NodeConfig(name="n", limits=limits))
        except ConfigError:
            assert request < size + 4096 + 64
            continue
        WireLimits(
            key_bytes_max=limits.key_bytes_max,
            value_bytes_max=limits.value_bytes_max,
            request_bytes_max=limits.request_bytes_max,
        )


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
paths = texts.filter(bool)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@given(
    name=names,
    data_dir=paths,
    cert=paths,
    voters=st.dictionaries(names, st.integers(1, 65535), max_size=5),
    origins=st.lists(st.sampled_from(["https://a", "http://b:1"])),
    connections=st.integers(1, 1000),
    insecure=st.booleans(),
)
def test_what_is_written_as_toml_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    data_dir: str,
    cert: str,
    voters: dict[str, int],
    origins: list[str],
    connections: int,
    insecure: bool,
) -> None:
    addresses = {voter: f"{voter}:{port}" for voter, port in voters.items()}
    if addresses:
        addresses[name] = "127.0.0.1:1"
    config = NodeConfig(
        name=name,
        data_dir="/" + data_dir,
        client=ClientPort(origins=tuple(origins), insecure_listen_without_tls=insecure),
        peer=PeerPort(cert="/" + cert, key="/k", ca="/a"),
        cluster=Cluster(voters=addresses),
        limits=Limits(connections_max=connections),
        log=Log(level="warning"),
    )
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(to_toml(config), newline="\n")
    # Paths come back normalised (`//a/.` is `/a`), and are the same otherwise.
    expected = msgspec.structs.replace(
        config,
        data_dir=str(Path(config.data_dir)),
        peer=msgspec.structs.replace(config.peer, cert=str(Path(config.peer.cert))),
    )
    assert load_config(path, {}) == expected


@given(st.text())
def test_garbage_is_a_configuration_error_and_nothing_worse(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load_config(path, {})


@given(st.text() | st.from_regex(r"[\[\]a-f0-9:.]{1,20}:[0-9]{1,6}", fullmatch=True))
def test_an_address_reads_back_or_is_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
    assert 0 <= address.port < 65536


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("https://a.example", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]", True),
        ("null", False),
        ("*", False),
        ("https://", False),
        ("https://a/", False),
        ("https://A", False),
        ("https://a:0", False),
        ("https://a:x", False),
        ("https://u@a", False),
        ("https://a?b", False),
        ("https://a\n", False),
        ("ftp://a", False),
        ("http://[::1", False),
    ],
)
def test_an_origin_is_what_a_browser_sends(text: str, good: bool) -> None:
    assert is_origin(text) is good


def test_names_are_short_and_plain() -> None:
    assert is_name("n1")
    assert is_name("N.1_a-b")
    assert is_name("x" * 63)
    assert not any(map(is_name, ["", "x" * 64, ".a", "-a", "a/b", "a\n", "é", "a\0"]))
