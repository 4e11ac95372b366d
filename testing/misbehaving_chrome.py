#!/usr/bin/python3
"""A small Chrome that keeps the pipe's protocol and misbehaves on request.

Run by the daemon in the place of Chrome: NUL-framed CDP on descriptors 3 and 4. What it does wrong
is told by the lines of a file ``faults`` beside it: ``ignore-term``, ``mute``, ``garbage``,
``die-at-start``, ``die-once``, ``spawn-orphans``, ``fork-bomb``, ``ignore-close``, ``noise``.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

FAULTS = (Path(__file__).parent / "faults").read_text().split()


def answer(message: "dict[str, object]") -> "dict[str, object]":
    method = message["method"]
    if method == "Target.attachToBrowserTarget":
        return {"sessionId": "F" * 32}
    if method == "Browser.getVersion":
        return {"product": "Fake/1", "userAgent": "Fake"}
    if method == "Target.getTargets":
        return {"targetInfos": []}
    return {}


def write(message: "dict[str, object]") -> None:
    os.write(4, json.dumps(message, separators=(",", ":")).encode() + b"\0")


def serve(message: "dict[str, object]") -> None:
    reply: dict[str, object] = {"id": message["id"], "result": answer(message)}
    if "sessionId" in message:
        reply["sessionId"] = message["sessionId"]
    write(reply)
    if message["method"] == "Browser.close" and "ignore-close" not in FAULTS:
        sys.exit(0)


def spawn_orphan() -> None:
    """A grandchild in a session of its own whose parent is gone: the worst to find."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    os.wait()


def bomb() -> None:
    for _ in range(10_000):
        try:
            if os.fork() == 0:
                while True:
                    time.sleep(1)
        except OSError:
            return


def is_first() -> bool:
    """Report whether none has died before: a file that anybody may remove tells."""
    try:
        (Path(__file__).parent / "marks" / "die-once").unlink()
    except FileNotFoundError:
        return False
    return True


def misbehave() -> None:
    if "die-once" in FAULTS and is_first():
        sys.exit(3)
    if "die-at-start" in FAULTS:
        print("fake chrome: I die", file=sys.stderr, flush=True)
        sys.exit(3)
    if "ignore-term" in FAULTS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "spawn-orphans" in FAULTS:
        for _ in range(3):
            spawn_orphan()
    if "fork-bomb" in FAULTS:
        bomb()
    if "garbage" in FAULTS:
        os.write(4, b'\x00{"nonsense\x00[1,2]\x00{"method":5}\x00')
    if "noise" in FAULTS:
        os.write(2, b"x" * 1_000_000)


def main() -> None:
    misbehave()
    held = b""
    while data := os.read(3, 65536):
        *messages, held = (held + data).split(b"\0")
        for message in messages:
            if "mute" in FAULTS:
                continue
            if message:
                serve(json.loads(message))
            else:  # as Chrome answers what is no message
                write({"error": {"code": -32700, "message": "JSON"}})
    if "ignore-close" in FAULTS:
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
