"""Bounded and exhaustive: every world of a few steps, with all that may happen."""
