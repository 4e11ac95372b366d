"""Chrome: which program, with which flags and which environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chromepool.errors import HostError
from chromepool.model import ChromeOptions, Limits
from chromepool.supervisor.chrome import command_line as chrome

MIB = 1 << 20


LIMITS = Limits(512 * MIB, 100 * MIB, 100, 0.0, 1000, 64 * MIB)


def _executable(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    path.chmod(0o755)
    return path


def test_a_program_is_taken_by_its_real_path(tmp_path: Path) -> None:
    program = _executable(tmp_path / "chrome", b"\x7fELF")
    link = tmp_path / "link"
    link.symlink_to(program)
    assert chrome.find(str(program)) == chrome.find(str(link)) == str(program)


def test_a_script_of_the_operators_own_is_taken_as_it_is(tmp_path: Path) -> None:
    script = _executable(tmp_path / "chromium", b'#!/bin/sh\nexec /opt/chrome "$@"\n')
    link = tmp_path / "google-chrome"
    link.symlink_to(script)
    assert chrome.find(str(script)) == chrome.find(str(link)) == str(script)


def test_debians_wrappers_give_way_to_what_they_start() -> None:
    behind = Path("/usr/lib/chromium")
    names = [path.name for path in behind.glob("*") if (Path("/usr/bin") / path.name).exists()]
    if not names:
        pytest.skip("no wrapper of Debian's is installed")
    for name in names:
        assert chrome.find(f"/usr/bin/{name}") == str(behind / name)


def test_what_is_no_program_is_not_found(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"\x7fELF")
    for path in (plain, tmp_path, tmp_path / "missing", Path("no-such-chrome")):
        with pytest.raises(HostError, match="There is no Chrome") as caught:
            chrome.find(str(path))
        assert str(path) in caught.value.detail
        assert caught.value.remedy


def test_the_command_line() -> None:
    argv = chrome.command_line(
        "/x/chrome",
        Path("/p"),
        LIMITS,
        ChromeOptions(),
        sandbox=True,
        shm_bytes=1 << 30,
        protocol_port=False,
    )
    assert argv[0] == "/x/chrome"
    assert argv[-1] == "about:blank"
    assert "--remote-debugging-pipe" in argv
    assert "--user-data-dir=/p" in argv
    assert "--js-flags=--max-old-space-size=100" in argv
    assert "--headless=new" in argv
    assert len(argv) == len(set(argv))
    for absent in ("--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port"):
        assert not [flag for flag in argv if flag.startswith(absent)]


def _argv(**given: Any) -> list[str]:
    usual: dict[str, Any] = {"options": ChromeOptions(), "sandbox": True, "shm_bytes": 1 << 30}
    return chrome.command_line("/x/headless_shell", Path("/p"), LIMITS, **(usual | given))


def test_what_the_command_line_depends_on() -> None:
    usual = set(_argv())
    assert "--headless=new" not in usual
    assert set(_argv(sandbox=False)) - usual == {"--no-sandbox"}
    assert set(_argv(shm_bytes=64 * MIB)) - usual == {"--disable-dev-shm-usage"}
    assert set(_argv(shm_bytes=0)) - usual == {"--disable-dev-shm-usage"}
    assert set(_argv(protocol_port=True)) - usual == {"--remote-debugging-port=0"}
    for forbidden in ("--no-sandbox", "--disable-web-security", "--disable-setuid-sandbox"):
        assert forbidden not in usual


def test_the_heap_is_in_mebibytes_and_never_zero() -> None:
    for heap, flag in ((100_000_000, 95), (0, 1), (1, 1), (MIB, 1), (3 * MIB - 1, 2)):
        few = Limits(1, heap, 1, 0.0, 1, 1)
        argv = chrome.command_line(
            "/c", Path("/p"), few, ChromeOptions(), sandbox=True, shm_bytes=0
        )
        assert f"--js-flags=--max-old-space-size={flag}" in argv


def test_nothing_of_the_daemons_environment_reaches_chrome() -> None:
    ours = {
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/bus",
        "CHROMEPOOL_TOKEN": "secret",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "LD_PRELOAD": "/evil.so",
        "HOME": "/root",
        "PATH": "/root/bin",
        "TZ": "Europe/Berlin",
        "LANG": "de_DE.UTF-8",
    }
    given = chrome.environment(Path("/p"), "s1", ours)
    assert given["HOME"] == given["XDG_CONFIG_HOME"] == given["XDG_CACHE_HOME"] == "/p"
    assert (given["TZ"], given["LANG"]) == ("Europe/Berlin", "de_DE.UTF-8")
    assert set(given) <= {
        *(
            "PATH",
            "HOME",
            "CHROMEPOOL_NAME",
            "TMPDIR",
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "LANG",
            "TZ",
            "LC_ALL",
        )
    }
    assert "/root/bin" not in given.values()
    assert chrome.environment(Path("/p"), "s1", {})["LANG"] == "C.UTF-8"
