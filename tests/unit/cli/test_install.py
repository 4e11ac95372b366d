"""What ``chromepool install`` writes. That it runs is for the system tests."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from chromepool.cli import install as installing
from chromepool.cli.install import Target
from chromepool.cli.main import cli
from testing import ROOT


def _unit(target: Target) -> str:
    files = {path.name: text for path, text in target.files().items()}
    return files["chromepool.service"]


def _run(*argv: str) -> str:
    done = CliRunner().invoke(cli, [*argv])
    assert done.exit_code == 0, done.output
    return done.output


def test_below_a_root_everything_is_written_and_nothing_run(tmp_path: Path) -> None:
    told = _run("install", "--root", str(tmp_path))
    assert "run " not in told
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "etc/systemd/system/chromepool.service",
        "etc/systemd/system/chromepool.socket",
        "etc/sysusers.d/chromepool.conf",
        "etc/tmpfiles.d/chromepool.conf",
    }
    assert _run("install", "--root", str(tmp_path)).count("unchanged") == 4
    _run("uninstall", "--root", str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_user_s_units_are_the_user_s(tmp_path: Path) -> None:
    _run("install", "--user", "--root", str(tmp_path))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "etc/systemd/user/chromepool.service",
        "etc/systemd/user/chromepool.socket",
    }
    text = (tmp_path / "etc/systemd/user/chromepool.service").read_text()
    assert "CapabilityBoundingSet" not in text


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    assert "write " in _run("install", "--dry-run", "--root", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_without_systemd_it_says_so() -> None:
    done = CliRunner().invoke(cli, ["install"])
    assert done.exit_code == 1
    assert "No systemd runs here" in done.output
    assert "Traceback" not in done.output


def test_the_unit_runs_this_very_chromepool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(ROOT / "my venv" / "chromepool")])
    command, _ = installing.find_command()
    text = _unit(Target(user=False, command=command))
    lines = re.findall(r"^Exec\w+=.*", text, re.MULTILINE)
    assert f"ExecStart={command} serve" in lines
    assert f"ExecStopPost={command} after-stop" in lines
    assert command.endswith("-P -m chromepool.cli.main"), "that script is not there"
    assert "/usr/bin/env chromepool" not in text


def test_a_command_with_spaces_and_percents_is_quoted() -> None:
    assert installing._quote("/opt/my venv/$x/chromepool") == '"/opt/my venv/$$x/chromepool"'
    text = _unit(Target(user=False, command="/opt/100%/chromepool"))
    assert "ExecStart=/opt/100%%/chromepool serve\n" in text


def test_from_systemd_254_on_the_daemon_starts_in_a_group_of_its_own() -> None:
    old, new = (_unit(Target(user=False, systemd=version)) for version in (252, 254))
    assert "DelegateSubgroup" not in old
    assert re.search("^ExecStopPost=.* after-stop$", old, re.MULTILINE)
    assert "\nDelegateSubgroup=daemon\n" in new
    assert re.search("^ExecStopPost=.* after-stop --keep-controllers$", new, re.MULTILINE)


@pytest.mark.parametrize("home", ["/home/ann/.local/bin/chromepool", "/root/venv/bin/chromepool"])
def test_code_in_somebody_s_home_can_be_read(home: str) -> None:
    assert "\nProtectHome=yes\n" in _unit(Target(user=False, code=(Path("/opt/venv"),)))
    assert "\nProtectHome=read-only\n" in _unit(Target(user=False, code=(Path(home),)))


def test_on_cgroup_v1_the_groups_can_be_written() -> None:
    assert "\nProtectControlGroups=yes\n" in _unit(Target(user=False))
    assert "\nProtectControlGroups=no\n" in _unit(Target(user=False, unified=False))


def test_code_that_others_may_change_is_found(tmp_path: Path) -> None:
    assert installing.foreign_code(Target(user=False, code=(Path("/usr/bin/env"),))) == []
    script = tmp_path / "chromepool"
    script.touch()
    if os.geteuid() == 0:
        os.chown(script, 12345, 12345)
    assert script in installing.foreign_code(Target(user=False, code=(script,)))


def test_the_units_are_in_the_package(tmp_path: Path) -> None:
    """As setup.cfg lists them; what pip and pipx install is made from it."""
    data = re.search(r"^chromepool = (.+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert data is not None
    package = ROOT / "chromepool"
    listed = {path for pattern in data[1].split(", ") for path in package.glob(pattern)}
    units = {path for path in (package / "units").rglob("*") if path.is_file()}
    assert units <= listed
    assert len(units) == 6
    assert (ROOT / "systemd").resolve() == package / "units", "one source of truth"
