"""``chromepool health`` where no daemon answers, or something that is none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path


def _chromepool(runtime_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(runtime_dir), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_without_a_daemon_nothing_is_healthy(tmp_path: Path) -> None:
    done = _chromepool(tmp_path, "health")
    assert done.returncode == 1
    assert "No daemon answers" in done.stderr
    assert "--runtime-dir" in done.stderr


def test_what_is_no_daemon_is_not_healthy(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        thread = threading.Thread(target=_answer, args=(listener, b"220 ready for mail"))
        thread.start()
        done = _chromepool(tmp_path, "health")
        thread.join()
    assert done.returncode == 1
    assert "not that of a chromepool daemon" in done.stderr
    assert "--runtime-dir" in done.stderr


def _answer(listener: socket.socket, words: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(words)
