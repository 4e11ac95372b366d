"""The image, built from the Dockerfile with podman and runc: no daemon, no registry.

Everything podman keeps lies in a folder of the tests' own, so that a second run finds the base
image and the layers: ``CHROMEPOOL_TEST_CACHE``, by default ``~/.cache/chromepool-tests``.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from testing import ROOT
from testing.daemon import DEADLINE_S, READY, wait_for

TOOLS = ("podman", "runc", "mmdebstrap", "node")
MARK = "for-the-build-only"
"""Stands in everything that is mounted for the build, so that what stays in the image is found."""
_CACHE = Path(os.environ.get("CHROMEPOOL_TEST_CACHE", "") or "~/.cache/chromepool-tests")
_BASE = "docker.io/library/debian:bookworm-slim"
_IMAGE = "localhost/chromepool-test"
_BUILD_S = 1200
_ENOUGH = 4096
_DEBIAN = (
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian bookworm-updates main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
)
_CONF = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{run}/tmp"
"""


def lacks() -> str:
    """Return why no container can be built and run here; "" where one can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"there is no {', '.join(missing)}" if missing else ""


def _limit(kind: int) -> int:
    """A limit below this process's own: not every machine lets it be raised, as podman would."""
    hard = psutil.Process().rlimit(kind)[1]
    return _ENOUGH if hard < 0 else min(hard, _ENOUGH)


