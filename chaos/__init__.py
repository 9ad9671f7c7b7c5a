"""Faults on purpose: clusters under a seed, and real processes under a harness."""
