"""What a call can end in, other than well.

    QuorateError
    ├── Rejected               it did not happen: the cluster or this client refused it
    │   ├── InvalidRequest     malformed or impossible; a ValueError, too
    │   ├── TooLarge           a key, value or request is over its limit, or it touches
    │   │                      too many keys
    │   ├── PreconditionFailed the key is at another revision; has revision
    │   ├── Fenced             the lock of the token that it carried is lost
    │   ├── Held               somebody else holds the lock, and the wait is over
    │   ├── Compacted          that revision was let go; has revision, the oldest kept
    │   ├── FutureRevision     there is no such revision yet; has revision, the newest
    │   ├── LeaseNotFound      there is no such lease: it ended, or never was
    │   ├── LeaseExists        there is a lease of that id already
    │   ├── MemberNotFound     there is no such member
    │   ├── MemberExists       another member has that id or name
    │   ├── TooManyMembers     the cluster has no room for another one
    │   ├── LastVoter          somebody has to vote, and nobody else does
    │   ├── QuorumAtRisk       the voters that are left would have no majority
    │   ├── TokenRefused       there is no such token, or none can be made
    │   ├── SessionNotFound    the session is over; the client opens another one
    │   ├── Forbidden          refused by origin or rights
    │   ├── Unauthenticated    the node wants a token or a certificate, and ours, or
    │   │                      none, will not do
    │   ├── Unsupported        the node knows of it, but does not serve it
    │   ├── TooStale           no node that was asked is as fresh as was asked for
    │   ├── NoSpace            the disk is full; refused before it was proposed
    │   ├── TooBusy            this client has too many calls in flight
    │   └── ServerFault        a bug in the node; its log has it
    ├── Unknown                a write whose fate was lost: it may have happened
    ├── Unavailable            nobody there to ask: it did not happen
    │   ├── Overloaded         nodes were there, and had too much to do to the end
    │   ├── TlsFailed          nobody to ask by TLS: not trusted, or spoken by one only
    │   └── Closed             the client, or the watch, was closed
    └── DeadlineExceeded       a read that was asked, but not answered in time

Law: the class answers the only question a caller has, did it happen? Rejected and
Unavailable: no. Unknown: perhaps; asking again may do it twice. `retryable` says
whether the same call may do better later without that danger.
"""

from typing import ClassVar, Literal, Self


class QuorateError(Exception):
    """Root of everything the client raises on purpose."""

    retryable: ClassVar[bool] = False
    outcome: ClassVar[Literal["not_applied", "unknown"]] = "not_applied"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = reason


class Rejected(QuorateError):
    """Refused: it did not happen."""


class InvalidRequest(Rejected, ValueError):
    """The call itself makes no sense."""


class TooLarge(Rejected):
    """A key, value or request is over its limit, or it touches too many keys."""


class _AtRevision(Rejected):
    """Refused because of a revision; `revision` is the one that there is."""

    def __init__(self, reason: str, revision: int) -> None:
        super().__init__(reason)
        self.revision: int = revision

    def __reduce__(self) -> tuple[type[Self], tuple[str, int], dict[str, object]]:
        # Other processes get it, too; by itself an exception is made anew of its text.
        return type(self), (self.reason, self.revision), self.__dict__


class PreconditionFailed(_AtRevision):
    """The key is not at the expected revision but at `revision` (0: absent).

    Or a change of members or certificates does not fit what is there now.
    """


class Fenced(Rejected):
    """The lock of the token that it carried is lost: released, or its lease ended."""


class Held(Rejected):
    """Somebody else holds the lock, or leads, and the wait for it is over."""

    retryable = True


class Compacted(_AtRevision):
    """The revision asked for was compacted; `revision` is the oldest that is kept."""


class FutureRevision(_AtRevision):
    """The revision asked for is not there yet; `revision` is the newest."""


class LeaseNotFound(Rejected):
    """There is no such lease: it ended, was revoked, or never was."""


class LeaseExists(Rejected):
    """There is a lease of that id already."""


class MemberNotFound(Rejected):
    """There is no such member: it left, or never was."""


class MemberExists(Rejected):
    """Another member has this id or this name."""


class TooManyMembers(Rejected):
    """The cluster has as many members as it may have."""


class LastVoter(Rejected):
    """The last voter has to stay, and has nobody to lead in its place."""


class QuorumAtRisk(Rejected):
    """Too few of the others are heard; start them, or wait, and ask again."""

    retryable = True


class TokenRefused(Rejected):
    """There is no such token, or there are too many to make another one."""


class SessionNotFound(Rejected):
    """The session of a write is over; writes of a client never end in this."""


class Forbidden(Rejected):
    """Refused by origin or rights."""


class Unauthenticated(Rejected):
    """The node wants a token or a certificate, and ours, or none, will not do."""


class Unsupported(Rejected):
    """Known, but not served by this version of the node."""


class TooStale(Rejected):
    """No node that was asked is as fresh as was asked for."""

    retryable = True


class NoSpace(Rejected):
    """The disk is full: writes are refused before they are proposed."""

    retryable = True


class TooBusy(Rejected):
    """This client has too many calls in flight; nothing was sent."""

    retryable = True


class ServerFault(Rejected):
    """A bug in the node, which says that the write did not happen."""


class Unknown(QuorateError):
    """The write may have happened or not, or may yet; `reason` says what was seen."""

    outcome = "unknown"


class Unavailable(QuorateError):
    """No node took the request before the deadline: it did not happen."""

    retryable = True


class Overloaded(Unavailable):
    """The cluster has more to do than it takes, and had so until the deadline."""


class TlsFailed(Unavailable):
    """The node's certificate is not trusted, or one of the two speaks no TLS."""

    retryable = False


class Closed(Unavailable):
    """The client, or the watch, was closed, and asks nobody any more."""

    retryable = False


class DeadlineExceeded(QuorateError):
    """The read was asked, but not answered in time."""

    retryable = True
