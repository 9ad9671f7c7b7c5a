"""A real node with one safety rule broken: what the harness must notice.

    python -m quorate.chaos.simulator.mutated_node MUTANT node --dir DIR

Law: the mutants are the simulator's, by the same names; beside the one predicate that
is replaced, the node is the one that `quorate node` runs.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...node.address import parse_address
from ...node.config import CONFIG_FILE, load_config
from ...node.joining import join
from ...node.launcher import JOIN_TOKEN
from ...node.process import run_node
from ...storage.env import RealEnv
from ...wire import decode_join_token
from .mutants import MUTANTS, planted


def main(arguments: Sequence[str]) -> int:
    """Run the node until it is told to stop; the process's exit code."""
    parser = argparse.ArgumentParser(prog="mutated_node")
    parser.add_argument("mutant", choices=list(MUTANTS))
    parser.add_argument("command", choices=["node"])
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--join")
    parsed = parser.parse_args(arguments)
    mutant: str = parsed.mutant
    directory: Path = parsed.dir
    config = load_config(directory / CONFIG_FILE, os.environ)
    with planted(mutant):
        if parsed.join is not None:
            token = decode_join_token(os.environ[JOIN_TOKEN])
            contact = parse_address(parsed.join)
            asyncio.run(join(RealEnv(), config, contact, token))
        return run_node(config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
