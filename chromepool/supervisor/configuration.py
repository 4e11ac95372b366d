"""The configuration of the daemon: its settings, and the two files of secrets that they name."""

import dataclasses
from collections.abc import Callable

from chromepool import tokens
from chromepool.config import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, tokens and the webhook's secret, all read at one time."""

    settings: Settings
    tokens: dict[str, str] = dataclasses.field(repr=False)
    """Name of a token → its digest."""
    webhook_secret: str = dataclasses.field(repr=False)


def load(read_settings: Callable[[], Settings]) -> Configuration:
    """Read all of it as it is written now. Raises :class:`ChromepoolError`."""
    settings = read_settings()
    known = tokens.load(settings.tokens_file)
    return Configuration(settings, known, tokens.load_secret(settings.webhook_secret_file))
