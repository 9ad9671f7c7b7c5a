"""Random requests, to a real etcd and to a real node: the same answers to all.

It runs where an etcd 3.5 is named in QUORATE_ETCD, as `make etcd-compare` does.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from quorate.benchmarks.clusters import Etcd, Quorate

from .asking import Step, sequences
from .comparing import Said
from .talking import Differ, Pair, Server

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


def compare(pair: Pair, sequences_max: int) -> None:
    """Raises Differ with the smallest sequence that was found."""

    @seed(SEED)
    @settings(
        max_examples=sequences_max,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(steps=sequences())
    def run(steps: list[Step]) -> None:
        pair.run(steps)

    run()


def test_random_requests_are_answered_as_etcd_answers_them(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(pair, SEQUENCES)
    with capsys.disabled():
        print(
            f"\n{pair.sequences} sequences ({pair.interrupted} of them interrupted),"
            f" {pair.requests} requests ({pair.refused}"
            f" refused by both), {pair.watches} streams of watches: no difference"
        )


def test_what_differs_is_found_and_becomes_a_few_requests(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = pair.here.ask

    def lie(path: str, text: str) -> Said:
        """Of two keys there are three."""
        said = honest(path, text)
        for reply in said.replies:
            if reply.get("count") == "2":
                reply["count"] = "3"
        return said

    monkeypatch.setattr(pair.here, "ask", lie)
    with pytest.raises(Differ) as found:
        compare(pair, 100)
    lines = str(found.value).splitlines()
    assert any("count: etcd '2', here '3'" in line for line in lines)
    # Two puts, or a transaction, and what sees them.
    assert sum(line.startswith("curl ") for line in lines) <= 4
