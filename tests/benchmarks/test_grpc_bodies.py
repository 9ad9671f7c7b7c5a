"""Bytes that a load generator sends to etcd: as protoc's own code makes them."""

from quorate.benchmarks.grpc_bodies import get, put


def test_a_put_is_two_fields_of_bytes_behind_the_head_of_a_grpc_message() -> None:
    body = put(b"key", b"v" * 200)
    message = b"\x0a\x03key" + b"\x12\xc8\x01" + b"v" * 200
    assert body.path == "/etcdserverpb.KV/Put"
    assert body.framed == b"\0" + len(message).to_bytes(4, "big") + message


def test_a_get_is_a_range_of_one_key() -> None:
    body = get(b"key")
    assert body.path == "/etcdserverpb.KV/Range"
    assert body.framed == b"\0\0\0\0\x05\x0a\x03key"
