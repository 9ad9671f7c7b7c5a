"""What `init`, `backup restore` and `recover` share: the folder of a first voter.

Law: what these make is another cluster than any before it.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import click

from ..node.address import Address
from ..raft import Entry
from .init import make_cluster
from .passphrase import passphrase_option, read_passphrase
from .places import client_option, founder, peer_option

F = TypeVar("F", bound=Callable[..., object])


def founding_options(function: F) -> F:
    """The options of a new cluster's first voter, as `init` has them."""
    for decorator in (
        passphrase_option,
        peer_option,
        client_option,
        click.option("--name", default="n1", show_default=True),
    ):
        function = decorator(function)
    return function


def found(
    directory: Path,
    name: str,
    client: Address,
    peer: Address,
    passphrase_file: Path | None,
    *,
    source: str,
    before: int,
    pieces: Iterator[bytes],
    log: Sequence[Entry] = (),
) -> tuple[int, int]:
    """Make a new cluster out of a store; its id, and the revision it begins with.

    What of `log` is behind the store is applied.

    Raises what `pieces` raises, CorruptionError, OSError and Failure.
    """
    from ..node.rebirth import reborn_from
    from ..storage.env import RealEnv

    config = founder(name, client, peer, passphrase_file)
    revisions: list[int] = []

    def fill(data_dir: str, cluster_id: int, member_id: int) -> None:
        revision = reborn_from(
            RealEnv(),
            data_dir,
            pieces,
            source=source,
            before=before,
            cluster_id=cluster_id,
            member_id=member_id,
            salt=secrets.randbits(64) or 1,
            ids=lambda: os.urandom(16),
            log=log,
        )
        revisions.append(revision)

    passphrase = read_passphrase(passphrase_file)
    cluster_id = make_cluster(directory, config, peer, passphrase, fill)
    return cluster_id, revisions[0]
