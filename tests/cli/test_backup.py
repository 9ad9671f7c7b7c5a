"""backup save: what is asked of a node."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import Result
from quorate.node.api.targets import duration_ms, parse_query, split_target
from quorate.wire import DEFAULT_LIMITS

Run = Callable[..., Result]


class Asked(HTTPServer):
    """Reads what it is asked as a node does, and has no backup."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asking)
        self.timeouts_ms: list[int] = []

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Asking(BaseHTTPRequestHandler):
    """One connection to it."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Asked)
        target = split_target(self.path)
        assert target.path == "/v1/backup"
        (timeout,) = parse_query(target.query, frozenset(("timeout",))).values()
        self.server.timeouts_ms.append(
            duration_ms("timeout", timeout, 1, DEFAULT_LIMITS.timeout_ms_max)
        )
        self.send_error(429)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def asked() -> Iterator[Asked]:
    with Asked() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("timeout", "milliseconds"),
    [("5s", 5000), ("500ms", 500), ("1.5", 1500), ("10m", 600_000), ("0.1ms", 1)],
)
def test_a_node_understands_every_timeout(
    run: Run, asked: Asked, tmp_path: Path, timeout: str, milliseconds: int
) -> None:
    file = tmp_path / "backup"
    done = run(
        *("backup", "save", str(file)),
        *("--endpoints", asked.endpoint, "--timeout", timeout),
    )
    assert asked.timeouts_ms == [milliseconds], done.stderr
    assert done.exit_code == 5
    assert not file.exists()
