"""Helpers that the tests and the benchmarks share: daemons, clients, sites, fakes, leak checks."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The checkout."""
