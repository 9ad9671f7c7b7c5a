"""A cluster to play with: commands from a keyboard or a file hurt it under a load.

Law: what it does to nodes and links is what the harness does, and so is what it checks.
What a line means, and what the screen shows, is decided by pure functions.
"""

from .keyboard import Keyboard
from .screen import Screen
from .session import Outcome, Session, run_prompt

__all__ = ["Keyboard", "Outcome", "Screen", "Session", "run_prompt"]
