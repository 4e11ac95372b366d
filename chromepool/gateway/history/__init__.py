"""The database of past sessions and events."""
