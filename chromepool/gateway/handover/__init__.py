"""Sessions on their way from one gateway to the next."""
