"""Bounded stores in memory, and the formats made from them."""
