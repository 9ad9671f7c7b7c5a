"""Faults on purpose: whole clusters under a seed, and real processes under a harness."""
