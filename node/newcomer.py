"""The folder of a node of this machine, for one that has yet to join.

Law: as for the launcher, of which this is a part: files alone, and no core.
"""

import shutil
from typing import TYPE_CHECKING

import msgspec

from .config import CONFIG_FILE, Cluster, load_config, to_toml
from .pid_file import replace_file

if TYPE_CHECKING:
    from .launcher import LocalNode


def emptied(node: "LocalNode") -> "LocalNode":
    """The same folder and addresses, for one that has yet to join.

    All that the member had is removed; it must not run.
    """
    for folder in (node.directory / "data", node.directory / "certs"):
        if folder.exists():
            shutil.rmtree(folder)
    path = node.directory / CONFIG_FILE
    config = msgspec.structs.replace(load_config(path, {}), cluster=Cluster())
    replace_file(path, to_toml(config))
    return msgspec.structs.replace(node, voter=False)
