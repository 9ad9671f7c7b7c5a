"""Bytes on a disk: the env, its twins, and the journal. Import the modules directly."""
