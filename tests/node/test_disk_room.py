"""A disk that was full is believed to have room once it has had some for a while."""

from quorate.node.disk_room import DiskRoom


def told(room: DiskRoom, full: list[bool], now_s: float = 0.0) -> str:
    """What is told at each half second."""
    looks = [room.look(each, now_s + n / 2) for n, each in enumerate(full)]
    return "".join("x" if each else "." for each in looks)


def test_room_is_believed_after_a_second() -> None:
    assert told(DiskRoom(), [False, True, False, False, False, False]) == ".xxx.."


def test_what_fails_and_is_tried_again_is_full_all_the_time() -> None:
    """Story: the log said that it is full, and is not, twice a second."""
    assert told(DiskRoom(), [True, False, False] * 10) == "x" * 30


def test_who_was_believed_too_early_waits_twice_as_long() -> None:
    room, now_s, waited = DiskRoom(), 0.0, list[int]()
    for _ in range(6):
        said = told(room, [True] + [False] * 20, now_s)
        waited.append(said.count("x") - 1)
        now_s += 10.5
    # Half seconds, from the first one on that had room.
    assert waited == [2, 4, 8, 16, 16, 16]
    said = told(room, [True] + [False] * 20, now_s + 60)
    assert said.count("x") - 1 == 2
