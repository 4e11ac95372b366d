"""The Chrome to run, and its command line, in which the gateway chooses checked options only."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from chromepool import chrome_options
from chromepool.errors import HostError
from chromepool.model import ChromeOptions, Limits

# Debian's and Ubuntu's /usr/bin entries are shell scripts that start the real program as a child
# or rewrite its flags; pid, exit status and descriptors must be those of Chrome itself.
CANDIDATES = (
    "/usr/lib/chromium/chromium-headless-shell",
    "chrome-headless-shell",
    "headless_shell",
    "/opt/google/chrome/chrome",
    "/usr/lib/chromium/chromium",
    "/usr/lib/chromium-browser/chromium-browser",
)
INSTALL = (
    "Install one (Debian: apt-get install chromium-headless-shell), or name one with --chrome PATH."
)

# Sources: Chrome's own list for automation, chromium.org "chrome-flags-for-tools".
FLAGS = (
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-service-autorun",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-hang-monitor",
    "--disable-popup-blocking",
    "--disable-prompt-on-repost",
    "--disable-sync",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
    "--mute-audio",
    "--hide-scrollbars",
    "--disable-gpu",
    # A page in the background of a server is still a page that a client waits for.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--force-color-profile=srgb",
    # On in every desktop Chrome, off in the headless shell: sites must not share a process.
    "--site-per-process",
    # A spare renderer takes megabytes in every session, to speed up its navigations a little.
    "--disable-features=SpareRendererForSitePerProcess",
)
SMALL_SHM_BYTES = 256 * 1024 * 1024
"""A /dev/shm smaller than this is not used: Docker's default of 64 MB crashes pages."""


def find(configured: str) -> str:
    """Return the path of the Chrome to run; raises :class:`HostError`."""
    for name in (configured,) if configured else CANDIDATES:
        path = shutil.which(name)
        if path is not None:
            return _resolve_wrapper(path)
    where = f"There is no Chrome at {configured}." if configured else "No Chrome was found."
    raise HostError(where, remedy=INSTALL)


def _resolve_wrapper(path: str) -> str:
    """Return the program behind one of Debian's scripts; an operator's must end in ``exec``."""
    behind = Path("/usr/lib/chromium") / Path(path).name
    if Path(path).parent == Path("/usr/bin") and behind.exists():
        return str(behind)
    return os.path.realpath(path)


def command_line(
    chrome: str,
    profile: Path,
    limits: Limits,
    options: ChromeOptions,
    *,
    sandbox: bool,
    shm_bytes: int,
    protocol_port: bool = False,
) -> list[str]:
    """Return the command line of a session's Chrome."""
    argv = [chrome, *FLAGS, f"--user-data-dir={profile}"]
    argv.append(f"--js-flags=--max-old-space-size={max(1, limits.heap_bytes // (1024 * 1024))}")
    if "headless" not in Path(chrome).name:  # else it is the small one without a window system
        argv.append("--headless=new")
    if not sandbox:
        argv.append("--no-sandbox")
    if shm_bytes < SMALL_SHM_BYTES:
        argv.append("--disable-dev-shm-usage")
    if protocol_port:
        argv.append("--remote-debugging-port=0")
    return [*argv, *chrome_options.command_line(options), "about:blank"]


NAME_VARIABLE = "CHROMEPOOL_NAME"
"""Environment variable of every process of a session: the name of its control group."""


def environment(profile: Path, name: str, daemon: Mapping[str, str]) -> dict[str, str]:
    """Return Chrome's whole environment; of the daemon's, other variables may be secrets.

    With a D-Bus address Chrome would ask systemd for a scope and leave its control group.
    """
    fixed = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(profile))
    kept = {name: daemon[name] for name in ("LANG", "TZ", "LC_ALL") if name in daemon}
    return {NAME_VARIABLE: name, **fixed, **homes, **kept}


def shm_size() -> int:
    """Return the size of /dev/shm in bytes; 0 where there is none."""
    try:
        stat = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return stat.f_blocks * stat.f_frsize
