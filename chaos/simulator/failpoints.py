"""The named places at which a process can be made to die: around every durable step.

Law: names only. Those with a dot stand before an operation of the env (folder, dot,
kind); the others are between two steps of the shell. Each is in the table once, so that
a run can say which of them it never reached.
"""

from typing import Final

from ...storage.memory_env import Operation

# Before an operation on a file of the journal, or of the checkpoints.
OPERATIONS: Final = (
    "journal.create",
    "journal.remove",
    "journal.rename",
    "journal.sync",
    "journal.sync_directory",
    "journal.write",
    "checkpoints.create",
    "checkpoints.remove",
    "checkpoints.rename",
    "checkpoints.sync",
    "checkpoints.sync_directory",
    "checkpoints.write",
)
# Between steps: what was done is durable or not, and nobody has been told yet.
STEPS: Final = (
    "batch-appended",
    "batch-synced",
    "batch-acknowledged",
    "entries-applied",
    "messages-sent",
    "checkpoint-durable",
    "checkpoint-announced",
    "checkpoints-pruned",
    "snapshot-durable",
    "snapshot-installed",
)
FAILPOINTS: Final = OPERATIONS + STEPS


def place_of(operation: Operation) -> str:
    """The failpoint that stands before an operation of the env."""
    parts = operation.path.split("/")
    folder = "journal" if "journal" in parts else "checkpoints"
    return f"{folder}.{operation.kind}"
