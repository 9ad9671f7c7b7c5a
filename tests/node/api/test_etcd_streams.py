"""What a whole body of etcd's messages asks for: watches, keepalives, and how many."""

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.api.etcd import gateway, watching
from quorate.node.api.etcd.bodies import Body, documents
from quorate.wire.errors import ErrorCode
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.watches import decode_watch

from .support import Port, connect, head, open_port, wait_for
from .test_etcd_gateway import Chunked, post, stream

TOO_MANY = "etcdserver: too many requests"
CREATE = '{"create_request": {"key": "YQ=="%s}}'


def create(watch_id: int | None = None) -> str:
    return CREATE % ("" if watch_id is None else f', "watch_id": {watch_id}')


def cancel(watch_id: int) -> str:
    return f'{{"cancel_request": {{"watch_id": {watch_id}}}}}'


async def watched(port: Port, messages: list[str], count: int) -> list[dict[str, Any]]:
    """What is told of the `count` watches that these messages leave, as they begin."""
    body = "".join(messages).encode()
    streaming = asyncio.create_task(stream(port, "watch", body))
    await wait_for(lambda: len(port.service.watches) == count or streaming.done())
    port.service.end(ErrorCode.NO_LEADER)
    answer: Chunked = await streaming
    *told, error = [json.loads(chunk) for chunk in answer.chunks]
    assert error["error"]["code"] == 14
    return [each["result"] for each in told]


@given(
    st.lists(st.sampled_from(["{}", '{"a": [1, "}"]}', "null", "[ 1 ]", "7"])),
    st.sampled_from([" ", "\n", "\r\n\t"]),
)
def test_a_body_is_taken_apart_where_its_documents_end(
    parts: list[str], blank: str
) -> None:
    body = blank.join(parts).encode()
    assert [bytes(each).strip() for each in documents(body)] == [
        part.encode() for part in parts
    ]
    assert b"".join(documents(body)) == body
    # What is no JSON comes as it is, behind what is.
    *whole, rest = documents(body + b" {x}{}")
    assert (b"".join(whole) + rest, rest.strip()) == (body + b" {x}{}", b"{x}{}")


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each parser of messages was handed, one call after the other."""
    sizes: list[int] = []

    def count(parser: Body[Any]) -> None:
        parse_first = parser.parse_first

        def counting(data: bytes) -> Any:
            sizes.append(len(data))
            return parse_first(data)

        monkeypatch.setattr(parser, "parse_first", counting)

    for parser in (watching._watches, watching._creates, watching._cancels):
        count(parser)
    count(gateway._leases)
    return sizes


@pytest.mark.parametrize("path", ["watch", "lease/keepalive"])
async def test_each_byte_of_a_body_is_handed_on_once(
    path: str, handed: list[int]
) -> None:
    # The last message is refused, so that a stream of watches ends.
    body = b"{}" * 500 + b"{x"
    async with open_port() as port, connect(port) as raw:
        length = str(len(body))
        raw.send(head("POST", f"/v3/{path}", Content_Length=length) + body)
        await wait_for(lambda: len(handed) > 500)
    assert sum(handed) <= 2 * len(body)


async def test_the_messages_of_a_watch_are_counted_while_they_are_read(
    handed: list[int],
) -> None:
    async with open_port() as port:
        for message in ("{}", create(7) + cancel(7)):
            handed.clear()
            reply = await post(port, "watch", message.encode() * 5000)
            assert (reply.status, reply.json()["code"]) == (429, 8)
            assert reply.json()["message"] == TOO_MANY
            # What a message holds is parsed, too.
            assert len(handed) <= 2 * (watching.MESSAGES_MAX + 1)
        assert port.service.asked == []
        messages = [create(), *["{}"] * (watching.MESSAGES_MAX - 1)]
        assert len(await watched(port, messages, 1)) == 1


async def test_an_id_is_free_again_when_its_watch_was_taken_back() -> None:
    async with open_port() as port:
        messages = [create(5), create(5), cancel(5), create(5), create(5)]
        told = await watched(port, messages, 4)
    assert [(each.get("watch_id"), each.get("canceled")) for each in told] == [
        ("5", None),
        ("5", True),
        ("-1", True),
        ("5", None),
        ("-1", True),
    ]


async def test_a_watch_that_was_taken_back_is_told_that_it_is_over() -> None:
    """As etcd 3.5 does. It said nothing, and its client waited for it for ever."""
    async with open_port() as port:
        old = CREATE % ', "start_revision": 1'
        told = await watched(port, [old, cancel(0), cancel(0), cancel(7)], 1)
        asked = decode_watch(port.service.asked[0].body, DEFAULT_LIMITS)
    for each in told:
        del each["header"]
    assert told == [{"created": True}, {"canceled": True}]
    # It is told of nothing, also not of what was before it began.
    assert (asked.start, asked.end, asked.revision) == (b"\0", b"\0", 0)


async def test_watches_that_were_taken_back_are_not_counted() -> None:
    async with open_port() as port:
        messages = [create(1), cancel(1), *[create()] * watching.WATCHES_MAX]
        told = await watched(port, messages, watching.WATCHES_MAX + 1)
        assert len(told) == watching.WATCHES_MAX + 2
        reply = await post(port, "watch", "".join([*messages, create()]).encode())
        assert reply.json()["message"] == TOO_MANY


async def test_an_id_that_the_node_chooses_was_never_chosen_before() -> None:
    async with open_port() as port:
        # As in etcd: 0 is left out, as is what somebody has named.
        messages = [create(), cancel(0), create(2), create(), create(), cancel(9)]
        told = await watched(port, messages, 4)
    ids = [each.get("watch_id", "0") for each in told]
    assert ids == ["0", "0", "2", "1", "3"]


async def test_many_filters_are_refused_before_they_take_memory() -> None:
    async with open_port() as port:
        for count, status in ((129, 400), (100_000, 400)):
            filters = ', "filters": [' + ",".join(["0"] * count) + "]"
            reply = await post(port, "watch", (CREATE % filters).encode())
            assert (reply.status, reply.json()["code"]) == (status, 3)
            assert reply.json()["message"] == "etcdserver: request is too large"
        # What a filter does not have is refused: the watch would be told too much.
        for filters in (
            *('["NOPUTS"]', "[7]", '[0, "NODELETES"]', '["7"]', "[-1]"),
            '["0"]',
        ):
            reply = await post(
                port, "watch", (CREATE % f', "filters": {filters}').encode()
            )
            assert (reply.status, reply.json()["code"]) == (400, 3), filters
        assert port.service.asked == []
        filters = ', "filters": ["NOPUT", 1]'
        await watched(port, [CREATE % filters], 1)


@pytest.mark.parametrize("size", [65_535, 65_536, 1_000_000])
async def test_a_key_that_no_request_can_carry_is_refused_before_a_stream_begins(
    size: int,
) -> None:
    long = base64.b64encode(bytes(size)).decode()
    async with open_port() as port:
        for path, body in (
            ("watch", {"create_request": {"key": long}}),
            ("watch", {"create_request": {"key": "YQ==", "range_end": long}}),
            ("election/observe", {"name": long}),
        ):
            reply = await post(port, path, body)
            assert (reply.status, reply.json()["code"]) == (400, 3), path
            assert reply.json()["message"] == "etcdserver: request is too large"
        assert port.service.asked == []
