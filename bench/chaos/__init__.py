"""``make chaos``: random faults on a pool that is in use, and the books after each round."""
