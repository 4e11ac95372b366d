"""chromepool: a Chrome of its own for every session, inside hard limits, cleaned up completely."""

__version__ = "0.1.0"
