"""``chromepool install`` and ``uninstall``: the systemd units, adapted to this machine.

The units of the package are complete. The command, and the lines that depend on the machine's
systemd and control groups, are replaced here.
"""

import dataclasses
import functools
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from chromepool.errors import HostError

_UNITS = ("chromepool.socket", "chromepool.service")
_PLAIN = "/usr/bin/env chromepool"
"""The command in the package's units."""
_SUBGROUP_SINCE = 254
"""First version of systemd with ``DelegateSubgroup=``."""
_HOMES = ("/home", "/root", "/run/user")
_PRIVATE = ("/tmp", "/var/tmp")
_SAFE = re.compile(r"[\w@+=:,./-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The machine that the units are for, and the folder that they are written below."""

    user: bool
    root: Path | None = None
    """Folder to write below without starting anything, to build a package; None: this machine."""
    command: str = _PLAIN
    code: tuple[Path, ...] = ()
    """Files and folders that the daemon's code is read from."""
    systemd: int = 0
    """Version of systemd."""
    unified: bool = True
    """True where all control groups are v2."""

    def files(self) -> dict[Path, str]:
        """Return the path and the text of every file."""
        etc = (self.root or Path("/")) / "etc"
        if self.user:
            folder = etc / "systemd/user"
            if self.root is None:
                base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
                folder = Path(base) / "systemd/user"
            return {folder / name: self.render(_read(f"user/{name}")) for name in _UNITS}
        units = {etc / "systemd/system" / name: self.render(_read(name)) for name in _UNITS}
        return units | {
            etc / f"{kind}.d/chromepool.conf": _read(f"chromepool.{kind}.conf")
            for kind in ("sysusers", "tmpfiles")
        }

    def render(self, text: str) -> str:
        """Adapt a unit of the package to this machine."""
        text = text.replace(_PLAIN, self.command.replace("%", "%%"))
        if self.systemd >= _SUBGROUP_SINCE:
            text = text.replace("\nDelegate=yes\n", "\nDelegate=yes\nDelegateSubgroup=daemon\n")
            text = text.replace(" after-stop\n", " after-stop --keep-controllers\n")
        if not self.unified:
            text = text.replace("\nProtectControlGroups=yes\n", "\nProtectControlGroups=no\n")
        if self.code_below(_HOMES):
            text = text.replace("\nProtectHome=yes\n", "\nProtectHome=read-only\n")
        return text

    def code_below(self, folders: tuple[str, ...]) -> str:
        """Return the first of these folders that has some of the code, or ""."""
        found = (f for f in folders if any(part.is_relative_to(f) for part in self.code))
        return next(found, "")


def _read(name: str) -> str:
    return (importlib.resources.files("chromepool") / "units" / name).read_text()


def find_command() -> tuple[str, tuple[Path, ...]]:
    """Return the command that runs this very chromepool, and the places that its code lies in."""
    script = Path(os.path.abspath(sys.argv[0]))
    argv = [sys.executable, "-P", "-m", "chromepool.cli.main"]
    if script.name == "chromepool" and os.access(script, os.X_OK):
        argv = [str(script)]
    package = Path(__file__).parents[1]
    code = (script, script.resolve(), package, Path(sys.executable), Path(sys.base_prefix))
    return " ".join(map(_quote, argv)), code


def _quote(word: str) -> str:
    """Quote a word of a command line for systemd (systemd.service(5))."""
    if _SAFE.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def examine(*, user: bool, root: Path | None) -> Target:
    """Examine this machine; raises :class:`HostError` where the units could not run."""
    target = Target(user, root, *find_command())
    if root is not None:
        return target
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        raise HostError(
            "No systemd runs here.",
            remedy="Run `chromepool serve` yourself; or only write the units, with --root DIR.",
        )
    if not user and os.geteuid() != 0:
        raise HostError("Only root can install system units.", remedy="Use sudo, or --user.")
    hidden = "" if user else target.code_below(_PRIVATE)
    if hidden:
        raise HostError(
            f"The installed chromepool lies below {hidden}, which the service does not see.",
            remedy="Install chromepool elsewhere: with pipx, or in a venv in /opt.",
        )
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"systemd (\d+)", done.stdout) or ("", "0")
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return dataclasses.replace(target, systemd=int(version[1]), unified=unified)


def foreign_code(target: Target) -> list[Path]:
    """Return the files and folders of root's service that another user owns, and could change."""
    parts = {part for path in target.code if path.exists() for part in (path, *path.parents)}
    return sorted(part for part in parts if part.exists() and part.stat().st_uid != 0)


class _Steps:
    """Steps of an installation: each is printed and, but for ``dry_run``, done."""

    def __init__(self, target: Target, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        manager = ["--user"] if target.user else []
        self.systemctl = functools.partial(self.run, "systemctl", *manager)

    def write(self, path: Path, text: str) -> None:
        unchanged = path.exists() and path.read_text() == text
        click.echo(f"{'unchanged' if unchanged else 'write':10} {path}")
        if not (unchanged or self._dry_run):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)

    def remove(self, path: Path) -> None:
        if path.exists():
            click.echo(f"remove     {path}")
            if not self._dry_run:
                path.unlink()

    def run(self, *argv: str) -> None:
        """Run a command; raises :class:`HostError` when it fails."""
        line = " ".join(argv)
        click.echo(f"run        {line}")
        if self._dry_run:
            return
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            why = done.stderr.strip() or f"exit code {done.returncode}"
            raise HostError(f"`{line}` failed: {why}.", remedy="See journalctl -u chromepool.")


_user = click.option("--user", is_flag=True, help="Use the units of this user's own systemd.")
_ROOT_HELP = "Folder to write below, without running anything."
_root = click.option("--root", type=click.Path(path_type=Path), help=_ROOT_HELP)
_dry_run = click.option("--dry-run", is_flag=True, help="Print the steps without doing them.")


@click.command()
@_user
@_root
@click.option(
    "--enable/--no-enable", default=True, help="Start the service now and at every boot. [yes]"
)
@_dry_run
def install(user: bool, root: Path | None, enable: bool, dry_run: bool) -> None:
    """Install chromepool as a systemd service with its sockets."""
    target = examine(user=user, root=root)
    steps = _Steps(target, dry_run=dry_run)
    for path, text in target.files().items():
        steps.write(path, text)
    if root is not None:
        return
    if not user:
        for path in foreign_code(target)[:1]:
            click.echo(f"warning: others can change code of root's service: {path}", err=True)
        steps.run("systemd-sysusers", "chromepool.conf")
        steps.run("systemd-tmpfiles", "--create", "chromepool.conf")
    steps.systemctl("daemon-reload")
    for verb in ("enable", "start") if enable else ():
        steps.systemctl(verb, *_UNITS)


@click.command()
@_user
@_root
@_dry_run
def uninstall(user: bool, root: Path | None, dry_run: bool) -> None:
    """Stop the service and remove its units. Settings, kept profiles and the history stay."""
    target = examine(user=user, root=root)
    steps = _Steps(target, dry_run=dry_run)
    files = list(target.files())
    if root is None and any(path.exists() for path in files):
        steps.systemctl("disable", "--now", *_UNITS)
    for path in files:
        steps.remove(path)
    if root is None:
        steps.systemctl("daemon-reload")
