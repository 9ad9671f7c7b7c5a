"""`/v3/auth/…`: how etcd's clients, which know users and passwords, show a token.

Law: there are no users. Where the client port wants a token, that token is the password
of `root`, who may do everything, and is given back as the token that etcd would have
made. Where it wants none, authentication is not enabled, and said to be so.
"""

from typing import Final

import msgspec
from aiohttp import web

from ..connections import ClientPort
from ..http_requests import certified
from .bodies import Body, Text
from .errors import (
    AUTHENTICATION_FAILED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NO_AUTHENTICATION,
    UNIMPLEMENTED,
    EtcdProblem,
)
from .replies import (
    AuthenticateReply,
    AuthStatusReply,
    HeaderOnly,
    Speaker,
    respond,
)

BELOW: Final = "auth/"
# Who has no token yet has to be able to ask this.
LOGIN: Final = "auth/authenticate"
_ROOT: Final = "root"


class _Login(msgspec.Struct):
    name: Text = None
    password: Text = None


_logins: Final = Body(_Login)


class Authentication:
    """The handlers of all that is BELOW."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker
        self._enabled: bool = bool(port.options.token_digests)

    async def status(self, _: web.BaseRequest, _body: bytes) -> web.Response:
        header = self._speaker.header()
        return respond(AuthStatusReply(header, self._enabled, auth_revision="1"))

    async def authenticate(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if not self._enabled:
            raise EtcdProblem(FAILED_PRECONDITION, NO_AUTHENTICATION)
        said = _logins.parse(body)
        password = said.password or ""
        shown = password.encode("utf-8", "replace")
        principal = self._port.service.principal(shown, certified(request))
        if said.name != _ROOT or not principal.unlimited:
            raise EtcdProblem(INVALID_ARGUMENT, AUTHENTICATION_FAILED)
        return respond(AuthenticateReply(self._speaker.header(), password))

    async def disable(self, _: web.BaseRequest, _body: bytes) -> web.Response:
        if self._enabled:
            raise self.refusal()
        # It is as it should be.
        return respond(HeaderOnly(self._speaker.header()))

    def refusal(self) -> EtcdProblem:
        """What is said of all the rest."""
        if self._enabled:
            return EtcdProblem(UNIMPLEMENTED, "users and roles are not served here")
        return EtcdProblem(FAILED_PRECONDITION, NO_AUTHENTICATION)
