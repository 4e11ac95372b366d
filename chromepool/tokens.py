"""Bearer tokens: who may come over TCP; and the key of the webhook.

The file has one ``name token`` pair a line; a line that begins with ``#`` is a comment. The
supervisor reads it, since the gateway may not, and passes on digests only: a token is nowhere in
the daemon's memory for long, and never in its log.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from chromepool.errors import ConfigError

SHORTEST = 16
_LONGEST_SECRET = 1024
"""It goes over the wire with the settings."""
_BASE64 = "whsec_"
"""Prefix of a webhook's key that is written in base64."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def digest(token: str) -> str:
    """What is kept of a token. They are long and random, so no slow hash is called for."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def parse(text: str, path: str) -> dict[str, str]:
    """Name → digest; raises :class:`ConfigError` that names the line, never the token."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}:{number}"
        if len(words) != 2 or not _NAME.fullmatch(words[0]):
            raise ConfigError(f"{where}: a line is a name (letters, digits, dashes) and a token.")
        name, token = words
        if len(token) < SHORTEST:
            raise ConfigError(
                f"{where}: the token is shorter than {SHORTEST} characters.",
                remedy="Make one with: openssl rand -hex 16",
            )
        if name in found or digest(token) in found.values():
            raise ConfigError(f"{where}: this name, or this token, is in a line above.")
        found[name] = digest(token)
    return found


def load(path: str) -> dict[str, str]:
    """The tokens in a file; none for an empty path. Raises :class:`ConfigError`."""
    return parse(_read(path, "tokens_file"), path) if path else {}


def load_secret(path: str) -> str:
    """The key in the webhook's file; empty for an empty path. Raises :class:`ConfigError`."""
    if not path:
        return ""
    secret = _read(path, "webhook_secret_file").strip()
    if not SHORTEST <= len(secret) <= _LONGEST_SECRET:
        raise ConfigError(
            f"webhook_secret_file {path}: a key has {SHORTEST} to {_LONGEST_SECRET} characters.",
            remedy="Make one with: openssl rand -hex 32",
        )
    try:
        webhook_key(secret)
    except ValueError:
        raise ConfigError(
            f"webhook_secret_file {path}: what follows {_BASE64} is not base64.",
            remedy=f"Make one with: echo {_BASE64}$(openssl rand -base64 32)",
        ) from None
    return secret


def webhook_key(secret: str) -> bytes:
    """Return the HMAC key that a webhook's secret stands for: base64 after ``whsec_``, as Standard
    Webhooks have it, or else the bytes of the text. Raises :class:`ValueError`."""
    if not secret.startswith(_BASE64):
        return secret.encode()
    text = secret.removeprefix(_BASE64)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _read(path: str, setting: str) -> str:
    file = Path(path)
    try:
        if file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise ConfigError(
                f"{path} can be read or written by everybody.", remedy=f"chmod o= {path}"
            )
        return file.read_text()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or no UTF-8 in the file
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{setting} {path}: {why}.") from error


def owner_of(token: str, tokens: Mapping[str, str]) -> str | None:
    """The name that a token belongs to. Takes as long for every token, right or wrong."""
    given, found = digest(token), None
    for name, known in tokens.items():
        if hmac.compare_digest(given, known):
            found = name
    return found
