"""The one exception tree of chromepool.

Every error carries a stable ``code`` (what programs match on), a ``detail`` (what failed and why)
and, where there is one, a ``remedy`` (what to do). HTTP statuses are given in one table, in
:mod:`chromepool.gateway.http.problems`, and nowhere else.
"""

from __future__ import annotations


class ChromepoolError(Exception):
    """Base of every error chromepool raises on purpose."""

    code = "internal"

    def __init__(
        self, detail: str, *, remedy: str = "", retry_after_s: float | None = None
    ) -> None:
        """``retry_after_s`` is set where it is known when another try may do better."""
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
    """The machine lacks something without which the daemon must not start."""

    code = "unusable_host"


class WireError(ChromepoolError):
    """A message between supervisor and gateway is not one of the known shapes."""

    code = "wire"


class InvalidRequest(ChromepoolError):
    """Body, query or options are not what the route takes; ``detail`` says where."""

    code = "invalid_request"


class Forbidden(ChromepoolError):
    """The request's Host or Origin is not one that may talk to the daemon."""

    code = "forbidden"


class Unauthorized(ChromepoolError):
    """A token is needed, and none or an unknown one was sent."""

    code = "unauthorized"


class ProfileInUse(ChromepoolError):
    """Another session has the profile."""

    code = "profile_in_use"


class RateLimited(ChromepoolError):
    """This client has created ``creations_per_minute`` sessions."""

    code = "rate_limited"


class QueueFull(ChromepoolError):
    """``queue_length`` callers wait for a place already."""

    code = "queue_full"


class NoMemory(ChromepoolError):
    """Another Chrome would not fit into the pool's or the machine's memory."""

    code = "insufficient_memory"


class CircuitOpen(ChromepoolError):
    """Chrome keeps failing to start; ``detail`` has its last words."""

    code = "circuit_open"


class SessionNotFound(ChromepoolError):
    """No session of this id, or it is not to be driven (any more), or it is not the caller's."""

    code = "session_not_found"


class TargetNotFound(ChromepoolError):
    """The session's Chrome has no target of this id."""

    code = "target_not_found"


class PoolFull(ChromepoolError):
    """Every place is taken, or others wait already."""

    code = "pool_full"


class ScriptNotFound(ChromepoolError):
    """The session has no persistent script of this name."""

    code = "script_not_found"


class ScriptExists(ChromepoolError):
    """The session has a script of this name; ``PUT`` replaces it."""

    code = "script_exists"


class ItemNotFound(ChromepoolError):
    """What was kept of the session under this number or name is not kept (any more)."""

    code = "item_not_found"


class StoreFull(ChromepoolError):
    """The session keeps as many scripts as it may."""

    code = "store_full"


class HistoryUnavailable(ChromepoolError):
    """The journal is off, or cannot be read now."""

    code = "history_unavailable"


class TooManyClients(ChromepoolError):
    """The session has ``max_clients`` WebSockets already."""

    code = "too_many_clients"


class TooManyListeners(ChromepoolError):
    """The caller listens to events as often as one may."""

    code = "too_many_listeners"


class ShuttingDown(ChromepoolError):
    """The daemon takes no new sessions because it is stopping."""

    code = "shutting_down"


class Restarting(ChromepoolError):
    """The gateway is being replaced; the next one takes requests in a moment."""

    code = "restarting"


class Draining(ChromepoolError):
    """The daemon takes no new sessions, and waits for the last one to end."""

    code = "draining"


class SessionNotReady(ChromepoolError):
    """The session's Chrome has not answered the new gateway yet."""

    code = "session_not_ready"


class ReloadRefused(ChromepoolError):
    """The settings as they are written now cannot be used, or no new gateway can be started."""

    code = "reload_refused"


class StartFailed(ChromepoolError):
    """Chrome could not be started or did not answer in time; ``detail`` has its last words."""

    code = "start_failed"


class BrowserGone(ChromepoolError):
    """The session's Chrome ended while something was waiting for it."""

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
"""With one of these a creation is refused before anything is tried."""
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
"""All with which one may end."""
