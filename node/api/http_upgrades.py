"""aiohttp's compiled parser, and what it forgets behind an upgrade that is not spoken.

Law: no byte is lost without the client knowing. Behind a whole request that asks for
another protocol (RFC 9110, 7.8) the parser drops all that came with it, unless it knows
that protocol: the next request would never be answered, or begin in its middle. So such
a request is fed alone where its end is known beforehand, and else is the last one.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from aiohttp import EMPTY_PAYLOAD, StreamReader, hdrs
from aiohttp.http import RawRequestMessage

_HEAD_END: Final = b"\r\n\r\n"

# Requests, whether another protocol is spoken from now on, and what it has to say.
Parsed: TypeAlias = tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]


class Parser(Protocol):
    """aiohttp's, as its connections use it."""

    def feed_data(self, data: bytes) -> Parsed: ...

    def pause_reading(self) -> None: ...

    def message_consumed(self) -> None: ...

    def set_upgraded(self, val: bool) -> None: ...


class UpgradeParser:
    """The parser of one connection, with the methods of aiohttp's."""

    __slots__ = (
        "_asking",
        "_behind",
        "_body",
        "_feed",
        "_last",
        "_parser",
        "_to_come",
    )

    def __init__(self, parser: Parser) -> None:
        self._parser: Parser = parser
        self._feed: Callable[[bytes], Parsed] = parser.feed_data
        # The body of the last request; whether that one asks for another protocol, and
        # is fed alone: how much is still to come of it, and what came behind it.
        self._body: StreamReader = EMPTY_PAYLOAD
        self._asking: bool = False
        self._to_come: int = 0
        self._behind: bytes = b""
        # Nothing is parsed behind that request.
        self._last: bool = False

    def feed_data(self, data: bytes) -> Parsed:
        """Parse; raises what aiohttp's does."""
        if self._last and self._body.is_eof():
            return (), False, b""
        if self._asking:
            part = data[: self._to_come]
            self._behind += data[self._to_come :]
            self._to_come -= len(part)
            parsed = self._feed(part)
            if not self._body.is_eof():
                # Or much of it is unread, which pauses the parser, and the transport.
                return parsed
            self._asking = False
            data, self._behind = self._behind, b""
            messages, upgraded, tail = parsed
            if upgraded:
                return messages, True, tail + data
            if not data:
                return parsed
        begins = self._body.is_eof()
        parsed = self._feed(data)
        messages, upgraded, _ = parsed
        if not messages:
            return parsed
        last, self._body = messages[-1]
        if upgraded or not last.upgrade:
            return parsed
        to_come = _to_come(last, data) if begins and len(messages) == 1 else None
        if to_come is None:
            self._last = True
            last = last._replace(should_close=True)
            return [*messages[:-1], (last, self._body)], False, b""
        self._to_come = to_come
        self._asking = not self._body.is_eof()
        return parsed

    def pause_reading(self) -> None:
        """The body that comes is not read."""
        self._parser.pause_reading()

    def message_consumed(self) -> None:
        """One of the requests was taken up."""
        self._parser.message_consumed()

    def set_upgraded(self, val: bool) -> None:
        """Another protocol is not spoken after all."""
        self._parser.set_upgraded(val)


def _to_come(message: RawRequestMessage, data: bytes) -> int | None:
    """How much of a request is not in `data`; None: not known, or more is there.

    A head of which some came before may end anywhere.
    """
    if message.chunked or not data.startswith(message.method.encode()):
        return None
    head = data.find(_HEAD_END)
    length = int(message.headers.get(hdrs.CONTENT_LENGTH, "0"))
    to_come = head + len(_HEAD_END) + length - len(data)
    return None if head < 0 or to_come < 0 else to_come
