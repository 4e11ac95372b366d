"""Every place where the contract's recorder imports internals of chromepool, and nothing else.

A refactor that moves a module changes one line here: the import inside the function that is named
after what is fetched. Names of the public package (``chromepool``, ``chromepool.errors``) are
imported by the recorder itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib.resources
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from aiohttp import web

import chromepool
from chromepool.config import Settings
from chromepool.gateway.http.services import Services
from chromepool.model import Host
from testing.fakes import FakePool, fake_services

PACKAGE = Path(chromepool.__file__).parent
DOCS = PACKAGE.parent / "docs"
Middleware = Callable[[web.Request, Callable[..., Awaitable[web.StreamResponse]]], Awaitable[Any]]


# -- the control API --


def openapi_document() -> bytes:
    """Return the OpenAPI document as JSON."""
    from chromepool.gateway.http import openapi

    return openapi.document()


def problem_middleware() -> Middleware:
    """Return the middleware that turns exceptions into problem documents."""
    from chromepool.gateway.http.problems import problems

    return problems


def event_frame(number: int, name: str, fields: dict[str, Any]) -> bytes:
    """Return one event as ``GET /v1/events`` sends it."""
    from chromepool.gateway.event_stream import Event
    from chromepool.gateway.http.events import _frame

    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC)
    return _frame(Event(number, at, name, "f" * 32, "uid:1000", fields))


# -- the endpoints --


@contextlib.contextmanager
def _services(**settings: Any) -> Iterator[Services]:
    """Build the services of a gateway without a supervisor."""
    host = Host(False, "none", (), private_mounts=False, sandbox=True, chrome="/chrome")
    # The pool's own defaults for tests would show in the settings.
    standard = {name: getattr(Settings(), name) for name in ("warm_sessions",)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield fake_services(FakePool(monkeypatch, host=host, **standard | settings))


def devtools_app(**settings: Any) -> web.Application:
    """Build the application of the DevTools endpoint on TCP."""
    from chromepool.gateway.http import routes

    with _services(**settings) as services:
        return routes.devtools_app(services)


def control_app() -> web.Application:
    """Build the application of the Unix socket."""
    from chromepool.gateway.http import routes
    from chromepool.gateway.http.identity import by_credentials

    with _services() as services:
        identify = by_credentials(services.pool.runtime)
        return routes.control_app(services, identify, "127.0.0.1:9222")


def read_query(query: Any) -> dict[str, Any]:
    """Return what the query of a connect-and-go URL asks for, as the JSON of a creation."""
    import msgspec

    from chromepool.gateway.http.browserless import read_connect_query

    found: dict[str, Any] = msgspec.to_builtins(read_connect_query(query))
    return found


def allowed_flags() -> Iterable[str]:
    """Return the flags of Chrome that every session may ask for."""
    from chromepool.chrome_options import ALLOWED_FLAGS

    return ALLOWED_FLAGS


def close_codes() -> dict[str, int]:
    """Return the WebSocket close codes by what they mean."""
    from chromepool.gateway.http.close_codes import CloseCode

    return {
        "the page of a page socket is closed": CloseCode.OK,
        "a client does not answer pings": CloseCode.GOING_AWAY,
        "a client breaks the protocol": CloseCode.PROTOCOL_ERROR,
        "a client sends a binary message": CloseCode.UNSUPPORTED,
        "a text message is not UTF-8": CloseCode.NOT_UTF8,
        "a client reads too slowly": CloseCode.POLICY,
        "a message is too long": CloseCode.TOO_BIG,
        "a session ends on purpose": CloseCode.GOING_AWAY,
        "a session ends by a fault of its browser": CloseCode.INTERNAL_ERROR,
        "the gateway is being replaced": CloseCode.SERVICE_RESTART,
    }


def end_reasons() -> dict[str, bool]:
    """Return the reasons of ends, with whether each is a fault of the browser."""
    from chromepool.gateway.http.close_codes import CloseCode, close_code
    from chromepool.model import Reason

    return {str(reason): close_code(reason) is CloseCode.INTERNAL_ERROR for reason in Reason}


def read_frames(limit: int, data: bytes) -> list[tuple[int, bytes]]:
    """Cut what a client sends into messages; an error of the peer has a ``code``."""
    from chromepool.gateway.http.frames import FrameReader

    return FrameReader(limit).feed(data)


def read_close(payload: bytes) -> int:
    """Return the code of a close frame; an error of the peer has a ``code``."""
    from chromepool.gateway.http.frames import parse_close

    return parse_close(payload)


# -- what an operator sees --


def metric_families() -> Iterable[Any]:
    """Return the table of metrics; each row has ``name``, ``kind`` and ``labels``."""
    from chromepool.gateway.monitor.metric_table import FAMILIES

    return FAMILIES


def metric_label_values() -> Mapping[str, tuple[str, ...]]:
    """Return the values of labels whose values are all known."""
    from chromepool.gateway.monitor.metric_table import LABELS, REFUSALS

    return {**LABELS, "code": REFUSALS}


def first_scrape() -> tuple[str, str]:
    """Return the content type of ``/metrics`` and the page of a pool in which nothing happened."""
    from chromepool import wire
    from chromepool.gateway.monitor.alert_loop import AlertLoop
    from chromepool.gateway.monitor.canary_loop import CanaryLoop
    from chromepool.gateway.monitor.health import HealthChecker
    from chromepool.gateway.monitor.metrics import CONTENT_TYPE, Metrics
    from chromepool.gateway.monitor.webhook import Webhook

    async def scrape() -> bytes:
        with _services() as services:
            pool = services.pool
            runtime = pool.runtime
            webhook = Webhook("", "")
            canaries = CanaryLoop(runtime, {})
            alerts = AlertLoop(pool, canaries, webhook.send)
            health = HealthChecker(pool)
            writers = (alerts.write_metrics, webhook.write, canaries.write_metrics)
            welcome = wire.Welcome({}, runtime.host, {})
            return await Metrics(pool, health, welcome, writers).scrape()

    return CONTENT_TYPE, asyncio.run(scrape()).decode()


def alert_rules() -> Iterable[Any]:
    """Return the rules of alerts; each has ``name`` and ``severity``."""
    from chromepool.config import Settings
    from chromepool.gateway.monitor.alerts import rules

    return rules(Settings())


def webhook_signature(body: bytes, secret: str, now: int) -> tuple[str, str]:
    """Return the name and the value of the header that signs what a webhook gets."""
    from chromepool.gateway.monitor.webhook import signatures

    name = "Chromepool-Signature"
    return name, signatures("id", body, secret, now)[name]


# -- the command line --


def command_line() -> click.Group:
    """Return the group of all commands."""
    from chromepool.cli.main import cli

    return cli


def console_script() -> object:
    """Return what the console script runs; units name the module too (``-m``)."""
    from chromepool.cli.main import main

    return main


def doctor_finding() -> type:
    """Return the type of which ``doctor --json`` prints a list."""
    from chromepool.cli.doctor import Finding

    return Finding


def canary_flight() -> type:
    """Return the type that ``canary --json`` prints, and whose fields canary events have."""
    from chromepool.schema.admin import CanaryResult

    return CanaryResult


# -- settings and files --


def settings_module() -> ModuleType:
    """Return the module of the settings: ``FIELDS``, ``Settings``, ``parse`` and the defaults."""
    from chromepool import config

    return config


def journal_folder(settings: Any) -> Path:
    """Return where the journal lies."""
    folder: Path = settings.history_dir
    return folder


def uid_lock() -> str:
    """Return the file in which ranges of uids are locked."""
    from chromepool.supervisor.locks import _UID_LOCK

    return _UID_LOCK


def units_folder() -> Traversable:
    """Return the folder of the systemd units that are shipped."""
    return importlib.resources.files("chromepool") / "units"


def installed_files(*, user: bool, root: Path | None) -> Iterable[Path]:
    """Return the files that ``chromepool install`` writes."""
    from chromepool.cli.install import Target

    return Target(user, root).files()


# -- pages of the documentation that promise something --


def events_page() -> str:
    """Return the page that lists the events, with their fields."""
    return (DOCS / "reference/api.md").read_text()


def close_codes_page() -> str:
    """Return the page that lists the WebSocket close codes."""
    return (DOCS / "explanation/lifecycle.md").read_text()


def webhook_page() -> str:
    """Return the page that shows the body that a webhook gets."""
    return (DOCS / "howto/alerts.md").read_text()
