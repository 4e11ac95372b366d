"""A running Chrome behind its pipe, and its clients."""
