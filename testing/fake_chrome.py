"""Chrome's end of the protocol without Chrome: bytes in, bytes out, as measured on Chromium 156."""

from __future__ import annotations

import itertools
import json
from typing import Any

_KNOWN = {"id", "method", "params", "sessionId"}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        body["duplicate"] = True
    return body


class FakeChrome:
    """Sessions, and an echo for every other command. Messages are without their NUL."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.parents: dict[str | None, str | None] = {}
        """Session → the one it was attached from, None for the pipe's own root."""
        self.seen: list[tuple[int, str, str | None]] = []
        """List of (id, method, session) of every message that was understood."""

    def take(self, message: bytes) -> list[bytes]:
        """Return the answers of Chrome to one message."""
        try:
            body = json.loads(message, object_pairs_hook=_unique)
        except ValueError:
            return [self._dump({"error": {"code": -32700, "message": "JSON"}}, None)]
        number = body.get("id")
        if type(number) is not int or not -(2**31) <= number < 2**31:
            return [self._dump({"error": {"code": -32600, "message": "Message must"}}, None)]
        session = body.get("sessionId")
        code = self._refuse(body, session)
        if code:
            return [self._dump({"id": number, "error": {"code": code, "message": "no"}}, None)]
        self.seen.append((number, body["method"], session))
        return self._answer(number, body["method"], body.get("params") or {}, session)

    def _refuse(self, body: dict[str, Any], session: object) -> int:
        """Errors of the envelope: Chrome answers them without a sessionId."""
        if "duplicate" in body:
            return -32700
        if not isinstance(body.get("method"), str) or body.keys() - _KNOWN:
            return -32600
        if "sessionId" in body and not isinstance(session, str):
            return -32600
        return -32001 if session is not None and session not in self.parents else 0

    def _answer(
        self, number: int, method: str, params: dict[str, Any], session: str | None
    ) -> list[bytes]:
        if method in ("Target.attachToBrowserTarget", "Target.attachToTarget"):
            if params.get("targetId") == "none":
                error = {"code": -32602, "message": "No target with given id found"}
                return [self._dump({"id": number, "error": error}, session)]
            event, child = self.attach(session)
            return [event, self._dump({"id": number, "result": {"sessionId": child}}, session)]
        if method == "Target.detachFromTarget":
            child = params.get("sessionId", "")
            if child not in self.parents or self.parents[child] != session:
                error = {"code": -32602, "message": "No session with given id"}
                return [self._dump({"id": number, "error": error}, session)]
            return [self.detach(child), self._dump({"id": number, "result": {}}, session)]
        return [self._dump({"id": number, "result": {"echo": method, "of": session}}, session)]

    def attach(self, parent: str | None) -> tuple[bytes, str]:
        """A new session below ``parent``: the event, and its id."""
        child = f"{next(self._numbers):032X}"
        self.parents[child] = parent
        return self.event("Target.attachedToTarget", {"sessionId": child, "x": {}}, parent), child

    def detach(self, session: str) -> bytes:
        """End a session and, silently, those below it; return the event that its parent gets."""
        parent = self.parents[session]
        self._forget(session)
        return self.event("Target.detachedFromTarget", {"sessionId": session}, parent)

    def _forget(self, session: str) -> None:
        for child in [c for c, parent in self.parents.items() if parent == session]:
            assert child is not None
            self._forget(child)
        del self.parents[session]

    def event(self, method: str, params: dict[str, Any], session: str | None) -> bytes:
        """An event of a session's."""
        return self._dump({"method": method, "params": params}, session)

    @staticmethod
    def _dump(body: dict[str, Any], session: str | None) -> bytes:
        if session is not None:
            body["sessionId"] = session  # last, as Chrome does
        return json.dumps(body, separators=(",", ":")).encode()
