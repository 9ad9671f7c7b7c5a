"""Local health: how far this member distrusts its own judgement (Lifeguard).

Law: a number that rises with every sign that the fault is ours, and falls with each
probe that went well. It stretches our probes; it never hastens anything.
"""

from .limits import LAG_TICKS, STRAIN_MAX


class Health:
    """`strain` is 0 when all is well."""

    def __init__(self) -> None:
        self.strain = 0

    def eased(self) -> None:
        """A probe was answered."""
        self.strain = max(0, self.strain - 1)

    def strained(self, much: int = 1) -> None:
        """Answers are missing that others should have given, or we were accused."""
        self.strain = min(STRAIN_MAX, self.strain + max(0, much))

    def lagged(self, lag: int) -> None:
        """The event loop stood still for so many ticks."""
        if lag >= LAG_TICKS:
            self.strained(lag // LAG_TICKS)

    def stretch(self, ticks: int) -> int:
        """How long something takes that takes so long when all is well."""
        return ticks * (self.strain + 1)
