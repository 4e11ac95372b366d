"""Many clients on the one connection that Chrome's pipe is.

Each client has a root session in Chrome (``Target.attachToBrowserTarget``, or
``Target.attachToTarget`` for a page endpoint). All of them are below one base session, so that
whoever takes over from a daemon that died can end all it had attached by ending that one. On the
way in, a message without ``sessionId`` gets
the client's root id; on the way out the root id is taken off, and any other is looked up in the
table of owners. Message ids need no rewriting: Chrome answers with (id, sessionId), and session ids
are unique. The pipe's own root, without a session, is the daemon's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.paused_targets import PausedTargets

_FIRST_ID = 1 << 30
"""The daemon's own commands count from here, which is out of most clients' way."""
_FIRST_IDS = 1 << 29
"""Or from one of so many above: an answer for a gateway that died must not be taken for ours."""
_NOT_OURS = (cdp.PARSE_ERROR, cdp.INVALID_REQUEST, cdp.SESSION_NOT_FOUND)
"""What Chrome answers without a sessionId to a client's message: to a session that has just ended,
or to an envelope it does not like. Never to ours; so, whatever its id, it must not be taken for
the answer to one of them."""
_TARGET_EVENT = b'{"method":"Target.'

OnAnswer = Callable[[cdp.Incoming], None]


class Port(Protocol):
    """A client, as the mux knows it."""

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """Takes one message, in one or two parts. Must not block."""

    def detached(self) -> None:
        """Its root session has ended: the page it was attached to is gone."""

    def asks_to_close(self) -> None:
        """It has sent ``Browser.close``; the command is on its way to Chrome."""


class Mux:
    """Routes one Chrome's messages. Bytes in, bytes out."""

    def __init__(self) -> None:
        self._owners: dict[bytes, Port] = {}
        self._parents: dict[bytes, bytes] = {}
        self._children: dict[bytes, set[bytes]] = {}
        self._roots: dict[Port, bytes] = {}
        self._tails: dict[Port, bytes] = {}
        self._paused_tabs: set[bytes] = set()
        """Sessions of tabs that waited for their client when it met them."""
        self.paused_targets = PausedTargets()
        """What ports hold paused now."""
        self._held = (
            self.paused_targets.targets
        )  # a glance at it must cost a message next to nothing
        self._answers: dict[tuple[bytes | None, int], OnAnswer] = {}
        self._last_id = _FIRST_ID + secrets.randbelow(_FIRST_IDS)
        self.base: str | None = None
        """The session that clients' roots are attached from; None: the pipe's own root."""
        self.on_event: OnAnswer = lambda event: None
        """Events of the pipe's own root."""

    @property
    def ports(self) -> list[Port]:
        """The clients that are attached."""
        return list(self._roots)

    def sessions_of(self, port: Port) -> set[bytes]:
        """The CDP sessions a client owns, its root included."""
        return {session for session, owner in self._owners.items() if owner is port}

    def has_paused_tabs(self, port: Port) -> bool:
        """Whether a client may hold popups by their tabs."""
        return any(self._owners.get(session) is port for session in self._paused_tabs)

    # -- the daemon's own commands --

    def command(
        self, method: str, params: dict[str, Any], answer: OnAnswer, session: str | None = None
    ) -> bytes:
        """A command to write to Chrome; ``answer`` gets what comes back."""
        self._last_id += 1
        owner = None if session is None else session.encode()
        self._answers[owner, self._last_id] = answer
        return cdp.command(self._last_id, method, params, session)

    def attach(self, port: Port, target: str | None, answer: OnAnswer) -> bytes:
        """The command that gives ``port`` a root: the browser's, or the target's.

        The port is in the table before ``answer`` is called, and before any later message.
        """

        def on_answer(incoming: cdp.Incoming) -> None:
            session = incoming.result.get("sessionId")
            if isinstance(session, str):
                root = session.encode()
                self._roots[port] = root
                self._tails[port] = cdp.tail_for(root)
                self._owners[root] = port
            answer(incoming)

        if target is None:
            return self.command("Target.attachToBrowserTarget", {}, on_answer, self.base)
        params = {"targetId": target, "flatten": True}
        return self.command("Target.attachToTarget", params, on_answer, self.base)

    def detach(self, port: Port) -> bytes | None:
        """The commands that end all a client had in Chrome, None when it had nothing (any more).

        What it has paused is let go first: Chrome itself leaves a popup paused that was opened
        while its client waited for it (measured).
        """
        root = self._roots.get(port)
        if root is None:
            return None
        below = self.sessions_of(port) - {root}
        self._drop(root)
        released = b"".join(self.release(session.decode()) for session in below)
        return released + self.end(root.decode())

    def end(self, session: str) -> bytes:
        """The command that ends a session which was attached from the base."""
        params = {"sessionId": session}
        return self.command("Target.detachFromTarget", params, lambda incoming: None, self.base)

    def release(self, session: str) -> bytes:
        """The command that lets a paused target run. Nobody waits for the answer: its session may
        be gone before there is one."""
        self._last_id += 1
        return cdp.command(self._last_id, "Runtime.runIfWaitingForDebugger", {}, session)

    # -- the hot paths --

    def from_client(self, port: Port, message: bytes) -> bytes | None:
        """What to write to Chrome for a client's message; None when the client was answered."""
        try:
            envelope = cdp.read_envelope(message)
        except msgspec.DecodeError:
            port.deliver(cdp.refusal(message))
            return None
        session: bytes | None
        if isinstance(envelope.sessionId, str):
            session, tail = envelope.sessionId.encode(errors="replace"), None
        else:
            session, tail = self._roots.get(port), self._tails.get(port)
        if session is None or self._owners.get(session) is not port:
            text = "Session with given id not found."
            port.deliver(cdp.error(cdp.SESSION_NOT_FOUND, text, envelope.id))
            return None
        if envelope.method == "Browser.close":
            port.asks_to_close()
        if self._held and envelope.method == "Runtime.runIfWaitingForDebugger":
            self.paused_targets.remove(session)
        if tail is None:
            return message + b"\0"
        return message[: message.rindex(b"}")] + tail

    def from_chrome(self, message: bytes) -> None:
        """Hands a message of Chrome's to the client it is for."""
        session = cdp.session_of(message)
        if session is None:
            self._from_root(message)
            return
        port = self._owners.get(session)
        if port is None:
            self._from_own_session(session, message)
            return
        if message.startswith(_TARGET_EVENT):
            self._follow(port, session, message)
        if self._roots.get(port) == session:
            port.deliver(*cdp.without_session(message, session))
        else:
            port.deliver(message)

    # -- the table of owners --

    def _follow(self, port: Port, session: bytes, message: bytes) -> None:
        """Grows and shrinks the table by what Chrome says of the sessions below ``session``."""
        if message.startswith(b'{"method":"Target.attachedToTarget"'):
            params = cdp.decode(message).params
            child = params["sessionId"].encode()
            waits, info = params.get("waitingForDebugger"), params.get("targetInfo", {})
            if waits or session in self._paused_tabs:  # a page waits by its tab, and is not said to
                self.paused_targets.add(child, info)
            if waits and info.get("type") == "tab":
                self._paused_tabs.add(child)
            self._owners[child] = port
            self._parents[child] = session
            self._children.setdefault(session, set()).add(child)
        elif message.startswith(b'{"method":"Target.detachedFromTarget"'):
            self._drop(cdp.decode(message).params["sessionId"].encode())

    def _drop(self, session: bytes) -> Port | None:
        """Forgets a session and all below it; the port whose root it was, if it was one."""
        parent = self._parents.pop(session, None)
        if parent is not None and parent in self._children:
            self._children[parent].discard(session)
        port = self._owners.pop(session, None)
        self._paused_tabs.discard(session)
        self.paused_targets.remove(session)
        below = list(self._children.pop(session, ()))
        while below:  # no recursion: a client may nest as deeply as it likes
            child = below.pop()
            self._owners.pop(child, None)
            self._parents.pop(child, None)
            self._paused_tabs.discard(child)
            self.paused_targets.remove(child)
            below += self._children.pop(child, ())
        if port is None or self._roots.get(port) != session:
            return None
        del self._roots[port], self._tails[port]
        return port

    def _from_root(self, message: bytes) -> None:
        incoming = cdp.decode(message)
        if incoming.id is not None:
            if incoming.error is None or incoming.error.code not in _NOT_OURS:
                self._settle(None, incoming)
        elif incoming.method == "Target.detachedFromTarget":
            self._on_detached(incoming)
        else:
            self.on_event(incoming)

    def _on_detached(self, event: cdp.Incoming) -> None:
        port = self._drop(event.params["sessionId"].encode())
        if port is not None:
            port.detached()

    def _from_own_session(self, session: bytes, message: bytes) -> None:
        """For a session of the daemon's own, or of a client that is gone: its answers are none of
        ours, although it may have used an id that is."""
        incoming = cdp.decode(message)
        if incoming.method == "Target.detachedFromTarget" and session.decode() == self.base:
            self._on_detached(incoming)
        self._settle(session, incoming)

    def _settle(self, session: bytes | None, incoming: cdp.Incoming) -> None:
        answer = None if incoming.id is None else self._answers.pop((session, incoming.id), None)
        if answer is not None:
            answer(incoming)
