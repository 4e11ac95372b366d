"""The API's types: all that a client needs, and nothing of HTTP."""
