"""What a node needs of the world around it.

Law: a protocol; run.Cluster is the one that there is.
"""

from typing import TYPE_CHECKING, Protocol

from ...raft import InstallSnapshot
from .snapshots import Answer

if TYPE_CHECKING:
    from .node import Node


class Cluster(Protocol):
    """What a node needs of the world around it."""

    def went_down(self, node: "Node", polite: bool) -> None:
        """Peers and clients see their connections end."""
        ...

    def may_tear(self) -> bool:
        """Does a power loss tear what was being written?"""
        ...

    def starts(self, node: "Node") -> None:
        """A new process begins."""
        ...

    def deliver_snapshot(
        self, message: InstallSnapshot, data: bytes, answer: "Answer"
    ) -> None:
        """A transfer has arrived; the receiver answers whether it has it."""
        ...
