"""The files in ``deploy``: the seccomp profile, the compose file, the lock."""

from __future__ import annotations

import configparser
import json
import re
import runpy
from typing import Any

import yaml
from packaging.requirements import Requirement

from chromepool import config
from testing import ROOT

PROFILE = ROOT / "deploy/seccomp.json"


DEFAULT = ROOT / "deploy/seccomp-default.json"


SECCOMP = runpy.run_path(str(ROOT / "scripts/seccomp"))


def _allowed(profile: dict[str, Any], capabilities: frozenset[str]) -> dict[str, list[Any]]:
    """Calls that some rule allows with these capabilities, and on which arguments."""
    found: dict[str, list[Any]] = {}
    for rule in profile["syscalls"]:
        needs, without = rule["includes"].get("caps", []), rule["excludes"].get("caps", [])
        applies = capabilities.issuperset(needs) and not capabilities & set(without)
        if applies and rule["action"] == "SCMP_ACT_ALLOW":
            for name in rule["names"]:
                found.setdefault(name, []).append(rule["args"])
    return found


def test_the_profile_is_the_default_and_three_calls() -> None:
    default, ours = json.loads(DEFAULT.read_text()), json.loads(PROFILE.read_text())
    assert SECCOMP["with_sandbox"](default) == ours, "run: scripts/seccomp > deploy/seccomp.json"
    before, after = _allowed(default, frozenset()), _allowed(ours, frozenset())
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"chroot", "clone", "unshare"}
    assert {name for name in changed if name not in before} == {"chroot", "unshare"}
    assert ours | {"syscalls": []} == default | {"syscalls": []}


def test_the_default_opens_nothing_to_a_container_without_capabilities() -> None:
    default = _allowed(json.loads(DEFAULT.read_text()), frozenset())
    assert not {"mount", "setns", "bpf", "io_uring_setup", "keyctl", "kexec_load"} & set(default)


def test_what_compose_is_told_is_what_there_is() -> None:
    path = ROOT / "deploy/compose.yaml"
    service = yaml.safe_load(path.read_text())["services"]["chromepool"]
    names = {config.env_of(name) for name in config.FIELDS}
    names |= {field.metadata["alias"] for field in config.FIELDS.values()}
    assert set(service["environment"]) <= names
    options = dict(option.split(":", 1) for option in service["security_opt"])
    assert (path.parent / options["seccomp"]).resolve() == PROFILE
    stop_s = int(service["stop_grace_period"].removesuffix("s"))
    assert stop_s > config.Settings().shutdown_timeout_s


def test_the_lock_has_every_dependency_as_setup_cfg_wants_it() -> None:
    locked = re.findall(
        r"^([\w-]+)==(\S+)(?: ;.*)? \\\n    --hash=sha256:",
        (ROOT / "deploy/requirements.lock").read_text(),
        re.MULTILINE,
    )
    versions = {name.lower(): version for name, version in locked}
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    wanted = parser["options"]["install_requires"].split("\n")
    for requirement in map(Requirement, filter(None, wanted)):
        version = versions[requirement.name.lower()]
        assert requirement.specifier.contains(version), f"{requirement}: run make lock"
