"""What holds of every test of the client port."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An exception in a callback of the loop is only logged: here it fails the test."""
    yield
    for record in caplog.get_records("call"):
        assert record.name != "asyncio" or record.levelno < logging.ERROR, record
