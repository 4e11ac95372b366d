"""A picture, a PDF or the text of a session's page, for people with only curl."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import tenacity
from aiohttp import web

from chromepool.errors import CommandFailed, InvalidRequest, NoAnswer, TargetNotFound
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.http.artifacts import FOREIGN
from chromepool.gateway.http.identity import Identify
from chromepool.gateway.http.problems import NUMBER
from chromepool.gateway.http.services import Services

_FORMATS = ("png", "jpeg", "webp")
_YES = ("1", "true")
_SETTLES_S = 15.0
"""How long a page may be in between, from one document to the next or before its first."""
_FIRST_S, _LONGER = 3.0, 3
"""How long an answer is waited for at first, and how many times as long each time that none comes:
Chrome loses a command to a page that goes to another process just then."""
_PAUSE_S = 0.05

T = TypeVar("T")


class Page:
    """The handlers."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes below ``/v1/sessions/{id}``."""
        base = "/v1/sessions/{id}"
        app.router.add_get(base + "/screenshot", self.screenshot)
        app.router.add_get(base + "/pdf", self.pdf)
        app.router.add_get(base + "/content", self.content)

    def _find(self, request: web.Request) -> tuple[Browser, str]:
        """The browser, and the page that ``?target=`` names or else the newest one."""
        session = self._identify(request).find(self._pool.registry, request.match_info["id"])
        request[NUMBER] = session.key
        session, browser = self._pool.registry.live(session.id)
        session.touch()
        pages = browser.pages
        asked = request.query.get("target", pages[-1] if pages else "")
        if asked not in pages:
            raise TargetNotFound(f"The session has no page {asked[:64]!r}.")
        return browser, asked

    async def screenshot(self, request: web.Request) -> web.Response:
        """``GET .../screenshot``: ``?format=png|jpeg|webp``, ``?full=1`` for all of the page."""
        kind = request.query.get("format", "png")
        if kind not in _FORMATS:
            raise InvalidRequest(f"format is one of {', '.join(_FORMATS)}.")
        browser, target = self._find(request)
        full = request.query.get("full", "") in _YES

        async def take(page: str) -> dict[str, Any]:
            params = {"format": kind} | (await _whole(browser, page) if full else {})
            return await browser.call("Page.captureScreenshot", params, session=page)

        answer = await _on_page(browser, target, take)
        return _file(base64.b64decode(answer["data"]), f"image/{kind}")

    async def pdf(self, request: web.Request) -> web.Response:
        """``GET .../pdf``, with backgrounds; ``?landscape=1``."""
        browser, target = self._find(request)
        landscape = request.query.get("landscape", "") in _YES
        params = {"printBackground": True, "landscape": landscape}

        async def print_it(page: str) -> dict[str, Any]:
            return await browser.call("Page.printToPDF", params, session=page)

        answer = await _on_page(browser, target, print_it)
        return _file(base64.b64decode(answer["data"]), "application/pdf")

    async def content(self, request: web.Request) -> web.Response:
        """``GET .../content``: the document as it is now, as HTML."""
        browser, target = self._find(request)

        async def read(page: str) -> dict[str, Any]:
            root = (await browser.call("DOM.getDocument", {"depth": 0}, session=page))["root"]
            params = {"nodeId": root["nodeId"]}
            return await browser.call("DOM.getOuterHTML", params, session=page)

        answer = await _on_page(browser, target, read)
        return _file(str(answer["outerHTML"]).encode(errors="replace"), "text/html; charset=utf-8")


async def _on_page(browser: Browser, target: str, work: Callable[[str], Awaitable[T]]) -> T:
    """What ``work`` makes of a CDP session on the page.

    A page in between fails for no fault of anybody's, and is asked again until it has settled.
    Raises :class:`TargetNotFound` for one that is closed meanwhile, :class:`CommandFailed` or
    :class:`NoAnswer` in the end, :class:`BrowserGone`.
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
            raise TargetNotFound("The page was closed meanwhile.") from None
        raise
    return found


async def _within(work: Awaitable[T], patience_s: float) -> T:
    try:
        async with asyncio.timeout(patience_s):
            return await work
    except TimeoutError:
        raise NoAnswer(f"Chrome did not answer within {patience_s:g} s.") from None


async def _whole(browser: Browser, page: str) -> dict[str, Any]:
    """What makes a picture one of all of the page, also of one that has no size yet."""
    size = (await browser.call("Page.getLayoutMetrics", session=page))["cssContentSize"]
    clip = {name: max(1, size[name]) for name in ("width", "height")}
    return {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "scale": 1} | clip}


def _file(data: bytes, kind: str) -> web.Response:
    return web.Response(body=data, headers={**FOREIGN, "Content-Type": kind})
