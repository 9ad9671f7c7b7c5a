"""A new member's first steps: from a token to a folder that a node can start from.

Law: a shell. The token says which CA to trust, before anything is told; the CA says
that the other side is a member. The folder's key and the member's id are made once and
kept, so that whoever was interrupted asks again as the same member. The identity is
written last: with it the node can start, and never joins again.

    JoinError: nobody let us in, or our folder can't be used; the message says why
    AddressTaken: nobody was asked, since we could not serve at our own addresses
"""

import asyncio
import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from ..storage.env import Env, read_file, write_file_durably
from ..storage.errors import StorageError
from ..wire import JoinToken
from .address import Address
from .config import IDENTITY_FILE, NodeConfig
from .identity import (
    ASKING_FILE,
    LOCK_FILE,
    Identity,
    IdentityError,
    Voter,
    check_unused,
    create_identity,
)
from .join_wire import JoinReply, JoinRequest, decode_join_reply
from .peer_hello import (
    BODY_BYTES_MAX,
    HEAD_BYTES,
    HelloError,
    Stream,
    encode_join,
    parse_join_answer,
)
from .sockets import at_each, listening
from .tls import (
    Kind,
    PeerCertificate,
    PeerIdentity,
    StrangerError,
    peer_certificate,
    reason_of,
)

DIAL_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 35.0
_MEMBER_ID_BYTES: Final = 8
# What OpenSSL says of an answer in plain text, as a client port gives; it depends on
# its first bytes.
_NO_TLS: Final = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
)


class JoinError(Exception):
    """This node could not join."""


class AddressTaken(JoinError):
    """An address at which this node shall serve is not to be had."""


async def exchange(
    address: Address,
    context: ssl.SSLContext,
    body: bytes,
    stream: Stream = Stream.JOIN,
    objection: Callable[[PeerCertificate], str | None] = lambda shown: None,
) -> tuple[bytes, PeerIdentity | None]:
    """Ask to join, for the CA or to renew: the answer, and whom `context` vouches for.

    Nothing is told to whom there is an `objection`. Raises HelloError, OSError,
    TimeoutError.
    """
    async with asyncio.timeout(DIAL_TIMEOUT_S):
        reader, writer = await at_each(
            address,
            DIAL_TIMEOUT_S,
            lambda place, port: asyncio.open_connection(
                place, port, ssl=context, server_hostname=""
            ),
        )
    try:
        who = None
        if context.verify_mode is ssl.CERT_REQUIRED:
            shown = peer_certificate(writer.get_extra_info("ssl_object"))
            who = shown.identity
            if who.kind is not Kind.MEMBER:
                raise HelloError(f"{address} is no member of a cluster")
            if (reason := objection(shown)) is not None:
                raise HelloError(reason)
        writer.write(encode_join(body, stream))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            answer = await _answer(reader)
    except StrangerError as error:
        raise HelloError(str(error)) from None
    finally:
        writer.transport.abort()
    return answer, who


async def _answer(reader: asyncio.StreamReader) -> bytes:
    data = b""
    while len(data) <= HEAD_BYTES + BODY_BYTES_MAX:
        more = await reader.read(BODY_BYTES_MAX)
        if not more:
            break
        data += more
        answer = parse_join_answer(data)
        if answer is not None:
            return answer
    raise HelloError("the connection ended without an answer")


def is_member(env: Env, config: NodeConfig) -> bool:
    """Is the folder a member's already?"""
    return env.exists(f"{config.data_dir}/{IDENTITY_FILE}")


async def join(
    env: Env, config: NodeConfig, contact: Address, token: JoinToken
) -> None:
    """Make the folders of `config` those of a new member. Raises JoinError.

    Nobody is asked before it is known that the answer can be kept: who was let in and
    never starts is missed by the others.
    """
    try:
        env.make_directory(config.data_dir)
        lock = env.lock(f"{config.data_dir}/{LOCK_FILE}")
    except (StorageError, OSError) as error:
        raise JoinError(str(error)) from error
    try:
        # Another process may have been here until now.
        if not is_member(env, config):
            check_unused(env, config.data_dir)
            await _check_addresses(config)
            await _join(env, config, contact, token)
    except IdentityError as error:
        raise JoinError(str(error)) from error
    finally:
        lock.release()


