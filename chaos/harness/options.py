"""What a run is told to do."""

from pathlib import Path
from typing import Final

import msgspec

from .faults import (
    DOOR_KINDS,
    DRIFT_MAX,
    FAULTS,
    LINK_KINDS,
    MEMBER_KINDS,
    Kind,
    usable,
)
from .workloads import Mix, format_mix

# Of those that vote and those that do not, so many more than at first at most.
SPARES: Final = 4


class HarnessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A run's arguments; at least one of `rounds` and `duration_s` is given.

    With both, whichever is over first ends the faults. `command` is what stands before
    `node --dir DIR` when a node is started; None for the ordinary one. So many kinds of
    fault strike `at_once` in a round. `replicas` do not vote. `load` has workloads
    beside the writers, and how many operations a second each has. Writers and readers
    rest for `rest_s` after each operation, and probers send as seldom. `directory` and
    `report` are temporary folders when None, kept after a violation.
    """

    seed: int
    faults: tuple[str, ...] = ("kill",)
    nodes: int = 3
    replicas: int = 0
    rounds: int | None = None
    duration_s: float | None = None
    at_once: int = 1
    writers: int = 64
    rest_s: float = 0.0
    value_bytes: int = 256
    load: Mix = {}
    power_loss: bool = False
    mutant: str | None = None
    command: tuple[str, ...] | None = None
    directory: Path | None = None
    report: Path | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that `faults` names and that a cluster of this size can have."""
        kinds: list[Kind] = [kind for name in self.faults for kind in FAULTS[name]]
        return usable(kinds, self.nodes)

    @property
    def relays(self) -> bool:
        """Whether the links have to lead through relays."""
        return any(kind in LINK_KINDS for kind in self.kinds)

    @property
    def spares(self) -> int:
        """How many folders there are for members that come later."""
        return SPARES if any(kind in MEMBER_KINDS for kind in self.kinds) else 0

    @property
    def doors(self) -> bool:
        """Whether nodes need a door through which their disks are hurt."""
        return any(kind in DOOR_KINDS for kind in self.kinds)

    @property
    def drift(self) -> float:
        """By which share a node's clock may be wrong in this run."""
        return DRIFT_MAX if "drift" in self.kinds else 0.0

    def replay(self) -> str:
        """The command that starts the same run with the same seed."""
        words = ["quorate chaos run", f"--faults {','.join(self.faults)}"]
        words.append(f"--nodes {self.nodes}")
        if self.replicas:
            words.append(f"--replicas {self.replicas}")
        if self.rounds is not None:
            words.append(f"--rounds {self.rounds}")
        if self.duration_s is not None:
            words.append(f"--duration {self.duration_s:g}s")
        if self.at_once > 1:
            words.append(f"--at-once {self.at_once}")
        words.append(f"--writers {self.writers} --value-bytes {self.value_bytes}")
        if self.rest_s:
            words.append(f"--rest {self.rest_s:g}s")
        words.append(f"--load {format_mix(self.load)}")
        if self.power_loss:
            words.append("--power-loss")
        if self.mutant is not None:
            words.append(f"--mutant {self.mutant}")
        return " ".join([*words, f"--seed {self.seed}"])
