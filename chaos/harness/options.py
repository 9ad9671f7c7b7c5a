"""What a run is told to do."""

from pathlib import Path

import msgspec

from .faults import FAULTS, Kind


class HarnessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A run's arguments; at least one of `rounds` and `duration_s` is given.

    With both, whichever is over first ends the faults. `command` is what stands before
    `node --dir DIR` when a node is started; None for the ordinary one. `directory` and
    `report` are temporary folders when None, kept after a violation.
    """

    seed: int
    faults: tuple[str, ...] = ("kill",)
    nodes: int = 3
    rounds: int | None = None
    duration_s: float | None = None
    writers: int = 64
    value_bytes: int = 256
    power_loss: bool = False
    mutant: str | None = None
    command: tuple[str, ...] | None = None
    directory: Path | None = None
    report: Path | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of rounds that `faults` names, each once."""
        kinds: list[Kind] = [kind for name in self.faults for kind in FAULTS[name]]
        return tuple(dict.fromkeys(kinds))

    def replay(self) -> str:
        """The command that starts the same run with the same seed."""
        words = ["quorate chaos run", f"--faults {','.join(self.faults)}"]
        words.append(f"--nodes {self.nodes}")
        if self.rounds is not None:
            words.append(f"--rounds {self.rounds}")
        if self.duration_s is not None:
            words.append(f"--duration {self.duration_s:g}s")
        words.append(f"--writers {self.writers} --value-bytes {self.value_bytes}")
        if self.power_loss:
            words.append("--power-loss")
        if self.mutant is not None:
            words.append(f"--mutant {self.mutant}")
        return " ".join([*words, f"--seed {self.seed}"])
