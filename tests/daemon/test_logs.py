"""The log of a real daemon, from the start to the stop of both processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from testing.cdp import connect, run
from testing.daemon import Daemon, wait_for
from testing.site import Site

LEVELS = {"debug", "info", "warning", "error", "critical"}


HEAD = ["time", "level", "logger", "event"]


class Logged(Daemon):
    """Its log apart from its stdout."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, **settings)
        self.path = folder / "log"
        self.file = folder / "chromepool.yaml"
        self.file.write_text("{}")
        self.file.chmod(0o644)
        self.environment: dict[str, str] = {}

    @property
    def argv(self) -> list[str]:
        argv = super().argv
        at = argv.index("serve")
        return [*argv[:at], "--config", str(self.file), *argv[at:]]

    def start(self) -> Self:
        with self.path.open("ab") as stderr:
            named = os.fstat(stderr.fileno())
            journal = {"JOURNAL_STREAM": f"{named.st_dev}:{named.st_ino}"}
            self.process = subprocess.Popen(
                self.argv,
                stdout=subprocess.PIPE,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env=os.environ | (journal if self.environment else {}),
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        wait_for(self._find_ready, "the daemon is ready")
        return self

    def lines(self) -> list[dict[str, Any]]:
        """Every line, each of which is a JSON object of the right shape."""
        found = []
        whole, newline, _ = self.path.read_text().rpartition("\n")  # the last is being written
        for text in (whole + newline).splitlines():
            line = json.loads(text)
            assert list(line)[:4] == HEAD, text
            assert line["level"] in LEVELS
            found.append(line)
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def wait_event(self, name: str, count: int = 1) -> dict[str, Any]:
        found = wait_for(lambda: self.events(name)[count - 1 :], f"{name} is logged")
        line: dict[str, Any] = found[0]
        return line


TOKEN, COOKIE, WORDS = "tok" + "5ecret" * 6, "cookie5ecret5ecret", "words5ecret of the page"


SCRIPT = f"""
document.cookie = "name={COOKIE}";
document.title = document.body.innerText = "{WORDS}";
console.log("{WORDS}"); console.error(document.cookie);
setTimeout(() => {{ throw new Error("{WORDS}") }});
"""


def speak(daemon: Daemon, *requests: bytes) -> None:
    """Bytes on connections of their own, whatever the answer."""
    host, _, port = daemon.authority.rpartition(":")
    for request in requests:
        with socket.create_connection((host, int(port)), 30) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass


async def drive(daemon: Logged, session: dict[str, Any], url: str) -> None:
    """A page with a cookie, words and a fault of its own, a scrap that is no CDP, a crash."""
    async with connect(session["webSocketDebuggerUrl"] + f"?token={TOKEN}") as client:
        _, page = await client.open_page(url)
        await client.call("Runtime.enable", None, page)
        await client.wait_event("Runtime.executionContextCreated")
        await client.evaluate(SCRIPT, page)
        await client.wait_event("Runtime.exceptionThrown")
        cookie = {"name": "other", "value": COOKIE, "url": url}
        await client.call("Network.setCookie", cookie, page)
        await client.ask(WORDS, {"text": WORDS}, page)
        await client.ask("Page.navigate", {"url": f"nowhere://{WORDS}"}, page)
        await client.send("Page.crash", None, page)
        await asyncio.to_thread(daemon.wait_event, "session.tab_crashed")


def misuse(daemon: Daemon, session_id: str) -> None:
    """Requests with a token and an id in every place where one can be."""
    token, cookie = TOKEN.encode(), COOKIE.encode()
    path = f"/sessions/{session_id}".encode()
    speak(
        daemon,
        b"GET " + path + b"?token=" + token + b" HTTP/9.9\r\n\r\n",
        b"GET " + path + b"\x00 HTTP/1.1\r\nAuthorization: Bearer " + token + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie : " + cookie + b"\r\n" + token + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + token + b"\r\n",
        token + b"\r\n\r\n",
        b"GET /" + token * 2000 + b" HTTP/1.1\r\n\r\n",
    )
    for headers in ({"Cookie": COOKIE}, {"Authorization": f"Bearer {TOKEN}"}, {"Host": TOKEN}):
        daemon.get(f"/sessions/{session_id}/json/new?{WORDS.replace(' ', '+')}", "PUT", headers)
        daemon.get(f"/{TOKEN}?token={TOKEN}", headers=headers)
    daemon.ask("POST", "/v1/sessions", {"labels": {"a": 1}, TOKEN: COOKIE})
    daemon.ask("POST", f"/v1/sessions/{session_id}", raw=TOKEN.encode())


@pytest.mark.chrome
def test_a_whole_life_is_json_and_tells_no_secret(folder: Path, site: Site) -> None:
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"alice {TOKEN}\n")
    # A busy machine must not make the others look ill.
    settings = {"health_interval_s": 0.5, "health_timeout_s": 5, "close_timeout_s": 0.5}
    daemon = Logged(folder, tokens_file=tokens, control_tcp=True, warm_sessions=1, **settings)
    daemon.settings["log_level"] = "debug"
    secrets = [TOKEN, COOKIE, "5ecret"]
    with daemon:
        session, ill, killed = (daemon.new(console=True) for _ in range(3))
        secrets += [one["id"] for one in (session, ill, killed)]
        secrets.append(session["webSocketDebuggerUrl"].rpartition("/")[2])
        run(drive(daemon, session, site.url(f"/page?{TOKEN}")))
        misuse(daemon, session["id"])
        daemon.wait_event("request.unreadable")
        os.kill(ill["pid"], signal.SIGSTOP)
        os.kill(killed["pid"], signal.SIGSEGV)
        daemon.wait_event("session.silent", 2)
        for one, reason in ((ill, "unhealthy"), (killed, "crashed")):
            assert daemon.wait_ended(one["id"])["exit"]["reason"] == reason
        daemon.file.write_text(yaml.safe_dump({"max_sesions": 3}))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("settings.refused")
        daemon.file.write_text("{}")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("settings.reloaded")
        daemon.gateway.kill()
        daemon.wait_event("gateway.died")
        wait_for(lambda: daemon.text.count("chromepool is ready") == 2, "another serves")
        secrets.append(daemon.new()["id"])
    lines, text = daemon.lines(), daemon.path.read_text()
    assert lines[-1]["event"] == "daemon.stopped"
    assert {line["logger"] for line in lines} >= {
        "chromepool.supervisor",
        "chromepool.gateway.sessions",
    }
    assert [secret for secret in secrets if secret in text] == []
    assert "chromepool is ready" not in text
    for one, reason in ((ill, "unhealthy"), (killed, "crashed")):
        told = [line for line in lines if line.get("session") == one["number"]]
        assert any(line.get("reason") == reason for line in told)
        assert [line["after"] for line in told if line["event"] == "session.moved"][:3:2]
    for line in lines:
        assert "session" in line or not line["event"].startswith(("session.", "browser."))


