"""What an operator of the harness does when a command does not come to an end."""

from quorate.chaos.harness.members import run_quorate


async def test_a_command_that_takes_too_long_has_failed_and_is_ended() -> None:
    """A soak broke off with a traceback: a backup took a minute on a busy machine."""
    code, out, said = await run_quorate(0.01, "status", "--endpoints", "127.0.0.1:1")
    assert (code, out) == (-1, b"")
    assert said == "`quorate status --endpoints 127.0.0.1:1` took more than 0.01 s"
    code, out, said = await run_quorate(60.0, "--help")
    assert (code, said) == (0, "")
    assert b"Usage: quorate" in out
