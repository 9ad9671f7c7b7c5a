"""Lines from pipes and files."""

import os
from pathlib import Path

from quorate.chaos.prompt.commands import LINE_CHARACTERS_MAX
from quorate.chaos.prompt.keyboard import LINES_AHEAD, Keyboard


async def lines_of(keyboard: Keyboard) -> list[str]:
    keyboard.start()
    found: list[str] = []
    while (line := await keyboard.next()) is not None:
        found.append(line)
    return found


async def test_a_pipe_is_read_line_by_line_to_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"kill 2\n\nleader\nhe")
    os.write(writing, b"al")
    os.close(writing)
    assert await lines_of(Keyboard(reading)) == ["kill 2", "", "leader", "heal"]
    os.close(reading)


async def test_a_file_is_read_too_however_many_lines_it_has(tmp_path: Path) -> None:
    path = tmp_path / "script"
    count = 50 * LINES_AHEAD
    path.write_text("".join(f"wait {n}s\n" for n in range(count)))
    with path.open() as file:
        found = await lines_of(Keyboard(file.fileno()))
    assert found == [f"wait {n}s" for n in range(count)]


async def test_of_a_line_without_an_end_no_more_is_kept_than_shows_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "script"
    path.write_bytes(b"\xff" * 1_000_000)
    with path.open("rb") as file:
        (line,) = await lines_of(Keyboard(file.fileno()))
    assert LINE_CHARACTERS_MAX < len(line) < 10 * LINE_CHARACTERS_MAX