class Engine:
    """A podman with a store of the tests' own."""

    def __init__(self) -> None:
        self.folder = _CACHE.expanduser() / "container"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.parent = f"chromepool-test-{os.getpid()}"
        self._conf = self.folder / "containers.conf"
        limits = {"files": _limit(psutil.RLIMIT_NOFILE), "processes": _limit(psutil.RLIMIT_NPROC)}
        self._conf.write_text(_CONF.format(run=self.folder / "run", **limits))
        self._forget_earlier_runs()

    def _forget_earlier_runs(self) -> None:
        """Notes of podman on mounts and processes are void after a boot, and so are containers
        whose test run was killed."""
        boot, noted = Path("/proc/sys/kernel/random/boot_id").read_text(), self.folder / "boot"
        if not noted.exists() or noted.read_text() != boot:
            shutil.rmtree(self.folder / "run", ignore_errors=True)
            noted.write_text(boot)
        for name in self("ps", "--all", "--format={{.Names}}").split():
            if not psutil.pid_exists(int(name.split("-")[1])):
                self("rm", "--force", "--time=0", name)

    def __call__(self, *words: str | Path, timeout_s: float = DEADLINE_S) -> str:
        """Return the output of ``podman WORDS``; fail the test when it fails."""
        done = self.run(*words, timeout_s=timeout_s)
        assert done.returncode == 0, f"podman {words}: {done.stdout[-4000:]} {done.stderr[-4000:]}"
        return done.stdout

    def run(
        self, *words: str | Path, timeout_s: float = DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        store = [f"--root={self.folder}/store", f"--runroot={self.folder}/run"]
        return subprocess.run(
            ["podman", "--log-level=fatal", *store, *map(str, words)],
            env=os.environ | {"CONTAINERS_CONF": str(self._conf)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def build(self, folder: Path) -> str:
        """The image of the Dockerfile as it is now, and its name; ``folder`` is for what is
        needed on the way."""
        if self.run("image", "exists", _BASE).returncode:
            archive = self.folder / f"base-{os.getpid()}.tar"
            try:
                _make_base(archive)
                self("import", archive, _BASE, timeout_s=_BUILD_S)
            finally:
                archive.unlink(missing_ok=True)
        # --format docker: OCI's has no HEALTHCHECK. The first stage is named to be kept.
        options = ["--format=docker", "--pull=never", "--network=host", *_for_the_build(folder)]
        for name, stage in ((f"{_IMAGE}-stage", ["--target=build"]), (_IMAGE, [])):
            self("build", *options, *stage, "-t", name, ROOT, timeout_s=_BUILD_S)
        self("image", "prune", "--force")  # what earlier runs have built
        return _IMAGE

    def close(self) -> None:
        """Remove the control groups that podman leaves, empty as soon as its monitors are gone."""
        wait_for(self._remove_groups, "podman's control groups are gone", pause_s=0.1)

    def _remove_groups(self) -> bool:
        group = Path("/sys/fs/cgroup")
        tops = [group, *(entry for entry in group.iterdir() if entry.is_dir())]
        for name in (f"{self.parent}/conmon", self.parent):
            for top in tops:
                with contextlib.suppress(OSError):
                    (top / name).rmdir()
        return not any((top / self.parent).exists() for top in tops)


class Container:
    """``with Container(engine, image, *options) as container: ...``: a daemon in a container.

    ``settings`` are its environment. Leaving the block removes it, whatever has happened.
    """

    def __init__(
        self, engine: Engine, image: str, *options: str | Path, **settings: object
    ) -> None:
        self.engine, self._image = engine, image
        self.name = f"chromepool-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        given = {"CHROMEPOOL_PORT": 0, "CHROMEPOOL_CREATIONS_PER_MINUTE": 0} | settings
        flags = [f"--env={name}={value}" for name, value in given.items()]
        # No network of its own: a machine may have no plugins to make one with.
        fixed = ["--network=host", f"--cgroup-parent=/{engine.parent}"]
        self._options = ["--detach", "--name", self.name, *fixed, *flags, *options]

    def __enter__(self) -> Self:
        try:
            self.engine("run", *self._options, self._image)
            self.port = wait_for(self._find_port, "the daemon is ready", pause_s=0.1)
            self.process = psutil.Process(self.inspect()["State"]["Pid"])
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            sys.stderr.write(self.log())
        self._remove()

    def _remove(self) -> None:
        self.engine("rm", "--force", "--time=5", "--volumes", self.name)

    def _find_port(self) -> int | None:
        found = READY.search(self.log())
        if found is None and not self.inspect()["State"]["Running"]:
            raise AssertionError(f"the container exited: {self.log()}")
        return int(found[1].rpartition(":")[2]) if found else None

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.engine("container", "inspect", self.name))[0]
        return found

    def log(self) -> str:
        done = self.engine.run("logs", self.name)
        return done.stdout + done.stderr

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in it, as its user."""
        return self.engine.run("exec", self.name, *words)

    def say(self, *words: str) -> Any:
        """Return what ``chromepool WORDS --json`` prints in the container."""
        done = self.exec("chromepool", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.say("ls")
        return found

    def processes(self) -> list[psutil.Process]:
        """Return every process in the container but its first, zombies too."""
        return self.process.children(recursive=True)

    def stop(self) -> int:
        """``podman stop`` and the exit code; 137 is that of one that had to be killed."""
        self.engine("stop", "--time=40", self.name)
        code: int = self.inspect()["State"]["ExitCode"]
        return code


# -- the base image, and what only the build may see --


def _make_base(archive: Path) -> None:
    """A minimal Debian, from where this machine gets its packages."""
    sources = shlex.join(["printf", r"%s\n", *_DEBIAN])  # in it Debian's own, as in the real one
    hook = f'--customize-hook={sources} > "$1/etc/apt/sources.list"'
    command = ["mmdebstrap", "--variant=minbase", "--quiet", hook, "bookworm", str(archive)]
    done = subprocess.run(
        [*command, *_package_sources()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _package_sources() -> list[str]:
    """Lines for sources.list: this machine's Debian mirrors, or Debian's own."""
    fields = "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", fields]
    command += ["Identifier: Packages", "Origin: Debian"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {line for line in done.stdout.splitlines() if re.search(r" bookworm\S* main$", line)}
    return sorted(found) if any(" bookworm main" in line for line in found) else list(_DEBIAN)


def _for_the_build(folder: Path) -> list[str]:
    """Options that let a build see how this machine gets its packages, and leave it nowhere.

    Everything is mounted over what the base image has already: a mount point that the engine has
    to make would stay behind, empty.
    """
    within = folder / "mnt"
    within.mkdir()
    (within / MARK).write_text(MARK)
    (folder / "sources.list").write_text("\n".join([f"# {MARK}", *_package_sources(), ""]))
    options = [f"--volume={within}:/mnt:ro"]
    options.append(f"--volume={folder}/sources.list:/etc/apt/sources.list:ro")
    for name in ("apt.conf.d", "auth.conf.d"):
        if Path("/etc/apt", name).is_dir():
            options.append(f"--volume=/etc/apt/{name}:/etc/apt/{name}:ro")
    settings = _pip_settings()
    if "cert" in settings:
        shutil.copy(settings["cert"], within / "ca.crt")
        settings["cert"] = "/mnt/ca.crt"
    for path in sorted(_local_folders(settings)):
        number = str(len(list(within.iterdir())))
        (within / number).mkdir()
        options.append(f"--volume={path}:/mnt/{number}:ro")
        for name, value in settings.items():
            local = rf"(?<!\S)(file://)?{re.escape(path)}(?=/|\s|$)"
            settings[name] = re.sub(local, rf"\1/mnt/{number}", value)
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    with (folder / "pip.conf").open("w") as file:
        file.write(f"# {MARK}\n")
        parser.write(file)
    return [*options, f"--secret=id=pip.conf,src={folder / 'pip.conf'}"]


def _pip_settings() -> dict[str, str]:
    """Return this machine's index of packages, whatever file or variable names it."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listed.splitlines():  # files first, the environment, which goes before, last
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("index-url", "extra-index-url", "find-links", "trusted-host", "cert", "proxy"):
            found[name] = value.strip("'\"").replace("\\n", " ")
    return found


def _local_folders(settings: dict[str, str]) -> set[str]:
    """Folders of this machine that pip looks into. An index links to files beside itself."""
    words = [word for value in settings.values() for word in value.split()]
    paths = [Path(word.removeprefix("file://")) for word in words]
    local = [path for path in paths if path.is_absolute() and path.is_dir()]
    return {str(path.parent if path.name == "simple" else path) for path in local}
