"""The status document, one for `GET /v1/status` and the native status request.

Law: built from this node's own numbers alone, so that it is answered without a quorum.
"""

import msgspec

from ..statistics import Statistics

_encoder = msgspec.json.Encoder()


def status_json(statistics: Statistics) -> bytes:
    """Everything in `statistics`, with `id` for the member's own id."""
    document: dict[str, object] = {
        "name": statistics.name,
        "id": statistics.member_id,
    }
    for name in statistics.__struct_fields__:
        if name != "member_id":
            document[name] = getattr(statistics, name)
    return _encoder.encode(document)
