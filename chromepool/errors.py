"""The exceptions of chromepool.

Every error has a stable ``code`` that programs match on, a ``detail`` (what failed and why) and, if
there is something to do, a ``remedy``. :mod:`chromepool.gateway.http.problems` has HTTP statuses.
"""


class ChromepoolError(Exception):
    """Base of every error that chromepool raises on purpose."""

    code = "internal"

    def __init_subclass__(cls, *, code: str = "") -> None:
        """Declare the ``code`` of an error; the default is that of its base."""
        cls.code = code or cls.code

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


class ConfigError(ChromepoolError, code="invalid_configuration"):
    """A setting has a value that cannot be used."""


class HostError(ChromepoolError, code="unusable_host"):
    """The machine lacks something that the daemon needs."""


class WireError(ChromepoolError, code="wire"):
    """A message between supervisor and gateway has none of the known shapes."""


class InvalidRequest(ChromepoolError, code="invalid_request"):
    """The body, the query or the options are not valid; ``detail`` says where."""


class Forbidden(ChromepoolError, code="forbidden"):
    """The request's Host or Origin may not talk to the daemon."""


class Unauthorized(ChromepoolError, code="unauthorized"):
    """A token is needed, and none or an unknown one was sent."""


class ProfileInUse(ChromepoolError, code="profile_in_use"):
    """Another session uses the profile."""


class RateLimited(ChromepoolError, code="rate_limited"):
    """The client has created ``creations_per_minute`` sessions within a minute."""


class QueueFull(ChromepoolError, code="queue_full"):
    """The queue is full: ``queue_length`` callers wait for a slot already."""


class NoMemory(ChromepoolError, code="insufficient_memory"):
    """Another Chrome would not fit into the memory of the pool or the machine."""


class CircuitOpen(ChromepoolError, code="circuit_open"):
    """Chrome keeps failing to start; ``detail`` has the end of its stderr."""


class SessionNotFound(ChromepoolError, code="session_not_found"):
    """No session of the caller has this id, or the session can no longer be driven."""


class TargetNotFound(ChromepoolError, code="target_not_found"):
    """The session's Chrome has no target of this id."""


class PoolFull(ChromepoolError, code="pool_full"):
    """Every slot is taken, or other callers wait already."""


class ScriptNotFound(ChromepoolError, code="script_not_found"):
    """The session has no persistent script of this name."""


class ScriptExists(ChromepoolError, code="script_exists"):
    """The session has a script of this name already; ``PUT`` replaces it."""


class ItemNotFound(ChromepoolError, code="item_not_found"):
    """The session keeps nothing under this number or name, or no longer does."""


class StoreFull(ChromepoolError, code="store_full"):
    """The session has as many scripts as it may keep."""


class HistoryUnavailable(ChromepoolError, code="history_unavailable"):
    """The history is switched off, or cannot be read now."""


class TooManyClients(ChromepoolError, code="too_many_clients"):
    """The session has ``max_clients`` WebSockets already."""


class TooManyListeners(ChromepoolError, code="too_many_listeners"):
    """The caller has as many event streams open as are allowed."""


class ShuttingDown(ChromepoolError, code="shutting_down"):
    """The daemon is stopping and accepts no new sessions."""


class Restarting(ChromepoolError, code="restarting"):
    """The gateway is being replaced; the next one accepts requests in a moment."""


class Draining(ChromepoolError, code="draining"):
    """The daemon is draining: it accepts no new sessions and waits for the last to end."""


class SessionNotReady(ChromepoolError, code="session_not_ready"):
    """The session's Chrome has not answered the new gateway yet."""


class ReloadRefused(ChromepoolError, code="reload_refused"):
    """The changed settings cannot be used, or no new gateway can be started."""


class StartFailed(ChromepoolError, code="start_failed"):
    """Chrome did not start or answer in time; ``detail`` has the end of its stderr."""


class BrowserGone(ChromepoolError, code="browser_gone"):
    """The session's Chrome exited while a request waited for it."""


class NoAnswer(ChromepoolError, code="no_answer"):
    """Chrome did not answer in time: it hangs, or waits for its only client to read."""


class CommandFailed(ChromepoolError, code="command_failed"):
    """Chrome answered a CDP command with an error."""


class DaemonUnreachable(ChromepoolError, code="daemon_unreachable"):
    """The daemon cannot be reached on its control socket."""


_FULL = (RateLimited, PoolFull, QueueFull, NoMemory, CircuitOpen)
REFUSALS = (*_FULL, ShuttingDown, Draining, Restarting)
"""Errors that refuse a creation before anything is started."""
_AT_START = (StartFailed, ProfileInUse, BrowserGone, NoAnswer, CommandFailed)
CREATION = (*REFUSALS, InvalidRequest, *_AT_START, StoreFull, ScriptExists)
"""Errors that a creation may end with."""
