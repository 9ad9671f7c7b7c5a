"""What a mutant is: one named predicate of one rules module, and what stands for it.

Law: values; the mutants are in mutants and watch_mutants.
"""

from collections.abc import Callable
from types import ModuleType

import msgspec


class Mutant(msgspec.Struct, frozen=True):
    """`replacement` stands for `predicate` of `module`; `breaks` says what is lost.

    `members`: it is looked for where members come and go; all others where they don't.
    `world` is the one that has to notice; None: clusters under seeds.
    """

    name: str
    module: ModuleType
    predicate: str
    replacement: Callable[..., object]
    breaks: str
    members: bool = False
    world: Callable[[int], str] | None = None


def always(*_: object) -> bool:
    return True


def never(*_: object) -> bool:
    return False
