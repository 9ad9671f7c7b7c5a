"""What is asked, and how one try of it ends when another one may follow.

Law: values alone. Who tries, how often and where is decided in client/calls.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from ..wire import RequestKind
from .errors import QuorateError
from .links import Link

T = TypeVar("T")


class TryNext(Exception):
    """Nothing has happened; another node, or later, may do better.

    `verdict` is what the call ends in when the deadline leaves no other try; a `vague`
    one (the time was over) does not take the place of one that explains something.
    """

    def __init__(
        self,
        verdict: Callable[[str], QuorateError],
        reason: str,
        *,
        hopeless: bool = False,
        busy: bool = False,
        vague: bool = False,
    ) -> None:
        super().__init__(reason)
        self.verdict: Callable[[str], QuorateError] = verdict
        self.reason: str = reason
        self.hopeless: bool = hopeless
        self.busy: bool = busy
        self.vague: bool = vague


class Call(msgspec.Struct, Generic[T]):
    """What is asked, until when on the loop's clock, and of whom, if not of anybody.

    `write`: it may have been done when there was no answer; `once`: it may be sent
    again all the same. `near`: any node may answer it from what it has. `maybe`: a try
    of it may have been carried out.
    """

    kind: RequestKind
    body: bytes
    deadline: float
    decode: Callable[[bytes], T]
    write: bool
    only: Link | None = None
    once: bool = False
    near: bool = False
    maybe: bool = False
