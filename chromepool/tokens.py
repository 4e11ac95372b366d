"""Bearer tokens of the clients on TCP, and the key of the webhook.

The tokens' file has one ``name token`` pair per line; a line that begins with ``#`` is a comment.
The supervisor reads it, since the gateway may not, and passes on only digests: no token stays in
the daemon's memory, and none is in its log.
"""

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
"""Characters of the webhook's key, which has to fit on the wire beside the settings."""
_BASE64 = "whsec_"
"""Prefix of a webhook's key that is written in base64."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def digest(token: str) -> str:
    """Return the digest of a token. Tokens are long and random, so a fast hash is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def parse(text: str, path: str) -> dict[str, str]:
    """Return name → digest; raises :class:`ConfigError` with the line, never with the token."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, *rest = line.split() or ["#"]
        if name.startswith("#"):
            continue
        where = f"{path}:{number}"
        if len(rest) != 1 or not _NAME.fullmatch(name):
            raise ConfigError(f"{where}: this is not a name (letters, digits, dashes) and a token.")
        token = rest[0]
        if len(token) < SHORTEST:
            raise ConfigError(
                f"{where}: the token is shorter than {SHORTEST} characters.",
                remedy="Create a token with `openssl rand -hex 16`.",
            )
        if name in found or digest(token) in found.values():
            raise ConfigError(f"{where}: the name or the token is in a line above already.")
        found[name] = digest(token)
    return found


def load(path: str) -> dict[str, str]:
    """Return the tokens of a file, none for an empty path; raises :class:`ConfigError`."""
    return parse(_read(path, "tokens_file"), path) if path else {}


def load_secret(path: str) -> str:
    """Return the key in the webhook's file, or "" for no path; raises :class:`ConfigError`."""
    if not path:
        return ""
    secret = _read(path, "webhook_secret_file").strip()
    if not SHORTEST <= len(secret) <= _LONGEST_SECRET:
        raise ConfigError(
            f"The key in {path} does not have {SHORTEST} to {_LONGEST_SECRET} characters.",
            remedy="Create a key with `openssl rand -hex 32`.",
        )
    try:
        webhook_key(secret)
    except ValueError:
        raise ConfigError(
            f"The key in {path} is not base64 after {_BASE64}.",
            remedy=f"Create a key with `echo {_BASE64}$(openssl rand -base64 32)`.",
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
                f"{path} can be read or written by every user.", remedy=f"Run `chmod o= {path}`."
            )
        return file.read_text()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or not UTF-8
        why = error.strerror if isinstance(error, OSError) else "the file is not text"
        raise ConfigError(f"{setting} {path}: {why}.") from error


def owner_of(token: str, tokens: Mapping[str, str]) -> str | None:
    """Return the name of a token's owner, in the same time for a right and a wrong token."""
    given = digest(token)
    found = [name for name, known in tokens.items() if hmac.compare_digest(given, known)]
    return found[0] if found else None
