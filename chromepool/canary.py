"""The canary: a client that takes every step a user takes, and reports the step that failed."""

import time

from chromepool.client import Client
from chromepool.errors import ChromepoolError
from chromepool.logs import strike
from chromepool.schema.admin import CanaryResult

_PAGE = "data:text/html,<title>canary</title><script>window.sum = 40 + 2</script>"
_LABELS = {"chromepool": "canary"}


class Canary:
    """Creates a session, connects with pyppeteer, loads a page, evaluates, deletes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._result = CanaryResult()
        self._began = 0.0

    async def fly(self) -> CanaryResult:
        """Try every step and end the session; return the failure instead of raising it."""
        try:
            self._step("create")
            async with self._client.session(labels=_LABELS, idle_timeout_s=60) as session:
                self._step("connect")
                browser = await session.pyppeteer()
                self._step("load")
                page = await browser.newPage()
                await page.goto(_PAGE)
                self._step("evaluate")
                found = await page.evaluate("[document.title, window.sum]")
                if found != ["canary", 42]:
                    raise ChromepoolError(f"The page says {found!r}.")
                self._step("delete")
            self._step("")
            self._result.ok = True
        except Exception as error:  # a user would have met the same
            said = str(error) if isinstance(error, ChromepoolError) else repr(error)
            self._result.error = strike(said)[:500]
        return self._result

    def _step(self, name: str) -> None:
        """End the step before, and begin the next one."""
        now = time.monotonic()
        if self._result.step:
            self._result.steps_s[self._result.step] = round(now - self._began, 4)
        self._result.step = name
        self._began = now


def preload() -> None:
    """Import what a canary needs while the code can be read: before root is dropped."""
    import importlib.metadata  # what websockets looks up when it is first used

    import pyppeteer

    importlib.metadata.version(pyppeteer.__name__)