def test_a_sessions_lines_carry_the_number_that_the_api_tells(folder: Path) -> None:
    with Logged(folder) as daemon:
        one, two = daemon.new(), daemon.new()
        assert one["number"] != two["number"]
        for session in (two, one):
            assert daemon.show(session["id"])["number"] == session["number"]
            daemon.delete(session["id"])
        for session in (one, two):
            moves = [
                (line["before"], line["after"], line.get("reason"))
                for line in daemon.events("session.moved")
                if line["session"] == session["number"]
            ]
            assert moves == [
                ("starting", "ready", None),
                ("ready", "closing", "deleted"),
                ("closing", "closed", "deleted"),
            ]


def test_the_gateway_knows_the_journal_too(folder: Path) -> None:
    daemon = Logged(folder)
    daemon.environment = {"journal": "yes"}
    with daemon:
        daemon.delete(daemon.new()["id"])
    lines = daemon.path.read_text().splitlines()
    assert {json.loads(line[3:])["logger"] for line in lines} >= {
        "chromepool.gateway.sessions",
        "chromepool.supervisor",
    }
    assert {line[:3] for line in lines} <= {"<3>", "<4>", "<6>"}


def test_the_level_follows_the_settings_in_both_processes(folder: Path) -> None:
    daemon = Logged(folder)
    daemon.file.write_text(yaml.safe_dump({"log_level": "error"}))
    with daemon:
        daemon.delete(daemon.new()["id"])
        assert daemon.lines() == []
        daemon.file.write_text(yaml.safe_dump({"log_level": "info"}))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("settings.reloaded")

        def moves() -> list[dict[str, Any]]:
            daemon.delete(daemon.new()["id"])
            return daemon.events("session.moved")

        wait_for(moves, "the gateway has it")
