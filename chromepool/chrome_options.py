"""Chrome options that a session may set, and the flags that they become.

Both processes check: the gateway to give a clear answer, the supervisor because it does not trust
the gateway.
"""

import re

from chromepool.errors import InvalidRequest
from chromepool.model import ChromeOptions

ALLOWED_FLAGS = frozenset(
    {
        "--allow-running-insecure-content",
        "--autoplay-policy",
        "--blink-settings",
        "--disable-blink-features",
        "--disable-remote-fonts",
        "--disable-web-security",
        "--enable-blink-features",
        "--font-render-hinting",
        "--force-dark-mode",
        "--force-device-scale-factor",
        "--force-prefers-reduced-motion",
        "--lang",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--window-size",
    }
)
"""Flags that every session may set: they affect only the look and behaviour of its own pages. None
opens a port, names a file or a program, or weakens the sandbox, the limits or site isolation."""
MAX_FLAGS = 32
_FLAG = re.compile(r"(--[a-z][a-z0-9-]*)(?:=([\x20-\x7e]{0,1024}))?")
_PROXY = re.compile(
    r"(?:https?|socks[45])://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})"
)
_BYPASS = re.compile(r"[A-Za-z0-9.*:;,<>/_\[\]-]{0,1024}")
PROFILE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_PROFILE = re.compile(rf"[A-Za-z0-9_.-]{{1,128}}/{PROFILE_NAME}")


def _check_flag(flag: str, allowed: frozenset[str]) -> None:
    match = _FLAG.fullmatch(flag)
    if match is None:
        raise InvalidRequest(f"{flag[:80]!r} is not a flag such as --lang=de.")
    if match[1] not in allowed:
        raise InvalidRequest(
            f"The flag {match[1]} is not allowed in a session.",
            remedy="Ask the operator to add it to allowed_flags.",
        )


def _check_proxy(proxy: str) -> None:
    """Check a proxy strictly: Chrome ignores one that it cannot parse, and connects directly."""
    match = _PROXY.fullmatch(proxy)
    port = int(match[1]) if match else 0
    if proxy not in ("", "direct://") and not 1 <= port <= 65535:
        raise InvalidRequest(
            "The proxy is not scheme://host:port with http, https, socks4 or socks5.",
            remedy="Give a user name and password over CDP (Fetch.authRequired), not in the URL.",
        )


def check(launch: ChromeOptions, allowed_flags: str) -> None:
    """Raise :class:`InvalidRequest` for options that a session may not set.

    ``allowed_flags`` is the operator's setting, which adds to :data:`ALLOWED_FLAGS`.
    """
    if len(launch.flags) > MAX_FLAGS:
        raise InvalidRequest(
            f"The session sets {len(launch.flags)} flags; {MAX_FLAGS} are allowed."
        )
    allowed = ALLOWED_FLAGS.union(map(str.strip, allowed_flags.split(",")))
    for flag in launch.flags:
        _check_flag(flag, allowed)
    _check_proxy(launch.proxy)
    if not _BYPASS.fullmatch(launch.proxy_bypass):
        raise InvalidRequest("The proxy's bypass list is not a list of hosts separated by commas.")
    if launch.profile and not _PROFILE.fullmatch(launch.profile):
        raise InvalidRequest(
            "The profile's name is not 1 to 64 letters, digits, dots, dashes or underscores."
        )
    if launch.profile.partition("/")[0] in (".", ".."):
        raise InvalidRequest("The profile's owner is not the name of a folder.")


def command_line(launch: ChromeOptions) -> list[str]:
    """Return the flags of checked options."""
    argv = list(launch.flags)
    if launch.proxy:
        argv.append(f"--proxy-server={launch.proxy}")
    if launch.proxy_bypass:
        argv.append(f"--proxy-bypass-list={launch.proxy_bypass}")
    if launch.ignore_certificate_errors:
        argv.append("--ignore-certificate-errors")
    return argv
