"""TLS beneath one connection of the client port: a transport over a transport.

Law: the connection is in the port's registry, with a timer, from its first byte on, and
costs one read's bytes until the handshake is done. What is not TLS is told so in words
of its own and closed. Handshakes are stepped a few in each turn of the loop, so that a
thousand clients who come back at once delay nobody's heartbeat. What is written is
encrypted at once and handed on: pauses, limits and the count of unsent bytes are those
of the transport below, whether it is asyncio's or uvloop's.

Both ends may shut their side alone, as TLS 1.3 allows: who has asked and says goodbye
still gets the answer.
"""

import asyncio
import contextlib
import math
import ssl
from collections.abc import Callable
from typing import Final, cast

from ..client_tls import ClientTls, client_name
from ..tls import StrangerError, reason_of
from .connections import ClientPort, Connection
from .rights import NO_CERTIFICATE, Principal, holder, stranger

# The first byte of a client that begins a handshake.
_HANDSHAKE: Final = 0x16
# A fatal alert, unexpected_message: what a TLS server says to something else.
_ALERT: Final = bytes((21, 3, 3, 0, 2, 2, 10))
_HTTPS_BODY: Final = b"TLS is spoken here: use https://\n"
_HTTPS: Final = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_HTTPS_BODY), _HTTPS_BODY)
)
_LINGER_S: Final = 1.0
_READ_BYTES: Final = 256 * 1024
# A client's hello and its chain of certificates; OpenSSL takes no more of the latter.
_HANDSHAKE_BYTES_MAX: Final = 256 * 1024


