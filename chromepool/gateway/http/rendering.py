"""Handlers that render a page of a session as a picture, as PDF or as HTML."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import tenacity
from aiohttp import web
from msgspec import UNSET

from chromepool.errors import CommandFailed, NoAnswer, TargetNotFound
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.http.artifacts import FOREIGN
from chromepool.gateway.http.requests import read_query
from chromepool.gateway.http.services import Handlers
from chromepool.schema.artifacts import PageParams, PdfParams, ScreenshotParams

_YES = ("1", "true")
_SETTLES_S = 15.0
"""Longest time that a page may take from one document to the next, or to its first."""
_FIRST_S = 3.0
"""Time to wait for an answer at first. Chrome loses a command to a page that moves to another
process at that moment, so that the command has to be sent again."""
_LONGER = 3
"""Factor by which the wait grows each time that no answer comes."""
_PAUSE_S = 0.05
"""Time between two attempts."""

T = TypeVar("T")


class RenderingHandlers(Handlers):
    """Handlers of the routes below ``/v1/sessions/{id}`` that render a page."""

    def _page(self, request: web.Request, query: PageParams) -> tuple[Browser, str]:
        """Find the browser, and the page that the query names, or else the newest one."""
        session, browser = self._live(request)
        session.touch()
        pages = browser.pages
        asked = (pages[-1] if pages else "") if query.target is UNSET else query.target
        if asked not in pages:
            raise TargetNotFound(f"The session has no page {asked[:64]!r}.")
        return browser, asked

    async def screenshot(self, request: web.Request) -> web.Response:
        """Take a screenshot of what is in view, or of the whole page."""
        query = read_query(request.query, ScreenshotParams)
        browser, target = self._page(request, query)

        async def take(page: str) -> dict[str, Any]:
            clip = await _whole_page(browser, page) if query.full in _YES else {}
            params = {"format": query.format} | clip
            return await browser.call("Page.captureScreenshot", params, session=page)

        answer = await _on_page(browser, target, take)
        return _file(base64.b64decode(answer["data"]), f"image/{query.format}")

    async def pdf(self, request: web.Request) -> web.Response:
        """Print a page with its backgrounds."""
        query = read_query(request.query, PdfParams)
        browser, target = self._page(request, query)
        params = {"printBackground": True, "landscape": query.landscape in _YES}
        answer = await _on_page(
            browser, target, lambda page: browser.call("Page.printToPDF", params, session=page)
        )
        return _file(base64.b64decode(answer["data"]), "application/pdf")

    async def content(self, request: web.Request) -> web.Response:
        """Send the document as it is now, as HTML."""
        browser, target = self._page(request, read_query(request.query, PageParams))

        async def read(page: str) -> dict[str, Any]:
            root = (await browser.call("DOM.getDocument", {"depth": 0}, session=page))["root"]
            params = {"nodeId": root["nodeId"]}
            return await browser.call("DOM.getOuterHTML", params, session=page)

        answer = await _on_page(browser, target, read)
        return _file(str(answer["outerHTML"]).encode(errors="replace"), "text/html; charset=utf-8")


async def _on_page(browser: Browser, target: str, work: Callable[[str], Awaitable[T]]) -> T:
    """Run ``work`` with a CDP session on the page, and return its result.

    A page that is between two documents fails commands, so that they are tried again until it has
    settled. Raises :class:`TargetNotFound` for a page that is closed meanwhile,
    :class:`CommandFailed` or :class:`NoAnswer` in the end, and :class:`BrowserGone`.
    """
    patience_s = _FIRST_S

    def may_settle(error: BaseException) -> bool:
        return isinstance(error, (CommandFailed, NoAnswer)) and target in browser.pages

    try:
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(may_settle),
            stop=tenacity.stop_after_delay(_SETTLES_S),
            wait=tenacity.wait_fixed(_PAUSE_S),
            reraise=True,
        ):
            with attempt:
                try:
                    async with browser.page(target) as page:
                        found = await _within(work(page), patience_s)
                except NoAnswer:
                    patience_s *= _LONGER
                    raise
    except (CommandFailed, NoAnswer):
        if target not in browser.pages:
            raise TargetNotFound("The page was closed while it was being rendered.") from None
        raise
    return found


async def _within(work: Awaitable[T], patience_s: float) -> T:
    try:
        async with asyncio.timeout(patience_s):
            return await work
    except TimeoutError:
        raise NoAnswer(f"Chrome did not answer within {patience_s:g} seconds.") from None


async def _whole_page(browser: Browser, page: str) -> dict[str, Any]:
    """Return parameters for a picture of the whole page, also of a page that has no size yet."""
    size = (await browser.call("Page.getLayoutMetrics", session=page))["cssContentSize"]
    clip = {name: max(1, size[name]) for name in ("width", "height")}
    return {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "scale": 1} | clip}


def _file(data: bytes, kind: str) -> web.Response:
    return web.Response(body=data, headers={**FOREIGN, "Content-Type": kind})
