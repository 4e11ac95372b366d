"""The multiplexer: many clients share the one connection that Chrome's pipe is.

Each client has a root session in Chrome (``Target.attachToBrowserTarget``, or
``Target.attachToTarget`` for a page endpoint), below one base session that a gateway detaches, with
everything below it, when it takes over from a dead one. A client's message without ``sessionId``
gets the id of its root. In the other direction the root's id is removed, and any other id is looked
up in the table of owners. Message ids need no rewriting: Chrome answers with (id, sessionId), and
session ids are unique. The daemon itself uses the pipe's root, which has no session.
"""

import secrets
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.paused_targets import PausedTargets

_FIRST_ID = 1 << 30
"""Lowest id of the daemon's own commands, out of the way of most clients."""
_FIRST_IDS = 1 << 29
"""Range of the random first id: answers for a gateway that died must match no command of this."""
_NOT_OURS = (cdp.PARSE_ERROR, cdp.INVALID_REQUEST, cdp.SESSION_NOT_FOUND)
"""Errors that Chrome answers without a ``sessionId`` to a client's message whose session has just
ended or whose envelope is invalid. The daemon's own commands never cause them."""
_TARGET_EVENT = b'{"method":"Target.'

OnAnswer = Callable[[cdp.Incoming], None]


class Port(Protocol):
    """A client of the mux."""

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """Accept one message, in one or two parts. Must not block."""

    def detached(self) -> None:
        """Note the end of the root session: the page of this port is gone."""

    def asks_to_close(self) -> None:
        """Note that the client sent ``Browser.close``; Chrome gets the command next."""


class Mux:
    """Routes the messages of one Chrome. Bytes in, bytes out."""

    def __init__(self, on_event: OnAnswer = lambda event: None) -> None:
        """``on_event`` gets the events of the pipe's root."""
        self._on_event = on_event
        self._owners: dict[bytes, Port] = {}
        self._parents: dict[bytes, bytes] = {}
        self._children: dict[bytes, set[bytes]] = {}
        self._roots: dict[Port, bytes] = {}
        self._tails: dict[Port, bytes] = {}
        self._paused_tabs: set[bytes] = set()
        """Sessions of tabs that were paused for their client when it was attached."""
        self.paused_targets = PausedTargets()
        """Targets that ports keep paused."""
        # An alias, because the hot path checks it for each message.
        self._paused = self.paused_targets.targets
        self._answers: dict[tuple[bytes | None, int], OnAnswer] = {}
        self._last_id = _FIRST_ID + secrets.randbelow(_FIRST_IDS)
        self.base: str | None = None
        """The session that clients' roots are attached from; None is the pipe's root."""

    def sessions_of(self, port: Port) -> set[bytes]:
        """Return the CDP sessions that a client owns, its root included."""
        return {session for session, owner in self._owners.items() if owner is port}

    def has_paused_tabs(self, port: Port) -> bool:
        """Return whether a client may keep popups paused through their tabs."""
        return any(self._owners.get(session) is port for session in self._paused_tabs)

    def command(
        self, method: str, params: dict[str, Any], answer: OnAnswer, session: str | None = None
    ) -> bytes:
        """Return a command to write to Chrome; ``answer`` gets Chrome's answer."""
        self._last_id += 1
        owner = None if session is None else session.encode()
        self._answers[owner, self._last_id] = answer
        return cdp.command(self._last_id, method, params, session)

    def attach(self, port: Port, target: str | None, answer: OnAnswer) -> bytes:
        """Return the command that gives ``port`` a root session on the browser or on a target. The
        port is in the table before ``answer`` is called and any later message is routed."""

        def on_answer(incoming: cdp.Incoming) -> None:
            session = incoming.result.get("sessionId")
            if isinstance(session, str):
                root = self._roots[port] = session.encode()
                self._tails[port] = cdp.tail_for(root)
                self._owners[root] = port
            answer(incoming)

        if target is None:
            return self.command("Target.attachToBrowserTarget", {}, on_answer, self.base)
        params = {"targetId": target, "flatten": True}
        return self.command("Target.attachToTarget", params, on_answer, self.base)

    def detach(self, port: Port) -> bytes | None:
        """Return the commands that end a client's sessions, None if it has none. They release its
        paused targets: Chrome leaves a popup paused when its client detaches (measured)."""
        root = self._roots.get(port)
        if root is None:
            return None
        below = self.sessions_of(port) - {root}
        self._drop(root)
        released = b"".join(self.release(session.decode()) for session in below)
        return released + self.end(root.decode())

    def end(self, session: str) -> bytes:
        """Return the command that ends a session which was attached from the base."""
        params = {"sessionId": session}
        return self.command("Target.detachFromTarget", params, lambda incoming: None, self.base)

    def release(self, session: str) -> bytes:
        """Return the command that lets a paused target run; its answer may never come."""
        self._last_id += 1
        return cdp.command(self._last_id, "Runtime.runIfWaitingForDebugger", {}, session)

    def from_client(self, port: Port, message: bytes) -> bytes | None:
        """Return the bytes for Chrome for a client's message, None if the client was answered."""
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
        if self._paused and envelope.method == "Runtime.runIfWaitingForDebugger":
            self.paused_targets.remove(session)
        if tail is None:
            return message + b"\0"
        return message[: message.rindex(b"}")] + tail

    def from_chrome(self, message: bytes) -> None:
        """Deliver a message from Chrome to the client that it belongs to."""
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

    def _follow(self, port: Port, session: bytes, message: bytes) -> None:
        """Update the table when Chrome reports a child of ``session`` attached or detached."""
        if message.startswith(b'{"method":"Target.attachedToTarget"'):
            params = cdp.decode(message).params
            child = params["sessionId"].encode()
            waits, info = params.get("waitingForDebugger"), params.get("targetInfo", {})
            # Chrome does not report a page as waiting that is paused through its tab.
            if waits or session in self._paused_tabs:
                self.paused_targets.add(child, info)
            if waits and info.get("type") == "tab":
                self._paused_tabs.add(child)
            self._owners[child] = port
            self._parents[child] = session
            self._children.setdefault(session, set()).add(child)
        elif message.startswith(b'{"method":"Target.detachedFromTarget"'):
            self._drop(cdp.decode(message).params["sessionId"].encode())

    def _drop(self, session: bytes) -> Port | None:
        """Remove a session and its descendants; return the port of which it was the root."""
        parent = self._parents.pop(session, None)
        if parent is not None and parent in self._children:
            self._children[parent].discard(session)
        port = self._owners.pop(session, None)
        self._paused_tabs.discard(session)
        self.paused_targets.remove(session)
        below = list(self._children.pop(session, ()))
        while below:  # no recursion: clients may nest sessions to any depth
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
            self._on_event(incoming)

    def _on_detached(self, event: cdp.Incoming) -> None:
        port = self._drop(event.params["sessionId"].encode())
        if port is not None:
            port.detached()

    def _from_own_session(self, session: bytes, message: bytes) -> None:
        """Handle a message of a session that is the daemon's or a detached client's."""
        incoming = cdp.decode(message)
        if incoming.method == "Target.detachedFromTarget" and session.decode() == self.base:
            self._on_detached(incoming)
        self._settle(session, incoming)

    def _settle(self, session: bytes | None, incoming: cdp.Incoming) -> None:
        answer = None if incoming.id is None else self._answers.pop((session, incoming.id), None)
        if answer is not None:
            answer(incoming)
