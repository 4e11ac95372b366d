"""The exceptions of chromepool.

Every error has a stable ``code`` that programs match on, a ``detail`` (what failed and why) and, if
there is something to do, a ``remedy``. The only table of HTTP statuses is in
:mod:`chromepool.gateway.http.problems`.
"""

from __future__ import annotations


class ChromepoolError(Exception):
    """Base of every error that chromepool raises on purpose."""

    code = "internal"

    def __init__(
        self, detail: str, *, remedy: str = "", retry_after_s: float | None = None
    ) -> None:
        """``retry_after_s`` is the time after which another try may succeed, where it is known."""
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.detail} {self.remedy}".strip()


class ConfigError(ChromepoolError):
    """A setting has a value that cannot be used."""

    code = "invalid_configuration"


class HostError(ChromepoolError):
    """The machine lacks something that the daemon needs."""

    code = "unusable_host"


class WireError(ChromepoolError):
    """A message between supervisor and gateway has none of the known shapes."""

    code = "wire"


class InvalidRequest(ChromepoolError):
    """The body, the query or the options are not valid; ``detail`` says where."""

    code = "invalid_request"


class Forbidden(ChromepoolError):
    """The request's Host or Origin may not talk to the daemon."""

    code = "forbidden"


class Unauthorized(ChromepoolError):
    """A token is needed, and none or an unknown one was sent."""

    code = "unauthorized"


class ProfileInUse(ChromepoolError):
    """Another session uses the profile."""

    code = "profile_in_use"


class RateLimited(ChromepoolError):
    """The client has created ``creations_per_minute`` sessions within a minute."""

    code = "rate_limited"


class QueueFull(ChromepoolError):
    """The queue is full: ``queue_length`` callers wait for a slot already."""

    code = "queue_full"


class NoMemory(ChromepoolError):
    """Another Chrome would not fit into the memory of the pool or the machine."""

    code = "insufficient_memory"


class CircuitOpen(ChromepoolError):
    """Chrome keeps failing to start; ``detail`` has the end of its stderr."""

    code = "circuit_open"


class SessionNotFound(ChromepoolError):
    """No session of the caller has this id, or the session can no longer be driven."""

    code = "session_not_found"


class TargetNotFound(ChromepoolError):
    """The session's Chrome has no target of this id."""

    code = "target_not_found"


class PoolFull(ChromepoolError):
    """Every slot is taken, or other callers wait already."""

    code = "pool_full"


class ScriptNotFound(ChromepoolError):
    """The session has no persistent script of this name."""

    code = "script_not_found"


class ScriptExists(ChromepoolError):
    """The session has a script of this name already; ``PUT`` replaces it."""

    code = "script_exists"


class ItemNotFound(ChromepoolError):
    """The session keeps nothing under this number or name, or no longer does."""

    code = "item_not_found"


class StoreFull(ChromepoolError):
    """The session has as many scripts as it may keep."""

    code = "store_full"


class HistoryUnavailable(ChromepoolError):
    """The history is switched off, or cannot be read now."""

    code = "history_unavailable"


class TooManyClients(ChromepoolError):
    """The session has ``max_clients`` WebSockets already."""

    code = "too_many_clients"


class TooManyListeners(ChromepoolError):
    """The caller has as many event streams open as are allowed."""

    code = "too_many_listeners"


class ShuttingDown(ChromepoolError):
    """The daemon is stopping and accepts no new sessions."""

    code = "shutting_down"


class Restarting(ChromepoolError):
    """The gateway is being replaced; the next one accepts requests in a moment."""

    code = "restarting"


class Draining(ChromepoolError):
    """The daemon is draining: it accepts no new sessions and waits for the last to end."""

    code = "draining"


class SessionNotReady(ChromepoolError):
    """The session's Chrome has not answered the new gateway yet."""

    code = "session_not_ready"


class ReloadRefused(ChromepoolError):
    """The changed settings cannot be used, or no new gateway can be started."""

    code = "reload_refused"


class StartFailed(ChromepoolError):
    """Chrome did not start or answer in time; ``detail`` has the end of its stderr."""

    code = "start_failed"


class BrowserGone(ChromepoolError):
    """The session's Chrome exited while a request waited for it."""

    code = "browser_gone"


class NoAnswer(ChromepoolError):
    """Chrome did not answer in time: it hangs, or waits for its only client to read."""

    code = "no_answer"


class CommandFailed(ChromepoolError):
    """Chrome answered a CDP command with an error."""

    code = "command_failed"


class DaemonUnreachable(ChromepoolError):
    """The daemon cannot be reached on its control socket."""

    code = "daemon_unreachable"


REFUSALS: tuple[type[ChromepoolError], ...] = (
    RateLimited,
    PoolFull,
    QueueFull,
    NoMemory,
    CircuitOpen,
    ShuttingDown,
    Draining,
    Restarting,
)
"""Errors that refuse a creation before anything is started."""
CREATION: tuple[type[ChromepoolError], ...] = (
    *REFUSALS,
    InvalidRequest,
    StartFailed,
    ProfileInUse,
    BrowserGone,
    NoAnswer,
    CommandFailed,
    StoreFull,
    ScriptExists,
)
"""Errors that a creation may end with."""
