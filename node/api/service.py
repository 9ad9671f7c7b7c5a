"""The border between the client port and the node behind it.

Native connections and HTTP handlers put the same requests (kinds and bodies of
docs/formats.md section 1) through one door and get the same replies back, so that there
is one meaning of each operation.
"""

from typing import Protocol

from ..statistics import Statistics


class Sink(Protocol):
    """Who waits for replies: a native connection, or one HTTP request's future."""

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Take the reply to `request_id`; called once for each submitted request.

        May be called before `submit` returns. Must not raise, also when the one who
        asked has gone.
        """
        ...


class Service(Protocol):
    """What a node offers its client port."""

    def submit(
        self, sink: Sink, request_id: int, kind: int, body: bytes, timeout_ms: int
    ) -> None:
        """Start one request; its reply goes to `sink`, at the latest at its timeout.

        `kind`, `body` and the reply's body are those of docs/formats.md section 1;
        `timeout_ms` 0 is the default. A malformed body is answered, never raised.
        """
        ...

    def statistics(self) -> Statistics:
        """Numbers of this moment; cheap enough for every scrape."""
        ...

    def endpoints(self) -> tuple[str, ...]:
        """Client URLs of the cluster that are known here, this node's own first."""
        ...

    def ready(self) -> str | None:
        """None when this node serves requests, else why it does not."""
        ...
