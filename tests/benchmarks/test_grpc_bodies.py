"""Bytes that a load generator sends to etcd: as protoc's own code makes them."""

from quorate.benchmarks.grpc_bodies import TXN, get, put, put_many, puts


def test_a_put_is_two_fields_of_bytes_behind_the_head_of_a_grpc_message() -> None:
    body = put(b"key", b"v" * 200)
    message = b"\x0a\x03key" + b"\x12\xc8\x01" + b"v" * 200
    assert body.path == "/etcdserverpb.KV/Put"
    assert body.framed == b"\0" + len(message).to_bytes(4, "big") + message


def test_a_get_is_a_range_of_one_key() -> None:
    body = get(b"key")
    assert body.path == "/etcdserverpb.KV/Range"
    assert body.framed == b"\0\0\0\0\x05\x0a\x03key"


def test_puts_are_the_messages_of_each_key() -> None:
    keys = [b"key%d" % number for number in range(3)]
    assert list(puts(keys, b"v" * 200)) == [put(k, b"v" * 200).framed for k in keys]


def test_many_puts_are_operations_of_a_transaction() -> None:
    body = put_many([b"k1", b"k2"], b"v")
    one, two = b"\x0a\x02k1\x12\x01v", b"\x0a\x02k2\x12\x01v"
    # success = 2, of operations whose request_put is 2
    message = b"".join(b"\x12\x09\x12\x07" + each for each in (one, two))
    assert body == (TXN, b"\0" + len(message).to_bytes(4, "big") + message)
