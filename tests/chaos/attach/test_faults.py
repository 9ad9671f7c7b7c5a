"""Files of faults, and the plans that are dealt from them."""

from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.chaos.attach import NamedFault, draw_plan, load_faults
from quorate.chaos.attach.errors import FaultFileError
from quorate.chaos.attach.faults import CALM_SECONDS, FILE_BYTES_MAX

GOOD = """
[fault.kill-n2]
begin = "ssh n2 pkill -9 quorate"
end = "ssh n2 systemctl start quorate"
hold = "500ms-5s"
timeout = "1m"
often = 2
nodes = ["n2"]

[fault.reload]
begin = "ssh n1 systemctl reload quorate"
"""


def test_a_file_says_what_begins_and_ends_each_fault(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(GOOD)
    kill, reload = load_faults(path).faults
    assert kill == NamedFault(
        "kill-n2",
        "ssh n2 pkill -9 quorate",
        "ssh n2 systemctl start quorate",
        (0.5, 5.0),
        60.0,
        2,
        ("n2",),
    )
    assert (reload.end, reload.hold_s, reload.timeout_s) == ("", (3.0, 3.0), 30.0)


BAD = {
    "": "fault",
    "[fault]": "1 to 100 of them",
    "[faults.a]\nbegin = 'x'": "faults",
    "[fault.a]\nend = 'x'": "begin",
    "[fault.a]\nbegin = ' '": "a command that begins it",
    "[fault.a]\nbegin = 'x'\nheal = 'y'": "heal",
    "[fault.a]\nbegin = 3": "begin",
    "[fault.A]\nbegin = 'x'": "a name has",
    "[fault.'<b>']\nbegin = 'x'": "a name has",
    "[fault.a]\nbegin = 'x'\noften = 0": "often",
    "[fault.a]\nbegin = 'x'\nhold = '5'": "is no time",
    "[fault.a]\nbegin = 'x'\nhold = '5s-1s'": "is no time",
    "[fault.a]\nbegin = 'x'\nhold = '1s-2s-3s'": "is no time",
    "[fault.a]\nbegin = 'x'\nhold = '11m'": "at most 600s",
    "[fault.a]\nbegin = 'x'\ntimeout = '0s'": "over 0s",
    "[fault.a\nbegin = 'x'": "",
    "#" * (FILE_BYTES_MAX + 1): "larger than",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:40])
def test_what_is_wrong_with_a_file_is_said_with_its_name(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(FaultFileError) as caught:
        load_faults(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert BAD[text] in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    with pytest.raises(FaultFileError):
        load_faults(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FaultFileError):
        load_faults(path)


@given(
    st.integers(),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1),
)
def test_each_deck_has_each_fault_as_often_as_it_says(
    seed: int, often: dict[str, int]
) -> None:
    faults = [
        NamedFault(name, "x", "", (1.0, 2.0), 30.0, times, ())
        for name, times in often.items()
    ]
    deck = sum(often.values())
    rounds = list(islice(draw_plan(Random(seed), faults), 2 * deck))
    for half in (rounds[:deck], rounds[deck:]):
        assert {n: sum(r.fault == n for r in half) for n in often} == often
    assert [r.number for r in rounds] == list(range(1, 2 * deck + 1))
    for one in rounds:
        assert 1.0 <= one.hold_s <= 2.0
        assert CALM_SECONDS[0] <= one.calm_s <= CALM_SECONDS[1]
    # The same seed, the same plan, however much of it is taken.
    assert list(islice(draw_plan(Random(seed), faults), deck)) == rounds[:deck]
