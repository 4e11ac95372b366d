"""The usage of a session."""

from __future__ import annotations

from chromepool.errors import BrowserGone
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import Usage


async def measure(session: Session, supervisor: SupervisorClient) -> Usage:
    """The usage now, as the supervisor reads it; of an ended session, that of its end."""
    if session.is_gone.is_set() or session.pid == 0:
        return session.usage
    try:
        return (await supervisor.inspect(session.key)).usage
    except BrowserGone:
        return session.usage
