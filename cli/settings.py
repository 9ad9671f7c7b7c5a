"""What all commands that talk to a cluster share: where it is, and what failures mean.

Law: an option may stand before or after the command's name; after wins over before,
both win over the environment. The exit code answers a script's question about a
failure: was it me (2), was it refused (1, 4), was nobody there (5), or may it have
happened (6)?
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    import ssl

    from ..client import AsyncClient

DEFAULT_ENDPOINTS = "127.0.0.1:7400"
TIMEOUT_SECONDS_MAX = 600.0
# Of a load or of faults.
RUN_SECONDS_MAX = 86_400.0

# A token itself, for whoever can't keep it in a file.
TOKEN_VARIABLE = "QUORATE_TOKEN"
_TOKEN_FILE_BYTES_MAX = 65_536

NOT_FOUND = 3
UNAVAILABLE = 5

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", re.ASCII)
_SECONDS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., object] | click.Command")


class Failure(click.ClickException):
    """An operating error: a line on standard error and an exit code."""


class NotThere(Failure):
    """There is no such lease, member or token."""

    exit_code = NOT_FOUND


class NotAsExpected(Failure):
    """A write was refused: the key is not at the expected revision, a lock is lost."""

    exit_code = 4


class NobodyToAsk(Failure):
    """No node could take the request: it did not happen."""

    exit_code = UNAVAILABLE


class Interrupted(Failure):
    """Ctrl-C; a write that was on its way may have happened."""

    exit_code = 130


class NotKnown(Failure):
    """No answer in time; a write may have happened."""

    exit_code = 6


def duration(value: str) -> float:
    """How long to try: seconds, from `5`, `1.5`, `500ms`, `5s` or `1m`."""
    return _seconds(value, TIMEOUT_SECONDS_MAX, "10m")


def run_time(value: str) -> float:
    """How long a load or faults go on: as `duration`, also `1h`, and up to a day."""
    return _seconds(value, RUN_SECONDS_MAX, "24h")


def _seconds(value: str, seconds_max: float, named: str) -> float:
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a duration such as 5s or 500ms")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= seconds_max:
        raise click.BadParameter(f"{value!r} is not over 0 and up to {named}")
    return seconds


class Settings(msgspec.Struct):
    """How to reach the cluster and how to show what it says."""

    endpoints: str = DEFAULT_ENDPOINTS
    cacert: str | None = None
    cert: str | None = None
    key_file: str | None = None
    token_file: str | None = None
    output: str = "simple"
    timeout: float = 5.0

    def connect(self) -> "AsyncClient":
        """A client of this cluster, to be entered with `async with`."""
        from ..client import AsyncClient

        self._check_key()

        return AsyncClient(
            self.endpoints,
            timeout=self.timeout,
            cafile=self.cacert,
            certfile=self.cert,
            keyfile=self.key_file,
            # One that writes once would open a session for nothing.
            sessions=False,
            token=self.token(),
        )

    def tls(self) -> "ssl.SSLContext | None":
        """As `connect` speaks it, for what speaks HTTP; None: it is not spoken."""
        from ..client.endpoints import make_tls_context, speaks_tls

        self._check_key()
        files = (self.cacert, self.cert, self.key_file)
        given = any(file is not None for file in files)
        if not speaks_tls(self.endpoints, certificates=given):
            return None
        return make_tls_context(*files)

    def _check_key(self) -> None:
        """In the command line's words; the client has its own."""
        if self.key_file is not None and self.cert is None:
            raise click.UsageError("--key needs --cert")

    def token(self) -> str | None:
        """What the client port may want to see; the environment's comes last."""
        if self.token_file is None:
            return os.environ.get(TOKEN_VARIABLE) or None
        try:
            # A node's own file will do as well.
            with open(self.token_file, encoding="ascii") as file:
                lines = file.read(_TOKEN_FILE_BYTES_MAX).split()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not ASCII"
            raise click.UsageError(f"{self.token_file}: {reason}") from None
        if not lines:
            raise click.UsageError(f"{self.token_file}: holds no token")
        return lines[0]

    def endpoint_list(self) -> list[str]:
        """The endpoints one by one, as they were written."""
        return [part.strip() for part in self.endpoints.split(",") if part.strip()]