async def _check_addresses(config: NodeConfig) -> None:
    """Raises AddressTaken: on one machine the defaults are most often another's."""
    for key, address in (
        ("peer.listen", config.peer_listen),
        ("client.listen", config.client_listen),
    ):
        try:
            (await listening(address)).close()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise AddressTaken(f"{key}, {address}: {reason}") from error


async def _join(
    env: Env, config: NodeConfig, contact: Address, token: JoinToken
) -> None:
    from . import certificates

    certs = Path(config.peer.cert).parent
    try:
        request = certificates.request_member(certs, name=config.name)
        member_id = _member_id(env, config.data_dir, certificates.random_id())
        authority = await _authority(contact, token)
        body = msgspec.msgpack.encode(
            JoinRequest(
                token.token,
                token.secret,
                member_id,
                config.name,
                str(config.peer_address),
                config.client_url,
                request,
            )
        )
        answer, who = await exchange(contact, _trusting(authority), body)
        reply = decode_join_reply(answer)
        if who is None or who.cluster_id != reply.cluster_id:
            raise JoinError(f"{contact} speaks for another cluster than its own")
        certificates.keep_member(certs, reply.certificate, authority)
        _keep(env, config, member_id, reply)
    except (HelloError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        raise JoinError(f"{contact}: {reason}") from error
    except ssl.SSLError as error:
        reason = reason_of(error)
        if error.reason in _NO_TLS:
            reason = f"no peer port: it speaks no TLS ({reason})"
        raise JoinError(f"{contact}: {reason}") from error
    except ConnectionRefusedError as error:
        reason = "connection refused: no node serves peers there"
        raise JoinError(f"{contact}: {reason}") from error
    except (OSError, certificates.CertificateError) as error:
        raise JoinError(f"{contact}: {error}") from error


def _member_id(env: Env, data_dir: str, fresh: int) -> int:
    """The id that this folder asked with before, or `fresh`, kept from now on."""
    path = f"{data_dir}/{ASKING_FILE}"
    if env.exists(path):
        data = read_file(env, path)
        if len(data) != _MEMBER_ID_BYTES or not any(data):
            raise JoinError(f"{path}: damaged; remove it")
        return int.from_bytes(data, "big")
    write_file_durably(env, path, fresh.to_bytes(_MEMBER_ID_BYTES, "big"))
    return fresh


async def _authority(contact: Address, token: JoinToken) -> bytes:
    """The CA's certificate (PEM): the one that the token names, whoever sent it."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.minimum_version = ssl.TLSVersion.TLSv1_3
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    pem, _ = await exchange(contact, anybody, b"")
    try:
        root = ssl.PEM_cert_to_DER_cert(pem.decode())
    except ValueError:
        root = b""
    if sha256(root).digest() != token.authority:
        raise JoinError(f"{contact} is not of the cluster that made the token")
    # Not what was sent: behind the padding, where this stops reading, OpenSSL goes on.
    return ssl.DER_cert_to_PEM_cert(root).encode()


def _trusting(authority: bytes) -> ssl.SSLContext:
    """As node/tls, but that we have no certificate to show yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority.decode())
    return context


def _keep(env: Env, config: NodeConfig, member_id: int, reply: JoinReply) -> None:
    identity = Identity(
        cluster_id=reply.cluster_id,
        member_id=member_id,
        name=config.name,
        voters={m: Voter(*place) for m, place in reply.voters.items()},
        contacts={m: Voter(*place) for m, place in reply.contacts.items()},
    )
    problem = identity.problem()
    if problem is not None:
        raise JoinError(f"the answer makes no sense: {problem}")
    create_identity(env, config.data_dir, identity)
