"""The seed that noticed each mutant, as last hunted; `--mutants` runs it again.

Law: data only. A change of the simulator moves what a seed does: then
`quorate simulate --mutants --fresh` finds new ones.
"""

from typing import Final

CATCHES: Final[dict[str, int]] = {}