def current_settings() -> Settings:
    """The settings of the command that runs."""
    return click.get_current_context().find_root().ensure_object(Settings)


def connection_options(*, from_environment: bool = False) -> Callable[[F], F]:
    """The options of `Settings`; the group's also read the environment."""

    def remember(
        ctx: click.Context, param: click.Parameter, value: str | float | None
    ) -> None:
        if value is not None:
            settings = ctx.find_root().ensure_object(Settings)
            assert param.name is not None
            setattr(settings, param.name, value)

    def option(*names: str, **attributes: object) -> Callable[[F], F]:
        # The last spelling is the long one that also names the variable.
        name = names[-1].removeprefix("--").replace("-", "_")
        variable = f"QUORATE_{name.upper()}"
        return click.option(
            *names,
            expose_value=False,
            callback=remember,
            envvar=variable if from_environment else None,
            show_envvar=from_environment,
            **attributes,  # pyright: ignore[reportArgumentType]
        )

    decorators = [
        option(
            "--endpoints",
            metavar="HOST:PORT,…",
            help=f"Client addresses of nodes (default {DEFAULT_ENDPOINTS}).",
        ),
        option("--cacert", metavar="FILE", help="The CA that signs nodes."),
        option("--cert", metavar="FILE", help="Our certificate, for mutual TLS."),
        option("key_file", "--key", metavar="FILE", help="The certificate's key."),
        option(
            "--token-file",
            metavar="FILE",
            help="A token for nodes that want one (else QUORATE_TOKEN).",
        ),
        option(
            "-o",
            "-w",
            "--output",
            type=click.Choice(["simple", "json", "table"]),
            help="How results are shown (default simple).",
        ),
        option("--timeout", type=duration, help="How long to try (default 5s)."),
    ]

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def waiting(value: str) -> float:
    """As `duration`, or 0 for not at all."""
    return 0.0 if value in ("0", "0s") else duration(value)


wait_option = click.option(
    "--wait",
    type=waiting,
    metavar="DURATION",
    help="How long to wait for it, by default without end; 0 tries once.",
)

fence_option = click.option(
    "--fence",
    metavar="TOKEN",
    help="Only while the lock of this token is held (see `quorate lock`).",
)


@contextmanager
def exit_codes() -> Generator[None, None, None]:
    """Turn the client's errors into messages and exit codes."""
    from ..client import errors

    try:
        yield
    except errors.InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    except (errors.PreconditionFailed, errors.Fenced, errors.Held) as error:
        raise NotAsExpected(str(error)) from error
    except (errors.LeaseNotFound, errors.MemberNotFound) as error:
        raise NotThere(str(error)) from error
    except errors.Compacted as error:
        message = f"compacted: the oldest revision that is kept is {error.revision}"
        raise Failure(message) from error
    except errors.FutureRevision as error:
        message = f"no such revision yet: the newest is {error.revision}"
        raise Failure(message) from error
    except (errors.Unavailable, errors.TooStale, errors.TooBusy) as error:
        raise NobodyToAsk(str(error)) from error
    except errors.Unknown as error:
        message = f"the outcome is unknown, it may have happened: {error}"
        raise NotKnown(message) from error
    except errors.DeadlineExceeded as error:
        raise NotKnown(str(error)) from error
    except errors.Rejected as error:
        raise Failure(str(error)) from error


def ask(
    settings: Settings, call: "Callable[[AsyncClient], Coroutine[object, object, T]]"
) -> T:
    """What a call of the client ends in."""

    async def asked() -> T:
        async with settings.connect() as client:
            return await call(client)

    with exit_codes():
        return asyncio.run(asked())


def to_bytes(argument: str) -> bytes:
    """The bytes that were typed: arguments need not be UTF-8."""
    return os.fsencode(argument)
