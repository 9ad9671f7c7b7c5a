"""What is said of commands that were committed, and did nothing."""

from quorate.wire import (
    DEFAULT_LIMITS,
    ErrorCode,
    Outcome,
    Step,
    decode_error,
    encode_put,
)
from quorate.wire.members import Rotate, encode_member_command

from .together import Together


def refused(together: Together, command: bytes) -> str:
    """The reason of what a precondition refused."""
    number = together.ask(command)
    together.wait_for(lambda: together.answered(number))
    error = decode_error(together.caller.replies[number][2], DEFAULT_LIMITS)
    assert error.code is ErrorCode.PRECONDITION_FAILED
    assert error.outcome is Outcome.NOT_APPLIED
    return error.message


def test_a_put_is_refused_for_the_revision_of_its_key() -> None:
    message = refused(Together(), encode_put(b"k", b"v", expected=7))
    assert message == "the key is not at the expected revision"


def test_what_is_about_no_key_is_not_refused_for_one() -> None:
    """Story: a step of a rotation that came too early was told so."""
    early = Rotate(Step.DROP, b"old", b"new")
    message = refused(Together(), encode_member_command(early))
    assert "key" not in message
    assert "not its turn" in message
