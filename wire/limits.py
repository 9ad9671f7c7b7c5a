"""Every limit of the client port, with its unit, its default and its reason.

Law: nothing on this port is unbounded. What is over a limit is refused before it is
buffered or proposed, with an error that names the limit. Limits are values that are
handed in; a module never reads a default behind its caller's back where the two sides
may differ.
"""

import msgspec

from .errors import CommandRefused, ErrorCode, LimitsInvalid

# A length field counts in 32 bits, and a frame's own head needs a little of it.
FRAME_SLACK_BYTES = 64
REQUEST_BYTES_CEILING = 2**32 - 1 - FRAME_SLACK_BYTES
# Key lengths have 16 bits, and paging asks from the last key + b"\0".
KEY_BYTES_CEILING = 2**16 - 2
TIMEOUT_MS_CEILING = 600_000


class Limits(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one node accepts from its clients; refuses to be self-contradictory."""

    key_bytes_max: int = 4096
    value_bytes_max: int = 4 * 1024 * 1024
    request_bytes_max: int = 8 * 1024 * 1024
    range_records_max: int = 1000
    range_bytes_max: int = 1024 * 1024
    timeout_ms_default: int = 5000
    timeout_ms_max: int = TIMEOUT_MS_CEILING
    error_message_bytes_max: int = 1024

    def __post_init__(self) -> None:
        _within("key_bytes_max", self.key_bytes_max, 1, KEY_BYTES_CEILING)
        _within("request_bytes_max", self.request_bytes_max, 1, REQUEST_BYTES_CEILING)
        # The largest record has to fit into one request and into one page's reply.
        room = self.request_bytes_max - self.key_bytes_max - FRAME_SLACK_BYTES
        _within("value_bytes_max", self.value_bytes_max, 1, room)
        _within("range_records_max", self.range_records_max, 1, 2**32 - 1)
        room = self.request_bytes_max - FRAME_SLACK_BYTES
        _within("range_bytes_max", self.range_bytes_max, 1, room)
        _within("timeout_ms_max", self.timeout_ms_max, 1, TIMEOUT_MS_CEILING)
        _within("timeout_ms_default", self.timeout_ms_default, 1, self.timeout_ms_max)
        _within("error_message_bytes_max", self.error_message_bytes_max, 1, 1024)


def _within(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise LimitsInvalid(f"{name} is {value}, not from {lowest} to {highest}")


DEFAULT_LIMITS = Limits()

# What the format itself can carry. Apply decodes with these: an entry that one node
# admitted must be understood by every replica, whatever their own limits are.
FORMAT_LIMITS = Limits(
    key_bytes_max=KEY_BYTES_CEILING,
    value_bytes_max=REQUEST_BYTES_CEILING - KEY_BYTES_CEILING - FRAME_SLACK_BYTES,
    request_bytes_max=REQUEST_BYTES_CEILING,
)


def over_limit(key_length: int, value_length: int, limits: Limits) -> CommandRefused:
    """Why a key or value of these lengths is refused."""
    if key_length == 0:
        return CommandRefused("the key is empty")
    if key_length > limits.key_bytes_max:
        return CommandRefused(
            f"the key has {key_length} bytes, over {limits.key_bytes_max}",
            ErrorCode.KEY_TOO_LONG,
        )
    return CommandRefused(
        f"the value has {value_length} bytes, over {limits.value_bytes_max}",
        ErrorCode.VALUE_TOO_LARGE,
    )
