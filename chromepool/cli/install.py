"""``chromepool install`` and ``uninstall``: the systemd units, as they suit this machine.

The units are files of the package (``chromepool/units``), whole as they stand; what differs from
machine to machine is put in here: the command, and what its systemd and control groups can do.
"""

from __future__ import annotations

import dataclasses
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
_HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
_PRIVATE = tuple(map(Path, ("/tmp", "/var/tmp")))
_SAFE = re.compile(r"[\w@+=:,./-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where to, and what that machine is like."""

    user: bool
    root: Path | None = None
    """Write below this folder and start nothing: for who makes a package."""
    command: str = _PLAIN
    code: tuple[Path, ...] = ()
    """Folders the daemon's code is read from."""
    systemd: int = 0
    unified: bool = True
    """Whether control groups are v2 alone."""

    def place(self, folder: str, name: str) -> Path:
        """Where a file of a system folder goes."""
        return (self.root or Path("/")) / folder / name

    def files(self) -> dict[Path, str]:
        """Every file and its text."""
        if self.user:
            base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
            folder = Path(base) / "systemd/user"
            if self.root is not None:
                folder = self.place("etc/systemd", "user")
            return {folder / name: self.render(_read(f"user/{name}")) for name in _UNITS}
        units = {
            self.place("etc/systemd/system", name): self.render(_read(name)) for name in _UNITS
        }
        return units | {
            self.place(f"etc/{kind}.d", "chromepool.conf"): _read(f"chromepool.{kind}.conf")
            for kind in ("sysusers", "tmpfiles")
        }

    def render(self, text: str) -> str:
        """A unit of the package's for this machine."""
        text = text.replace(_PLAIN, self.command.replace("%", "%%"))
        if self.systemd >= _SUBGROUP_SINCE:
            text = text.replace("\nDelegate=yes\n", "\nDelegate=yes\nDelegateSubgroup=daemon\n")
            text = text.replace(" after-stop\n", " after-stop --keep-controllers\n")
        if not self.unified:
            text = text.replace("\nProtectControlGroups=yes\n", "\nProtectControlGroups=no\n")
        if any(folder.is_relative_to(home) for folder in self.code for home in _HOMES):
            text = text.replace("\nProtectHome=yes\n", "\nProtectHome=read-only\n")
        return text


def _read(name: str) -> str:
    return (importlib.resources.files("chromepool") / "units" / name).read_text()


def find_command() -> tuple[str, tuple[Path, ...]]:
    """What a unit is to run to get this very chromepool, and the folders its code lies in."""
    script = Path(os.path.abspath(sys.argv[0]))
    argv = [sys.executable, "-P", "-m", "chromepool.cli.main"]
    if script.name == "chromepool" and os.access(script, os.X_OK):
        argv = [str(script)]
    package = Path(__file__).parents[1]
    code = (script, script.resolve(), package, Path(sys.executable), Path(sys.base_prefix))
    return " ".join(map(_quote, argv)), code


def _quote(word: str) -> str:
    """A word of a command line as systemd reads it (systemd.service(5))."""
    if _SAFE.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def examine(*, user: bool, root: Path | None) -> Target:
    """This machine. Raises :class:`HostError` where the units could not run."""
    command, code = find_command()
    if root is not None:
        return Target(user, root, command, code)
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        raise HostError(
            "systemd does not run here.",
            remedy="Run `chromepool serve` yourself, or in a container; --root DIR only writes.",
        )
    if not user and os.geteuid() != 0:
        raise HostError("The system's units are root's.", remedy="Use sudo, or --user.")
    for folder in _PRIVATE:
        if not user and any(part.is_relative_to(folder) for part in code):
            raise HostError(
                f"This chromepool lies below {folder}, and the service has one of its own.",
                remedy="Install it elsewhere: pipx, or a venv in /opt.",
            )
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"systemd (\d+)", done.stdout)
    return Target(
        user,
        None,
        command,
        code,
        systemd=int(version[1]) if version else 0,
        unified=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
    )


def foreign_code(target: Target) -> list[Path]:
    """Where somebody but root could change what root's service runs."""
    parts = {part for path in target.code if path.exists() for part in (path, *path.parents)}
    return sorted(part for part in parts if part.exists() and part.stat().st_uid != 0)


class _Steps:
    """Does what it says, or with ``dry_run`` only says it."""

    def __init__(self, target: Target, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._user = ["--user"] if target.user else []

    def write(self, path: Path, text: str) -> None:
        if path.exists() and path.read_text() == text:
            click.echo(f"unchanged  {path}")
            return
        click.echo(f"write      {path}")
        if not self._dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)

    def remove(self, path: Path) -> None:
        if path.exists():
            click.echo(f"remove     {path}")
            if not self._dry_run:
                path.unlink()

    def systemctl(self, *words: str) -> None:
        self.run("systemctl", *self._user, *words)

    def run(self, *argv: str) -> None:
        """Raises :class:`HostError` when it fails."""
        click.echo(f"run        {' '.join(argv)}")
        if self._dry_run:
            return
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise HostError(f"{' '.join(argv)}: {said}.", remedy="See journalctl -u chromepool.")


_user = click.option("--user", is_flag=True, help="The units of this user's own manager.")
_root = click.option(
    "--root", type=click.Path(path_type=Path), help="Write below this folder, and run nothing."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@click.command()
@_user
@_root
@click.option("--enable/--no-enable", default=True, help="Start it, now and at every boot. [yes]")
@_dry_run
def install(user: bool, root: Path | None, enable: bool, dry_run: bool) -> None:
    """Install chromepool as a systemd service with its sockets."""
    target = examine(user=user, root=root)
    steps = _Steps(target, dry_run=dry_run)
    for path, text in target.files().items():
        steps.write(path, text)
    if root is not None:
        return
    foreign = [] if user else foreign_code(target)
    if foreign:
        click.echo(f"warning: root's service runs what others may change: {foreign[0]}", err=True)
    if not user:
        steps.run("systemd-sysusers", "chromepool.conf")
        steps.run("systemd-tmpfiles", "--create", "chromepool.conf")
    steps.systemctl("daemon-reload")
    if enable:
        steps.systemctl("enable", *_UNITS)
        steps.systemctl("start", *_UNITS)


@click.command()
@_user
@_root
@_dry_run
def uninstall(user: bool, root: Path | None, dry_run: bool) -> None:
    """Stop the service and remove its units. Settings, kept profiles and the journal stay."""
    target = examine(user=user, root=root)
    steps = _Steps(target, dry_run=dry_run)
    files = list(target.files())
    if root is None and any(path.exists() for path in files):
        steps.systemctl("disable", "--now", *_UNITS)
    for path in files:
        steps.remove(path)
    if root is None:
        steps.systemctl("daemon-reload")
