"""The CA's folder changes hands: again and again, from wherever it was left."""

from pathlib import Path

import pytest
from quorate.node.authority_folder import take_over
from quorate.node.certificates import create_authority, load_authority
from quorate.node.signing import NEXT_FOLDER, root_in

CLUSTER = 0xC1


class _Stopped(BaseException):
    """The machine stops here."""


def founded(folder: Path) -> tuple[bytes, bytes]:
    """A folder with a CA and the one that is to come; their certificates."""
    create_authority(folder, cluster_id=CLUSTER)
    create_authority(folder / NEXT_FOLDER, cluster_id=CLUSTER, successor=True)
    old, new = root_in(folder), root_in(folder / NEXT_FOLDER)
    assert old is not None
    assert new is not None
    return old, new


@pytest.mark.parametrize("stop", range(8))
def test_the_next_ca_takes_over_wherever_it_was_interrupted(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ca"
    old, new = founded(folder)
    left, replace = [stop], Path.replace

    def counted(path: Path, target: Path) -> Path:
        if left[0] == 0:
            raise _Stopped
        left[0] -= 1
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", counted)
    try:
        take_over(folder, new)
    except _Stopped:
        assert stop < 4
    monkeypatch.undo()
    for _ in range(2):
        take_over(folder, new)
        assert root_in(folder) == new
        # Each key is with its own certificate.
        assert load_authority(folder).cluster_id == CLUSTER
        (retired,) = folder.glob("retired-*")
        assert root_in(retired) == old
        assert load_authority(retired).cluster_id == CLUSTER
        assert not (folder / NEXT_FOLDER).exists()


def test_a_key_whose_certificate_is_damaged_is_retired_and_not_lost(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "ca"
    _, new = founded(folder)
    key = (folder / "ca.key").read_bytes()
    (folder / "ca.crt").write_bytes(b"")
    take_over(folder, new)
    assert root_in(folder) == new
    assert load_authority(folder).cluster_id == CLUSTER
    (retired,) = folder.glob("retired-*")
    assert (retired / "ca.key").read_bytes() == key
