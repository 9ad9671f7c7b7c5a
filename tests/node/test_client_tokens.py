"""The file of the client port's tokens: who may read it, and what may be in it."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
from quorate.node.client_tokens import (
    TOKENS_MAX,
    TokenFileError,
    read_token_digests,
)

TOKEN = "canary" + "0123456789abcdef" * 2
OTHER = "Y2FuYXJ5+/Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2E="


def write(folder: Path, text: str | bytes, mode: int = 0o600) -> str:
    path = folder / "tokens"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("text", ["{}\n{}\n", "\n{}\r\n\n  {}  ", "{} {}"])
def test_only_the_digests_of_all_tokens_are_kept(tmp_path: Path, text: str) -> None:
    digests = read_token_digests(write(tmp_path, text.format(TOKEN, OTHER)))
    assert digests == tuple(sha256(t.encode()).digest() for t in (TOKEN, OTHER))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_the_owner_and_at_most_the_group_may_read_it(tmp_path: Path, mode: int) -> None:
    assert read_token_digests(write(tmp_path, TOKEN, mode))


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o620, 0o602, 0o601])
def test_a_file_that_others_can_read_or_change_is_refused(
    tmp_path: Path, mode: int
) -> None:
    path = write(tmp_path, TOKEN, mode)
    with pytest.raises(TokenFileError, match=f"{path}: has mode {mode:04o}"):
        read_token_digests(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "holds no token"),
        (b"\n \n", "holds no token"),
        (b"canary" + b"x" * 20, "token 1 has fewer than 32 characters"),
        (TOKEN.encode() + b"\ncanary\xff" + b"x" * 40, "token 2 is not of letters"),
        (b"canary,canary,canary,canary,canary,canary", "token 1 is not of letters"),
        (b"canary" + b"x" * 1020, "token 1 is not of letters"),
        (b"\n".join([TOKEN.encode()] * (TOKENS_MAX + 1)), "holds 17 tokens, over 16"),
        (b"canary" * 4000, "larger than"),
    ],
)
def test_what_is_no_token_is_refused_and_not_repeated(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    with pytest.raises(TokenFileError, match=reason) as caught:
        read_token_digests(write(tmp_path, text))
    assert "canary" not in str(caught.value).removeprefix(str(tmp_path))


def test_what_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        read_token_digests(str(tmp_path / "absent"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(TokenFileError, match="not a file"):
        read_token_digests(str(pipe))
    with pytest.raises(TokenFileError):
        read_token_digests(str(tmp_path))
