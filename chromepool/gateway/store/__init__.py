"""Bounded stores in memory, and the formats that are made from them."""
