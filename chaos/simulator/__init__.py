"""Whole clusters in one thread under one seed, running the cores themselves."""
