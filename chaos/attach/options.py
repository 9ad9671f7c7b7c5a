"""What a run against somebody's cluster is told to do."""

import shlex

import msgspec

from ..harness.workloads import Mix, format_mix
from .faults import FaultFile


class AttachOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A run's arguments; without faults there are no rounds, and the load runs so long.

    With both `rounds` and `duration_s`, whichever is over first ends the faults. After
    a fault has ended a write must be acknowledged within `recover_s`. Who does not
    answer within `patience_s` at the beginning is not there. How clients show
    who they are is none of these: it is nobody's business in a report.
    """

    seed: int
    endpoints: tuple[str, ...]
    faults: FaultFile = FaultFile()
    rounds: int | None = None
    duration_s: float | None = None
    recover_s: float = 30.0
    patience_s: float = 5.0
    writers: int = 16
    value_bytes: int = 256
    load: Mix = {}

    def replay(self) -> str:
        """The command that starts the same run with the same seed."""
        words = ["quorate chaos attach", shlex.quote(",".join(self.endpoints))]
        if self.faults.path:
            words.append(f"--faults {shlex.quote(self.faults.path)}")
        if self.rounds is not None:
            words.append(f"--rounds {self.rounds}")
        if self.duration_s is not None:
            words.append(f"--duration {self.duration_s:g}s")
        words.append(f"--recover {self.recover_s:g}s --writers {self.writers}")
        words.append(f"--value-bytes {self.value_bytes}")
        words.append(f"--load {format_mix(self.load)}")
        return " ".join([*words, f"--seed {self.seed}"])
