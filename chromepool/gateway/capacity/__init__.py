"""Decisions about who gets a slot, from snapshots of the machine and the pool."""
