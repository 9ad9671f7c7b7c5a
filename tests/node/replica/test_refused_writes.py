"""What is said of commands that were committed, and did nothing."""

from quorate.wire import (
    DEFAULT_LIMITS,
    ErrorCode,
    OpenSession,
    Outcome,
    Place,
    Step,
    decode_error,
    decode_session_opened,
    encode_in_session,
    encode_put,
    encode_session_command,
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
    together = Together()
    message = refused(together, encode_put(b"k", b"v", expected=7))
    assert message == "there is no such key"
    number = together.ask(encode_put(b"k", b"v"))
    together.wait_for(lambda: together.answered(number))
    message = refused(together, encode_put(b"k", b"v", expected=0))
    assert message == "the key is at revision 2, not the expected one"


def test_what_is_about_no_key_is_not_refused_for_one() -> None:
    """Story: a step of a rotation that came too early was told so."""
    early = Rotate(Step.DROP, b"old", b"new")
    message = refused(Together(), encode_member_command(early))
    assert "key" not in message
    assert "not its turn" in message


def test_in_a_session_it_is_told_the_same() -> None:
    """Story: the Python client, which has one, was told of a key all the same."""
    together, session = Together(), b"s" * 16
    number = together.ask(encode_session_command(OpenSession(session)))
    together.wait_for(lambda: together.answered(number))
    opened = decode_session_opened(together.caller.replies[number][2])
    early = encode_member_command(Rotate(Step.DROP, b"old", b"new"))
    place = Place(session, opened.since, 1, 1)
    assert "not its turn" in refused(together, encode_in_session(place, early))
    place = Place(session, opened.since, 2, 1)
    put = encode_put(b"k", b"v", expected=7)
    assert "there is no such key" in refused(together, encode_in_session(place, put))
