"""Random requests, to a real etcd and to a real node: the same answers to all.

It runs where an etcd 3.5 is named in QUORATE_ETCD, as `make etcd-compare` does.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from quorate.benchmarks.clusters import Etcd, Quorate

from .asking import Step, sequences
from .talking import Pair, Server

PROGRAM = os.environ.get("QUORATE_ETCD", "")
SEQUENCES = int(os.environ.get("QUORATE_ETCD_SEQUENCES", "100"))
SEED = int(os.environ.get("QUORATE_ETCD_SEED", "1"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="no etcd is named in QUORATE_ETCD"),
    pytest.mark.timeout(0),
]


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, nothing_is_left_behind: None
) -> Iterator[Pair]:
    """One node of each, and nothing in it."""
    directory = tmp_path_factory.mktemp("oracle")
    etcd = Etcd(directory / "etcd", PROGRAM, nodes=1)
    try:
        quorate = Quorate(directory / "quorate", nodes=1)
        try:
            servers = [
                Server(system.name, system.places()[0].port)
                for system in (etcd, quorate)
            ]
            yield Pair(*servers)
            for server in servers:
                server.close()
        finally:
            quorate.stop()
    finally:
        etcd.stop()


def test_random_requests_are_answered_as_etcd_answers_them(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    @seed(SEED)
    @settings(
        max_examples=SEQUENCES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(steps=sequences())
    def compare(steps: list[Step]) -> None:
        pair.run(steps)

    compare()
    with capsys.disabled():
        print(
            f"\n{pair.sequences} sequences, {pair.requests} requests,"
            f" {pair.watches} streams of watches: no difference"
        )
