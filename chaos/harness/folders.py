"""Where a run keeps its nodes and its report, and what is left of it.

Law: what the user named is kept; what was temporary goes, unless it is evidence of a
violation, or of a bug of the harness. Data lies on a real disk where there is one:
memory has no syncs to measure.
"""

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .errors import SetupFailed

_MOUNTS = Path("/proc/self/mounts")
_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_REMOVED_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.05


class Folders:
    """The two folders of a run; both temporary where no other was named."""

    def __init__(self, nodes: Path | None, report: Path | None) -> None:
        """Raises SetupFailed, and has left nothing then."""
        if report is not None:
            # First: where that can't be, there is no temporary one to be removed.
            _make(report)
        self._temporary: Path | None = None
        if nodes is None or report is None:
            self._temporary = Path(
                tempfile.mkdtemp(prefix="quorate-chaos-", dir=_temporary_root())
            )
        self.nodes = nodes or self._root / "nodes"
        self.report = report or self._root / "report"
        self._kept = False
        self.report.mkdir(exist_ok=True)

    @property
    def _root(self) -> Path:
        assert self._temporary is not None
        return self._temporary

    @property
    def in_memory(self) -> bool:
        """Whether the nodes' data lies on a file system without a disk."""
        return on_memory(self.nodes)

    @property
    def temporary(self) -> Path | None:
        """What goes with the run, whatever becomes of it; None if all was named."""
        return self._temporary

    def write(self, name: str, value: object) -> None:
        """A JSON file of the report, for people as well."""
        data = msgspec.json.format(msgspec.json.encode(value), indent=2)
        (self.report / name).write_bytes(data + b"\n")

    def collect_logs(self, logs: dict[str, Path]) -> None:
        """Copy the nodes' logs into the report."""
        target = self.report / "logs"
        target.mkdir(exist_ok=True)
        for name, path in logs.items():
            if path.is_file():
                shutil.copyfile(path, target / f"{name}.log")

    def remaining(self, *, keep: bool) -> str | None:
        """What there is to look at after `close`: the report, or all evidence."""
        if keep and self._temporary is not None:
            return str(self._temporary)
        return None if self._is_temporary(self.report) else str(self.report)

    @contextmanager
    def kept_after_a_bug(self) -> Generator[None]:
        """What nobody expected leaves all that was temporary, and says where it is."""
        try:
            yield
        except Exception as error:
            self._kept = True
            error.add_note(f"what is left of the run: {self.remaining(keep=True)}")
            raise

    def close(self, *, keep: bool) -> None:
        """Remove what was temporary, or keep it; safe to repeat."""
        if self._temporary is not None and not keep and not self._kept:
            remove_tree(self._temporary, time.monotonic() + _REMOVED_SECONDS_MAX)
            self._temporary = None

    def _is_temporary(self, path: Path) -> bool:
        return self._temporary is not None and path.is_relative_to(self._temporary)


def remove_tree(path: Path, deadline_s: float) -> None:
    """Remove a folder in which a node's worker may still be writing its last file.

    Raises OSError when that can't be until then, on the monotonic clock.
    """
    while path.exists():
        shutil.rmtree(path, ignore_errors=time.monotonic() < deadline_s)
        if path.exists():
            time.sleep(_POLL_SECONDS)


def _make(report: Path) -> None:
    try:
        report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupFailed(f"{report}: no report there: {error.strerror}") from error


def on_memory(path: Path) -> bool:
    """Whether `path` lies on a file system in memory; False where nobody can tell."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return False
    where = path.resolve()
    best = (0, "")
    for line in lines:
        _, mounted, kind, *_ = line.split()
        mount = Path(mounted.encode().decode("unicode_escape"))
        if where.is_relative_to(mount):
            # Of two mounts at one place the later one covers the earlier.
            best = max(best, (len(mount.parts), kind), key=lambda found: found[0])
            if len(mount.parts) == best[0]:
                best = (best[0], kind)
    return best[1] in _MEMORY


def _temporary_root() -> Path:
    usual, other = Path(tempfile.gettempdir()), Path("/var/tmp")
    return other if on_memory(usual) and not on_memory(other) else usual
