"""Other people's clients of etcd's gateway, unchanged, against a real cluster.

They are no part of the project's environment: `make etcd-clients` puts them into one of
their own and names its Python in QUORATE_ETCD_CLIENTS.
"""

import os
import subprocess
from pathlib import Path

import pytest
from quorate.chaos.pytest_plugin import Cluster

PYTHON = os.environ.get("QUORATE_ETCD_CLIENTS", "")
SCRIPTS = Path(__file__).parent / "etcd_clients"
TIMEOUT_S = 240

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="make etcd-clients runs this"),
    pytest.mark.timeout(TIMEOUT_S + 60),
]


def run(directory: Path, *arguments: str, **variables: str) -> str:
    """What it printed, run in `directory`; it must end well."""
    done = subprocess.run(
        [os.path.abspath(PYTHON), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def ports(cluster: Cluster) -> list[str]:
    return [url.rpartition(":")[2] for url in cluster.urls]


def test_patroni_elects_its_leader(quorate_cluster: Cluster, tmp_path: Path) -> None:
    run(tmp_path, str(SCRIPTS / "patroni_paths.py"), *ports(quorate_cluster))


def test_etcd3_py_reads_writes_locks_and_watches(
    quorate_cluster: Cluster, tmp_path: Path
) -> None:
    run(tmp_path, str(SCRIPTS / "etcd3_py_paths.py"), ports(quorate_cluster)[0])


@pytest.mark.quorate(nodes=1)
def test_the_tests_of_etcd3gw_pass(quorate_cluster: Cluster, tmp_path: Path) -> None:
    (url,) = quorate_cluster.urls
    said = run(
        tmp_path,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "etcd3gw.tests"),
        TOOZ_TEST_HTTP_URL=url,
        TOOZ_TEST_ETCD_PORT=ports(quorate_cluster)[0],
    )
    assert "39 passed" in said, said
