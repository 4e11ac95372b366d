"""Hooks that run on every target of a session: emulation, capture, console, scripts."""
