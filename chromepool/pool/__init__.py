"""Sessions: who has one, how it lives and ends."""
