"""Which pages and which names a node answers to."""

import pytest
from quorate.node.api.errors import Problem
from quorate.node.api.origins import OriginRule

LOOPBACK = OriginRule(
    "127.0.0.1", 7400, "http://kv.example.net:7400", ("https://UI.example.com:443/",)
)
OPEN = OriginRule("0.0.0.0", 7400, None, ())


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:7400",
        "http://localhost:7400",
        "http://[::1]:7400",
        "HTTP://LOCALHOST:7400",
        "http://kv.example.net:7400",
        "https://ui.example.com",
    ],
)
def test_the_node_itself_and_configured_origins_are_welcome(origin: str) -> None:
    LOOPBACK.check("127.0.0.1:7400", origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1:7400",
        "http://127.0.0.1",
        "http://127.0.0.1:7401",
        "http://127.0.0.1:7400.evil.example",
        "http://evil.example/http://127.0.0.1:7400",
        "null",
        "",
        "file://",
    ],
)
def test_every_other_origin_is_forbidden(origin: str) -> None:
    for rule in (LOOPBACK, OPEN):
        with pytest.raises(Problem) as refusal:
            rule.check("127.0.0.1:7400", origin)
        assert refusal.value.status == 403


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:7400",
        "127.0.0.1",
        "localhost:7400",
        "n1",
        "node.localhost:1",
        "[::1]:7400",
        "[fe80::1]",
        "192.168.0.7",
        "KV.example.net:7400",
        "ui.example.com",
        "",
    ],
)
def test_a_loopback_node_answers_to_names_of_this_machine(host: str) -> None:
    LOOPBACK.check(host, None)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7400", "127.0.0.1.evil.example", "evil.example."],
)
def test_a_loopback_node_does_not_answer_to_a_rebound_name(host: str) -> None:
    with pytest.raises(Problem) as refusal:
        LOOPBACK.check(host, None)
    assert refusal.value.status == 403


def test_a_node_on_another_address_answers_to_every_name() -> None:
    OPEN.check("kv.example.org", None)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "[",
            "[::1",
            "]x[",
            "[::1]x",
            "::1",
            "[n1]",
            "[fe80::1%]",
            "n1:port",
            "n1:1:1",
        ),
        *(
            "a b",
            "n1, n2",
            "n1/path",
            "n1?x",
            "n1#x",
            "n1\\x",
            "me@n1",
            "%zz",
            "n\x7f1",
        ),
        *("n\u00f6", "\udcff", '"n1"', "<n1>"),
    ],
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """RFC 9112, 3.2: whatever a node listens on."""
    for rule in (LOOPBACK, OPEN):
        with pytest.raises(Problem) as refusal:
            rule.check(host, None)
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    "host", ["", "n1:", "a_b", "[fe80::1%25eth0]:1", "n%31", "x-1."]
)
def test_an_unusual_host_is_one_all_the_same(host: str) -> None:
    LOOPBACK.check(host, None)
