"""A picture, a PDF or the text of a session's page, for people with only curl."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from chromepool.api.identity import Identify
from chromepool.api.kept import FOREIGN
from chromepool.api.problems import NUMBER
from chromepool.browser.browser import Browser
from chromepool.errors import InvalidRequest, TargetNotFound
from chromepool.pool.manager import Manager

_FORMATS = ("png", "jpeg", "webp")
_YES = ("1", "true")


class Page:
    """The handlers."""

    def __init__(self, manager: Manager, identify: Identify) -> None:
        self._manager, self._identify = manager, identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes below ``/v1/sessions/{id}``."""
        base = "/v1/sessions/{id}"
        app.router.add_get(base + "/screenshot", self.screenshot)
        app.router.add_get(base + "/pdf", self.pdf)
        app.router.add_get(base + "/content", self.content)

    def _find(self, request: web.Request) -> tuple[Browser, str]:
        """The browser, and the page that ``?target=`` names or else the newest one."""
        session = self._identify(request).find(self._manager, request.match_info["id"])
        request[NUMBER] = session.key
        session, browser = self._manager.live(session.id)
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
        params: dict[str, Any] = {"format": kind}
        async with browser.page(target) as page:
            if request.query.get("full", "") in _YES:
                metrics = await browser.call("Page.getLayoutMetrics", session=page)
                size = metrics["cssContentSize"]
                params["captureBeyondViewport"] = True
                params["clip"] = {"x": 0, "y": 0, "scale": 1} | {
                    name: size[name] for name in ("width", "height")
                }
            answer = await browser.call("Page.captureScreenshot", params, session=page)
        return _file(base64.b64decode(answer["data"]), f"image/{kind}")

    async def pdf(self, request: web.Request) -> web.Response:
        """``GET .../pdf``, with backgrounds; ``?landscape=1``."""
        browser, target = self._find(request)
        landscape = request.query.get("landscape", "") in _YES
        params = {"printBackground": True, "landscape": landscape}
        async with browser.page(target) as page:
            answer = await browser.call("Page.printToPDF", params, session=page)
        return _file(base64.b64decode(answer["data"]), "application/pdf")

    async def content(self, request: web.Request) -> web.Response:
        """``GET .../content``: the document as it is now, as HTML."""
        browser, target = self._find(request)
        async with browser.page(target) as page:
            root = (await browser.call("DOM.getDocument", {"depth": 0}, session=page))["root"]
            params = {"nodeId": root["nodeId"]}
            answer = await browser.call("DOM.getOuterHTML", params, session=page)
        return _file(str(answer["outerHTML"]).encode(errors="replace"), "text/html; charset=utf-8")


def _file(data: bytes, kind: str) -> web.Response:
    return web.Response(body=data, headers={**FOREIGN, "Content-Type": kind})
