"""The steps of ``steps.mjs`` for pyppeteer, which runs in the test's own process."""

from __future__ import annotations

import asyncio
import base64
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pyppeteer
from pyppeteer.browser import Browser
from pyppeteer.page import Page

_STORED = "[document.cookie, localStorage.getItem('who')]"

Step = Callable[[Browser, dict[str, Any]], Awaitable[dict[str, Any]]]


def _store(who: str) -> str:
    return f"document.cookie = 'who={who}'; localStorage.setItem('who', '{who}')"


async def _ask(page: Page, expression: str) -> Any:
    """Evaluate an expression, never a function: pyppeteer would guess which it is."""
    return await page.evaluate(expression, force_expr=True)


def _fetch(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        answer.read()


async def _screenshot(page: Page) -> str:
    return base64.b64encode(await page.screenshot()).decode()


async def drive(browser: Browser, params: dict[str, Any]) -> dict[str, Any]:
    """A page, everything one does with it, and a second context that sees nothing of it."""
    page = await browser.newPage()
    await page.goto(params["url"])
    await _ask(page, f"window.mark = '{params['mark']}'")
    await _ask(page, _store("first"))
    context = await browser.createIncognitoBrowserContext()
    other = await context.newPage()
    await other.goto(params["url"])
    before = await _ask(other, _STORED)
    await _ask(other, _store("second"))
    result = {
        "title": await _ask(page, "document.title"),
        "answer": await _ask(page, "Promise.resolve(6 * 7)"),
        "screenshot": await _screenshot(page),
        "before": before,
        "second": await _ask(other, _STORED),
        "first": await _ask(page, _STORED),
    }
    await context.close()
    return result


async def revisit(browser: Browser, params: dict[str, Any]) -> dict[str, Any]:
    """The page that an earlier connection left: its JavaScript is still the same."""
    pages = [page for page in await browser.pages() if page.url == params["url"]]
    marks = [await _ask(page, "window.mark") for page in pages]
    for page in pages:
        await page.close()
    return {"marks": marks}


async def work(browser: Browser, params: dict[str, Any]) -> dict[str, Any]:
    """Many rounds on a page of one's own, once all workers have met."""
    page, who = await browser.newPage(), params["who"]
    await asyncio.to_thread(_fetch, params["url"])
    done = []
    for number in range(params["rounds"]):
        await page.goto(f"{params['url']}?who={who}&round={number}")
        length = (number + 1) * 10000
        done.append(
            {
                "search": await _ask(page, "location.search"),
                "right": await _ask(page, f"'{who}'.repeat({length})") == who * length,
                "screenshot": await _screenshot(page),
            }
        )
    await page.close()
    return {"done": done}


_STEPS: dict[str, Step] = {"drive": drive, "revisit": revisit, "work": work}


async def _connect(endpoint: str) -> Browser:
    name = "browserWSEndpoint" if endpoint.startswith("ws:") else "browserURL"
    return await pyppeteer.connect({name: endpoint})


async def _leave(browser: Browser, how: str) -> None:
    """Disconnect or close, and wait for the reading task: pyppeteer itself leaves it behind."""
    connection = browser._connection
    await (browser.close() if how == "close" else browser.disconnect())
    await asyncio.wait([connection._recv_fut])
    await connection.dispose()


async def _run(step: str, params: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    async with asyncio.timeout(deadline_s):
        browser = await _connect(params["endpoint"])
        try:
            result = await _STEPS[step](browser, params)
        finally:
            await _leave(browser, params.get("leave", "disconnect"))
        return result


def run(step: str, params: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    """Connect, do one step and leave."""
    return asyncio.run(_run(step, params, deadline_s))
