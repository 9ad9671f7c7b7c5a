"""What a client port is told at its start: who it is, and every limit it keeps.

Law: nothing a client can do costs more than a number written here. Bytes are counted
per connection, except `partial_bytes_max`, `unsent_bytes_max` and `sorting_bytes_max`,
which all connections share.
"""

import msgspec

from ...wire.limits import DEFAULT_LIMITS, Limits
from ..client_tls import ClientTlsFiles

KIB = 1024
MIB = 1024 * 1024


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and limits of one client port."""

    # Told to clients in the native hello.
    cluster_id: int
    member_id: int
    name: str
    version: str

    # SHA-256 of each token that lets in; none: nobody has to show one.
    token_digests: tuple[bytes, ...] = ()
    # Certificate, key and CA; None: the port is not encrypted.
    tls: ClientTlsFiles | None = None
    # Who may ask from a browser, beside this node itself ("https://ui.example.com").
    origins: tuple[str, ...] = ()
    # This node's own client URL when it is not where it listens.
    advertise: str | None = None

    limits: Limits = DEFAULT_LIMITS

    connections_max: int = 10_000
    # Requests of one native connection that have no reply yet, and what they hold:
    # their bodies and the replies that are to be expected.
    requests_in_flight_max: int = 4096
    bytes_in_flight_max: int = 16 * MIB
    # Unsent replies of one native connection: above the first no request is started,
    # above the second a read is answered with `too_busy` instead of its result.
    output_bytes_high: int = 1 * MIB
    output_bytes_max: int = 32 * MIB
    # Requests that wait for a lock, or to lead, each with two watches.
    waiting_max: int = 1000
    # Half-received frames and bodies of all connections together, and bodies that wait
    # behind another request of their connection.
    partial_bytes_max: int = 40 * MIB
    # Replies over HTTP that their clients have not read: above it a read is answered
    # with `too_busy` instead of its result.
    unsent_bytes_max: int = 128 * MIB
    # What is held of ranges of etcd's API until it is sorted and has left.
    sorting_bytes_max: int = 128 * MIB

    # A connection of a port with TLS whose handshake is not done.
    handshake_timeout_s: float = 5.0
    # A connection that has not said what it speaks.
    first_bytes_timeout_s: float = 10.0
    # A request head that is not complete.
    head_timeout_s: float = 10.0
    # A frame or body that is not complete, or replies that nobody reads.
    stall_timeout_s: float = 30.0
    # An HTTP connection between two requests. Native ones may idle; the kernel's
    # keep-alive finds those whose other end is gone.
    idle_timeout_s: float = 75.0
    # How long replies may take to leave when a connection or the port is closed, and to
    # be found when a client sends nothing more.
    drain_timeout_s: float = 5.0

    # An escaped key has up to three characters a byte, and a cursor comes beside it.
    line_bytes_max: int = 32 * KIB
    header_bytes_max: int = 8 * KIB
    headers_max: int = 64
    head_bytes_max: int = 64 * KIB
