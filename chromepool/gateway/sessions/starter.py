"""Starting a Chrome for a session."""

import dataclasses

import tenacity

from chromepool import errors
from chromepool.errors import ChromepoolError, InvalidRequest, ProfileInUse, StartFailed
from chromepool.gateway.capacity.admission import RETRY_S
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions import connection
from chromepool.gateway.sessions.admission import Admission
from chromepool.gateway.sessions.registry import SessionRegistry
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.sessions.termination import Termination
from chromepool.gateway.spec import SessionSpec
from chromepool.model import State

_LAST_WORDS = 1000
"""Characters of Chrome's stderr that a caller is shown."""


@dataclasses.dataclass(eq=False)
class Starter:
    """Starts Chromes, more than once where a start fails by chance, and counts the failures."""

    runtime: Runtime
    registry: SessionRegistry
    admission: Admission
    connector: connection.Connector
    termination: Termination

    async def start(self, spec: SessionSpec) -> Session:
        """A session that is ready, by up to ``start_attempts`` tries; a failure counts for the
        breaker. Raises like :meth:`start_once`."""
        breaker = self.admission.breaker
        attempt = breaker.begin()
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(StartFailed),
            stop=tenacity.stop_after_attempt(self.runtime.settings.start_attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )
        try:
            session: Session = await retrying(self.start_once, spec)
        except StartFailed as error:
            breaker.fail(attempt, self.runtime.clock(), error.detail)
            raise
        except BaseException:
            breaker.cancel(attempt)
            raise
        breaker.succeed()
        return session

    async def start_once(self, spec: SessionSpec) -> Session:
        """A session that is ready, by one try; nothing is left of a try that fails. Raises
        :class:`StartFailed`, :class:`ProfileInUse`, :class:`InvalidRequest`."""
        session = self.registry.add(spec, held=spec.owner != POOL)
        failure: ChromepoolError | None = None
        try:
            await self._bring_up(session)
        except ChromepoolError as error:
            failure = error
        except BaseException:  # the caller hung up, and never learns of this session
            self.termination.abandon(session)
            raise
        if failure is None and session.state is State.READY:
            self.admission.autoscale.note_start(self.runtime.clock() - session.began)
            return session
        raise await self._clean_up(session, failure) from failure

    async def _bring_up(self, session: Session) -> None:
        spec = session.spec
        spawn = self.runtime.supervisor.spawn
        try:
            spawned = await spawn(session.key, spec.limits, spec.chrome_options)
        except (StartFailed, ProfileInUse, InvalidRequest):
            self.registry.remove(session.key)  # the supervisor cleans up by itself
            session.is_gone.set()
            raise
        session.pid = spawned.pid
        session.profile = spawned.profile
        browser = self.connector.connect(session, spawned)
        await connection.initialize(browser, self.runtime.settings)
        await connection.apply_options(session, browser, spec)
        if session.state is State.STARTING:
            session.move(State.READY)

    async def _clean_up(self, session: Session, failure: ChromepoolError | None) -> ChromepoolError:
        """End a session whose start failed, and return the error for its caller."""
        if isinstance(failure, errors.BrowserGone):  # Chrome dies; ``Exited`` gives the reason
            await session.is_gone.wait()
        await self.termination.discard(session, failure.detail if failure else session.detail)
        if isinstance(failure, InvalidRequest | ProfileInUse):
            return failure
        words = session.exit.stderr.strip()[-_LAST_WORDS:] if session.exit else ""
        quoted = f" Chrome's last words: {words}" if words else ""
        said = f"Chrome did not start: {session.detail.rstrip('.')}.{quoted}"
        remedy = failure.remedy if failure else ""
        return StartFailed(said, remedy=remedy, retry_after_s=RETRY_S)
