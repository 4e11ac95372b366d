"""Hooks that act on every target of a session: emulation, capture, console, scripts."""
