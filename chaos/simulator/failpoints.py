"""The named places at which a process can be made to die: around every durable step.

Law: names only. Those with a dot stand before an operation of the env (folder, dot,
kind); the others are between two steps of the shell. Each is in the table once, so that
a run can say which of them it never reached.
"""

from typing import Final

from ...storage.memory_env import Operation

# Before an operation on a file of the journal, or of the engine.
OPERATIONS: Final = (
    "journal.create",
    "journal.remove",
    "journal.rename",
    "journal.sync",
    "journal.sync_directory",
    "journal.write",
    "engine.create",
    "engine.remove",
    "engine.rename",
    "engine.sync",
    "engine.sync_directory",
    "engine.write",
)
# Between steps: what was done is durable or not, and nobody has been told yet.
STEPS: Final = (
    "batch-appended",
    "batch-synced",
    "batch-acknowledged",
    "entries-applied",
    "messages-sent",
    "engine-worked",
    "snapshot-checked",
    "snapshot-installed",
)
FAILPOINTS: Final = OPERATIONS + STEPS


def place_of(operation: Operation) -> str:
    """The failpoint that stands before an operation of the env."""
    parts = operation.path.split("/")
    folder = "journal" if "journal" in parts else "engine"
    return f"{folder}.{operation.kind}"
