"""The sink of a write that a peer has handed on: its reply goes back as a message."""

from .effects import Reply
from .messages import ForwardReply


class Forwarder:
    """Stands for one peer among those who wait for replies."""

    def __init__(self, member: int) -> None:
        self.member = member

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Never called: the replica takes such replies out before its shell does."""
        raise AssertionError("replies to peers are messages")

    def message(self, sender: int, reply: Reply) -> ForwardReply:
        return ForwardReply(
            sender, self.member, reply.request_id, reply.status, reply.body
        )
