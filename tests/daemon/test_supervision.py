"""The supervisor with Chromes that misbehave, and with itself and its gateway being killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from testing import uids
from testing.daemon import Daemon, Misbehaving, wait_for


def _faults(daemon: Daemon, *faults: str) -> None:
    """Other faults for the Chromes to come."""
    Path(str(daemon.settings["chrome"])).with_name("faults").write_text(" ".join(faults))


def _occupied(daemon: Daemon) -> int:
    places: int = daemon.ask("GET", "/v1/status").json["sessions"]["now"]
    return places


def test_a_good_one(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        assert daemon.delete(session["id"]) == 204
        assert daemon.show(session["id"])["exit"]["reason"] == "deleted"


@pytest.mark.parametrize("fault", ["ignore-close", "ignore-close ignore-term"])
def test_the_end_escalates(misbehaving: Misbehaving, fault: str) -> None:
    with misbehaving(*fault.split(), close_timeout_s=0.3, term_timeout_s=0.3) as daemon:
        session = daemon.new()
        assert daemon.delete(session["id"]) == 204
        ended = daemon.show(session["id"])["exit"]
        assert ended["signal"] == ("SIGKILL" if "term" in fault else "SIGTERM")


def test_orphans_in_sessions_of_their_own_are_found_and_reaped(misbehaving: Misbehaving) -> None:
    with misbehaving("spawn-orphans") as daemon:
        session = daemon.new()
        # 3 orphans, adopted by the supervisor as their subreaper, and the fake itself
        wait_for(lambda: len(daemon.of_sessions()) == 4, "the orphans are ours")
        assert daemon.delete(session["id"]) == 204
        assert daemon.of_sessions() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the pids cap needs a control group")
def test_a_fork_bomb_meets_the_pids_cap_and_is_removed(misbehaving: Misbehaving) -> None:
    with misbehaving("fork-bomb", session_pids=100) as daemon:
        session = daemon.new()
        usage = daemon.show(session["id"])["usage"]
        assert usage["processes"] <= 100
        assert usage["pids_refused"] > 0
        assert daemon.delete(session["id"]) == 204
        assert daemon.of_sessions() == []


def test_a_chrome_that_dies_at_start_tells_its_last_words(misbehaving: Misbehaving) -> None:
    with misbehaving("die-at-start") as daemon:
        answer = daemon.ask("POST", "/v1/sessions")
        assert answer.status == 503
        assert answer.json["code"] == "start_failed"
        assert "exited with code 3" in answer.json["detail"]
        assert "I die" in answer.json["detail"]
        assert "Retry-After" in answer.headers
        _faults(daemon)
        daemon.new()


def test_a_mute_chrome_is_given_up(misbehaving: Misbehaving) -> None:
    with misbehaving("mute", start_timeout_s=0.5, close_timeout_s=0.2, term_timeout_s=5) as daemon:
        answer = daemon.ask("POST", "/v1/sessions")
        assert answer.status == 503
        assert "did not answer" in answer.json["detail"]
        assert daemon.chromes() == []


@pytest.mark.parametrize("fault", ["garbage", "noise"])
def test_garbage_and_noise_do_no_harm(misbehaving: Misbehaving, fault: str) -> None:
    with misbehaving(fault) as daemon:
        session = daemon.new()
        assert daemon.show(session["id"])["state"] == "ready"
        assert daemon.delete(session["id"]) == 204


def test_a_caller_that_hangs_up_on_a_failing_start_takes_no_place(
    misbehaving: Misbehaving,
) -> None:
    with misbehaving("die-at-start", max_sessions=1) as daemon:
        for _ in range(10):
            caller = socket.socket(socket.AF_UNIX)
            caller.connect(str(daemon.control_socket))
            caller.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            caller.close()
        _faults(daemon)
        wait_for(lambda: daemon.ask("POST", "/v1/sessions").status == 201, "a place is free")


def test_a_profile_deeper_than_python_can_recurse_is_removed(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        place = os.open(daemon.profiles()[0], os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("a", dir_fd=place)
            below = os.open("a", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = below
        os.close(place)
        assert daemon.delete(session["id"]) == 204
        assert daemon.profiles() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="uids of their own need root")
def test_two_daemons_do_not_share_uids(misbehaving: Misbehaving) -> None:
    with misbehaving() as one, tempfile.TemporaryDirectory() as folder:
        base = one.settings["uid_base"]
        second = Daemon(Path(folder), uid_base=base, gateway_uid=one.settings["gateway_uid"])
        with pytest.raises(AssertionError, match="Another chromepool uses uids"):
            second.start()


def test_the_pool_has_an_end(misbehaving: Misbehaving) -> None:
    with misbehaving(max_sessions=2) as daemon:
        sessions = [daemon.new() for _ in range(2)]
        answer = daemon.ask("POST", "/v1/sessions")
        assert answer.status == 503
        assert answer.json["code"] == "pool_full"
        assert int(answer.headers["Retry-After"]) > 0
        assert daemon.ask("GET", "/readyz").status == 503
        daemon.delete(sessions[0]["id"])
        assert daemon.ask("GET", "/readyz").status == 200
        daemon.new()


def test_two_daemons_do_not_share_a_folder(misbehaving: Misbehaving, tmp_path: Path) -> None:
    with misbehaving():
        second = misbehaving()
        with pytest.raises(AssertionError, match="Another chromepool uses"):
            second.start()


def test_stop_is_in_time_with_chromes_that_ignore_everything(misbehaving: Misbehaving) -> None:
    with misbehaving("ignore-close", "ignore-term", shutdown_timeout_s=3) as daemon:
        for _ in range(3):
            daemon.new()
        assert daemon.stop() == 0


def test_a_second_signal_stops_at_once(misbehaving: Misbehaving) -> None:
    with misbehaving("ignore-close", "ignore-term", shutdown_timeout_s=3600) as daemon:
        daemon.new()
        daemon.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "shutdown.requested" in daemon.text, "it has begun to stop")
        assert daemon.process.poll() is None
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(60) == 0
        assert "shutdown.hastened" in daemon.text


def test_a_caller_that_hangs_up_while_chrome_starts_takes_no_place(
    misbehaving: Misbehaving,
) -> None:
    with misbehaving("mute", start_timeout_s=3600, close_timeout_s=0.2) as daemon:
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(daemon.control_socket))
        caller.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        wait_for(lambda: len(daemon.chromes()) == 1, "its Chrome is being started")
        caller.close()
        wait_for(lambda: daemon.chromes() == [], "its Chrome is gone again")
        wait_for(lambda: _occupied(daemon) == 0, "its place is free")


@pytest.mark.skipif(os.geteuid() != 0, reason="mapping all uids into a namespace needs root")
def test_without_a_sandbox_the_start_fails_and_says_why(tmp_path: Path) -> None:
    """In a user namespace of its own, in which no further one may be made."""
    mapped_below = {"uid_base": uids.user(10), "gateway_uid": uids.user(9)}
    daemon = Daemon(tmp_path, **mapped_below)
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    # The second exec comes after the uids are mapped, and as root of the namespace has its rights.
    mapped = 'read _; exec sh -c "$0" sh "$@"'
    argv = ["unshare", "--user", "sh", "-c", mapped, forbid, *daemon.argv]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        own = os.readlink("/proc/self/ns/user")
        ours = Path(f"/proc/{process.pid}")
        wait_for(lambda: os.readlink(ours / "ns/user") != own, "it is in its namespace")
        for kind in ("uid_map", "gid_map"):
            (ours / kind).write_text("0 0 65536")
        output, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 1, output
    assert "sandbox cannot start" in output
    assert "max_user_namespaces" in output
    assert "--no-sandbox" in output


@pytest.mark.skipif(os.geteuid() != 0, reason="root's sessions have uids of their own")
def test_profiles_out_of_reach_are_said_at_start() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # mode 0700
        daemon = Daemon(Path(folder))
        with pytest.raises(AssertionError, match=r"cannot reach their profiles.*chmod o"):
            daemon.start()


def test_no_chrome_says_what_to_install(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, chrome="/nonexistent/chrome")
    with pytest.raises(AssertionError, match="apt-get install chromium-headless-shell"):
        daemon.start()
