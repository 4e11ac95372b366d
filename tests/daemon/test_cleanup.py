"""Nothing is left of a session, however it ends. Real Chrome, real kills."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from testing.cdp import connect, run
from testing.daemon import Daemon, is_alive, wait_for


def test_a_killed_chrome_tells_why(shared_daemon: Daemon) -> None:
    session = shared_daemon.new()

    async def watch() -> tuple[int | None, str]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            await client.call("Browser.getVersion")
            os.kill(session["pid"], signal.SIGSEGV)
            return await client.closed()

    code, reason = run(watch())
    assert code == 1011
    assert "crashed" in reason
    assert "SIGSEGV" in reason
    ended = shared_daemon.wait_ended(session["id"])
    assert ended["exit"]["signal"] == "SIGSEGV"
    assert ended["usage"]["memory_peak_bytes"] is None or ended["usage"]["memory_peak_bytes"] > 0


def test_sigkill_of_the_daemon_leaves_no_chrome_alive(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = Daemon(tmp_path).start()
    for _ in range(3):
        daemon.new()
    processes = psutil.Process(daemon.pid).children(recursive=True)
    assert len(processes) > 10
    daemon.process.kill()
    daemon.process.wait()
    # A second is what is promised; the deadline here is for a machine under load.
    wait_for(lambda: not [p for p in processes if is_alive(p)], "all are dead", 10)
    daemon._reader.join()
    with Daemon(tmp_path, port=0) as reborn:  # finds the groups and profiles, and removes them
        assert not reborn.leaves()
        assert not reborn.profiles()
        assert "leftovers.removed" in reborn.text
        reborn.delete(reborn.new()["id"])


def test_a_renderer_killed_is_only_a_tab(shared_daemon: Daemon) -> None:
    session = shared_daemon.new()

    async def watch() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Inspector.enable", None, page)
            # Once it answers it is up: just forked it still bears its zygote's command line.
            assert await client.evaluate("1", page) == 1
            for process in psutil.Process(session["pid"]).children(recursive=True):
                if "--type=renderer" in process.cmdline():
                    process.kill()
            await client.wait_event("Inspector.targetCrashed")
            _, fresh = await client.open_page()
            assert await client.evaluate("6*7", fresh) == 42

    run(watch())
    assert wait_for(lambda: shared_daemon.show(session["id"])["crashes"], "the crash is told")
    assert shared_daemon.show(session["id"])["state"] == "ready"