class SecureConnection(asyncio.Transport, asyncio.Protocol):
    """A protocol of the transport below, a transport of the connection above.

    `opened` makes what takes over when the handshake is done.
    """

    protocol_name: str = "unknown"

    def __init__(self, port: ClientPort, opened: Callable[[], Connection]) -> None:
        super().__init__()
        assert port.options.tls is not None
        self._port: ClientPort = port
        self._opened: Callable[[], Connection] = opened
        self._tls: ClientTls = port.options.tls.current
        self._incoming: ssl.MemoryBIO = ssl.MemoryBIO()
        self._outgoing: ssl.MemoryBIO = ssl.MemoryBIO()
        self._session: ssl.SSLObject = self._tls.context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self._below: asyncio.Transport | None = None
        self._above: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handshake_bytes: int = 0
        # What comes is dropped: it was refused, or our side is shut.
        self._deaf: bool = False
        self._ended: bool = False
        # Who is certified to be at the other end, and until when.
        self._principal: Principal | None = None
        self._until_s: float = math.inf

    # -- what the transport below calls ----------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it when there are too many."""
        self._below = cast(asyncio.Transport, transport)
        if not self._port.has_room:
            self._deaf = True
            self._port.refused += 1
            self._below.abort()
            return
        self._port.add(self)
        self._abort_after(self._port.options.handshake_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Step the handshake, or decrypt; behind a goodbye nothing is kept."""
        if self._deaf or self._ended:
            return
        if self._above is not None:
            self._incoming.write(data)
            self._read()
        elif not self._handshake_bytes and data[0] != _HANDSHAKE:
            self._refuse_plain(data)
        else:
            self._handshake_bytes += len(data)
            self._incoming.write(data)
            # Until it is its turn nothing more is taken.
            self.pause_reading()
            self._port.handshakes.plan(self._shake_hands)

    def eof_received(self) -> bool:
        """The other end has shut its side, with a goodbye or without."""
        if self._above is None:
            return False
        self._end_input()
        return not self.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._deaf = True
        if self._timer is not None:
            self._timer.cancel()
        if self._above is None:
            self._port.remove(self)
        else:
            self._port.secured.discard(self)
            self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much is unsent."""
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """It has been sent."""
        if self._above is not None:
            self._above.resume_writing()

    # -- the handshake ---------------------------------------------------------------

    def _shake_hands(self) -> None:
        if self._deaf or self.is_closing():
            return
        self.resume_reading()
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            if self._handshake_bytes > _HANDSHAKE_BYTES_MAX:
                self._fail("more bytes than a handshake takes")
            return
        except ssl.SSLError as error:
            self._fail(reason_of(error))
            return
        self._send()
        self._open()

    def _open(self) -> None:
        port = self._port
        if port.closing:
            self.abort()
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._tls.authority:
            self._principal = self._certified()
        above = self._opened()
        port.replace(self, above)
        port.secured.add(self)
        self._above = cast(asyncio.Protocol, above)
        self._above.connection_made(self)
        self._read()

    def _certified(self) -> Principal:
        certificate = self._session.getpeercert()
        if not certificate:
            return NO_CERTIFICATE
        ends = certificate["notAfter"]
        assert isinstance(ends, str)
        self._until_s = float(ssl.cert_time_to_seconds(ends))
        try:
            return holder(client_name(certificate, self._port.options.cluster_id))
        except StrangerError as error:
            return stranger(str(error))

    def _fail(self, reason: str) -> None:
        """Let the alert leave, and close."""
        self._port.handshakes.failed(self._peer(), reason)
        self._send()
        self._turn_away(b"")

    def _refuse_plain(self, data: bytes) -> None:
        self._port.handshakes.failed(self._peer(), "it speaks no TLS")
        # Upper case letters begin a method of HTTP; whatever else it is knows alerts.
        self._turn_away(_HTTPS if data[:1].isupper() else _ALERT)

    def _turn_away(self, answer: bytes) -> None:
        """Say why and close; what follows is dropped, so that no reset overtakes."""
        self._deaf = True
        assert self._below is not None
        if self._below.is_closing():
            return
        self._below.write(answer)
        self._below.write_eof()
        self._abort_after(_LINGER_S)

    def _too_slow(self) -> None:
        if not self._deaf:
            self._port.handshakes.failed(self._peer(), "it takes too long")
        self.abort()

    def _abort_after(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._port.loop.call_later(delay_s, self._too_slow)

    def _peer(self) -> str:
        name = cast("tuple[str, int] | None", self.get_extra_info("peername"))
        return f"{name[0]}:{name[1]}" if name else "?"

    # -- bytes -----------------------------------------------------------------------

    def _read(self) -> None:
        """Hand up, as one piece, what could be decrypted."""
        pieces: list[bytes] = []
        broken = ended = False
        try:
            while piece := self._session.read(_READ_BYTES):
                pieces.append(piece)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError:
            # Records that were changed on the way, say.
            broken = True
        self._send()
        if pieces and self._above is not None:
            self._above.data_received(b"".join(pieces))
        if broken:
            self.abort()
        elif ended:
            self._end_input()

    def _end_input(self) -> None:
        if self._ended or self._above is None:
            return
        self._ended = True
        if not self._above.eof_received():
            self.close()

    def _send(self) -> None:
        assert self._below is not None
        data = self._outgoing.read()
        if data and not self._below.is_closing():
            self._below.write(data)

    def _say_goodbye(self) -> None:
        if self._deaf or self._above is None:
            return
        self._deaf = True
        # The other end has not said it yet, or something was still under way.
        with contextlib.suppress(ssl.SSLError):
            self._session.unwrap()
        self._send()

    # -- what the connection above calls ---------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and hand on."""
        if self._deaf or self.is_closing():
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._session.write(rest) :]
        except ssl.SSLError:
            self.abort()
            return
        self._send()

    def can_write_eof(self) -> bool:
        """Our side can be shut alone."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more comes; what still arrives is dropped."""
        self._say_goodbye()
        if self._below is not None and not self._below.is_closing():
            self._below.write_eof()

    def close(self) -> None:
        """Let what was written leave, say goodbye, close."""
        self._say_goodbye()
        if self._below is not None:
            self._below.close()

    def abort(self) -> None:
        """End at once, whatever is unsent."""
        self._deaf = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        """Is it closed, or about to be?"""
        return self._below is None or self._below.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another connection takes over from here."""
        self._above = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """What takes over now."""
        assert self._above is not None
        return self._above

    def get_extra_info(self, name: str, default: object = None) -> object:
        """`principal` is who is certified; the rest the transport below knows."""
        if name == "principal":
            return self._principal
        if name == "ssl_object":
            return self._session
        if name == "sslcontext":
            return self._tls.context
        if self._below is None:
            return default
        return cast(object, self._below.get_extra_info(name, default))

    def pause_reading(self) -> None:
        """Take nothing more from below."""
        if self._below is not None and not self._below.is_closing():
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if self._below is not None and not self._below.is_closing():
            self._below.resume_reading()

    def is_reading(self) -> bool:
        """Is anything taken from below?"""
        return self._below is not None and self._below.is_reading()

    def get_write_buffer_size(self) -> int:
        """What is unsent, encrypted."""
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """When the connection above is told to pause."""
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def drain(self) -> None:
        """Nothing was started."""
        self.abort()

    # -- what the port asks ----------------------------------------------------------

    def overdue(self, tls: ClientTls, now_s: float) -> bool:
        """Whether its certificate has ended, or counts no more by the files read."""
        return self._tls.authority != tls.authority or self._until_s < now_s

    @property
    def above(self) -> Connection:
        """Who speaks over this."""
        return cast(Connection, self._above)
