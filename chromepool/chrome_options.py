"""What a session may ask of Chrome's command line.

Both processes check: the gateway to give a clear answer, the supervisor because it trusts nobody.
"""

from __future__ import annotations

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
"""Flags that change only how the session's own pages look and behave. None of them opens a port,
names a file or a program, or touches the sandbox, the limits or the separation of sites."""
MAX_FLAGS = 32
_FLAG = re.compile(r"(--[a-z][a-z0-9-]*)(?:=([\x20-\x7e]{0,1024}))?")
_PROXY = re.compile(
    r"(?:https?|socks[45])://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})"
)
_BYPASS = re.compile(r"[A-Za-z0-9.*:;,<>/_\[\]-]{0,1024}")
PROFILE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_PROFILE = re.compile(rf"[A-Za-z0-9_.-]{{1,128}}/{PROFILE_NAME}")


def flag_names(setting: str) -> frozenset[str]:
    """The names in the operator's ``allowed_flags``."""
    return frozenset(name.strip() for name in setting.split(",") if name.strip())


def _check_flag(flag: str, allowed: frozenset[str]) -> None:
    match = _FLAG.fullmatch(flag)
    if match is None:
        raise InvalidRequest(f"{flag[:80]!r} is not a flag such as --lang=de.")
    if match[1] not in allowed:
        raise InvalidRequest(
            f"The flag {match[1]} is not one that sessions may set.",
            remedy="The operator can add it to allowed_flags.",
        )


def _check_proxy(proxy: str) -> None:
    """Strict: what Chrome cannot read, ``http://a=b:1`` say, it leaves out, and goes direct."""
    if proxy in ("", "direct://"):
        return
    match = _PROXY.fullmatch(proxy)
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise InvalidRequest(
            "The proxy is not scheme://host:port with http, https, socks4 or socks5.",
            remedy="A user name and password are answered over CDP (Fetch.authRequired).",
        )


def check(launch: ChromeOptions, allowed_flags: str) -> None:
    """Raises :class:`InvalidRequest` for what a session may not have.

    ``allowed_flags`` is the operator's setting, beyond :data:`ALLOWED_FLAGS`.
    """
    if len(launch.flags) > MAX_FLAGS:
        raise InvalidRequest(f"{len(launch.flags)} flags are more than {MAX_FLAGS}.")
    allowed = ALLOWED_FLAGS | flag_names(allowed_flags)
    for flag in launch.flags:
        _check_flag(flag, allowed)
    _check_proxy(launch.proxy)
    if not _BYPASS.fullmatch(launch.proxy_bypass):
        raise InvalidRequest("The proxy's bypass list is not hosts separated by commas.")
    if launch.profile and not _PROFILE.fullmatch(launch.profile):
        raise InvalidRequest("A profile's name is letters, digits, dots, dashes; up to 64.")
    if launch.profile.partition("/")[0] in (".", ".."):
        raise InvalidRequest("A profile's owner is not a folder above.")


def command_line(launch: ChromeOptions) -> list[str]:
    """The flags that a checked launch stands for."""
    argv = list(launch.flags)
    if launch.proxy:
        argv.append(f"--proxy-server={launch.proxy}")
    if launch.proxy_bypass:
        argv.append(f"--proxy-bypass-list={launch.proxy_bypass}")
    if launch.ignore_certificate_errors:
        argv.append("--ignore-certificate-errors")
    return argv
