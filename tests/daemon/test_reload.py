"""SIGHUP: what can change while the daemon runs, and what only a restart changes."""

from __future__ import annotations

import signal
from pathlib import Path

import yaml

from testing.daemon import Daemon, wait_for


class _FromFile(Daemon):
    """Started with a YAML file of settings."""

    @property
    def file(self) -> Path:
        return self.folder / "chromepool.yaml"

    @property
    def argv(self) -> list[str]:
        argv = super().argv
        at = argv.index("serve")
        return [*argv[:at], "--config", str(self.file), *argv[at:]]

    def write(self, **settings: object) -> None:
        self.file.write_text(yaml.safe_dump(settings))

    def reload(self, said: str) -> None:
        """Sends SIGHUP and waits until the log says what came of it."""
        seen = len(self.log)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: said in "".join(self.log[seen:]), f"the log says {said!r}")


def _max(daemon: Daemon) -> int:
    most: int = daemon.ask("GET", "/v1/status").json["sessions"]["max"]
    return most


def test_settings_that_can_change_do_and_sessions_go_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = _FromFile(tmp_path)
    daemon.write(max_sessions=2)
    with daemon:
        session = daemon.new()
        gateway = daemon.gateway
        daemon.write(max_sessions=1, idle_timeout_s=77, session_memory_bytes="256MiB")
        daemon.reload("settings.reloaded")
        wait_for(lambda: _max(daemon) == 1, "the gateway has it")
        assert daemon.ask("POST", "/v1/sessions").json["code"] == "pool_full"
        assert daemon.show(session["id"])["state"] == "ready"
        assert daemon.gateway != gateway
        daemon.delete(session["id"])
        assert daemon.new()["limits"]["memory_bytes"] == 256 << 20


def test_the_warm_pool_follows(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = _FromFile(tmp_path)
    daemon._settings.pop("warm_sessions")
    daemon.write(warm_sessions=2)

    def warm() -> int:
        waiting: int = daemon.ask("GET", "/v1/status").json["warm"]["waiting"]
        return waiting

    with daemon:
        wait_for(lambda: warm() == 2, "two wait")
        daemon.write(warm_sessions=1)
        daemon.reload("settings.reloaded")
        wait_for(lambda: len(daemon.chromes()) == 1, "one of them is let go")
        ended = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
        assert [s["exit"]["reason"] for s in ended if s["exit"]] == ["drained"]


def test_a_mistake_changes_nothing_and_is_told_with_its_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = _FromFile(tmp_path)
    daemon.write(max_sessions=3)
    with daemon:
        daemon.file.write_text("max_sessions: 4\nmax_sesions: 5\n")
        daemon.reload("chromepool.yaml:2: there is no setting 'max_sesions'")
        assert _max(daemon) == 3
        daemon.file.write_text("max_sessions: many\n")
        daemon.reload("chromepool.yaml:1: max_sessions = 'many'")
        assert _max(daemon) == 3


def test_what_only_a_restart_changes_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = _FromFile(tmp_path)
    daemon.write(max_sessions=3)
    with daemon:
        daemon.write(max_sessions=4, pool_memory_bytes="2GiB")
        daemon.reload('"settings": ["pool_memory_bytes"]')
        wait_for(lambda: _max(daemon) == 4, "the rest is taken")


def test_tokens_are_read_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"old {'o' * 32}\n")
    daemon = _FromFile(tmp_path, tokens_file=tokens, control_tcp=True)
    daemon.write()

    def status(letter: str) -> int:
        headers = {"Authorization": f"Bearer {letter * 32}"}
        return daemon.get("/v1/sessions", headers=headers).status

    with daemon:
        assert (status("o"), status("n")) == (200, 401)
        tokens.write_text(f"new {'n' * 32}\n")
        daemon.reload("settings.reloaded")
        wait_for(lambda: (status("o"), status("n")) == (401, 200), "the new ones count")


def test_the_next_gateway_has_them_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = _FromFile(tmp_path)
    daemon.write(max_sessions=3)
    with daemon:
        daemon.write(max_sessions=5)
        daemon.reload("settings.reloaded")
        daemon.gateway.kill()
        wait_for(lambda: _max(daemon) == 5, "the next gateway has them")


def test_of_two_in_a_row_the_last_one_counts(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = _FromFile(tmp_path)
    daemon.write(max_sessions=2)
    with daemon:
        for most in (3, 4, 5):
            daemon.write(max_sessions=most)
            daemon.process.send_signal(signal.SIGHUP)
            wait_for(lambda: _is_taken(daemon), "the signal is taken")
        wait_for(lambda: _max(daemon) == 5, "the last one is in force")


def _is_taken(daemon: Daemon) -> bool:
    """A signal that is still pending would swallow the next one."""
    pending = Path(f"/proc/{daemon.pid}/status").read_text()
    shared = next(line for line in pending.splitlines() if line.startswith("ShdPnd"))
    return int(shared.split()[1], 16) == 0
