"""Sessions from the request to the last file: registry, creation, termination."""
