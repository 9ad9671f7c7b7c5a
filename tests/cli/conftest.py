"""What tests of the command line share: the command, and a cluster to talk to."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from quorate.cli import group
from quorate.cli.settings import Settings

from .fake_client import FakeClient


@pytest.fixture
def run() -> Callable[..., Result]:
    """Call `quorate` with arguments in this process; `stdin` is what it reads."""

    def call(*arguments: str, stdin: bytes = b"") -> Result:
        runner = CliRunner()
        result = runner.invoke(group, list(arguments), input=stdin)
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return result

    return call


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The cluster that every command finds."""
    fake = FakeClient()

    def connect(settings: Settings) -> FakeClient:
        fake.settings = settings
        return fake

    monkeypatch.setattr(Settings, "connect", connect)
    return fake
