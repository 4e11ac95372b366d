"""Every route of the router is in the table and bound to a handler, and nothing else is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from chromepool.gateway.http import routes
from chromepool.gateway.http.identity import by_credentials
from chromepool.gateway.http.services import Services
from chromepool.schema.routes import CONTROL, METRICS, Route
from testing.fakes import FakePool, fake_services

NOTHING = cast(Any, None)
BOUND = routes.control_handlers(cast(Any, SimpleNamespace(pool=NOTHING)), NOTHING)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Services]:
    """Makes services with these settings."""
    return lambda **settings: fake_services(FakePool(monkeypatch, **settings))


def served(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }


def addresses(table: Any, *, head: bool) -> set[tuple[str, str]]:
    """Method and path of each route; with ``head``, every GET also answers HEAD."""
    found = {(route.method, route.path) for route in table}
    return found | {("HEAD", path) for method, path in found if head and method == "GET"}


def canonical(table: Any) -> set[tuple[str, str]]:
    """Method and path as aiohttp shows them, without the patterns of optional parts."""
    parts = {"{slash:/?}": "{slash}", "{list:(/list)?/?}": "{list}"}
    found = set()
    for route in table:
        path = route.path
        for pattern, name in parts.items():
            path = path.replace(pattern, name)
        found.add((route.method, path))
    return found


def test_the_table_has_each_route_once() -> None:
    found = [(route.method, route.path) for route in CONTROL]
    assert len(found) == len(set(found))


def test_the_router_of_the_control_api_has_the_table_and_nothing_else(
    services: Callable[..., Services],
) -> None:
    given = services()
    app = routes.control_app(given, by_credentials(given.pool.runtime))
    assert served(app) == addresses(CONTROL, head=True)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, ()),
        ({"metrics_tcp": True}, (METRICS,)),
        ({"control_tcp": True, "tokens_file": "/tokens"}, CONTROL),
    ],
)
def test_the_router_of_the_devtools_endpoint_has_its_table_and_nothing_else(
    services: Callable[..., Services], settings: dict[str, Any], more: tuple[Route, ...]
) -> None:
    own = canonical(routes.devtools_handlers(NOTHING_SERVED))
    assert served(routes.devtools_app(services(**settings))) == own | addresses(more, head=True)


class _AnyHandler:
    def __getattr__(self, name: str) -> str:
        return name


NOTHING_SERVED = cast(Any, _AnyHandler())


@pytest.mark.parametrize("route", CONTROL, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_reads_what_its_route_declares(route: Route) -> None:
    text = inspect.getsource(BOUND[route])
    for kind, reader in ((route.query, "read_query"), (route.body, "read_json")):
        if kind is None:
            assert f"{reader}(" not in text
        elif kind.__name__ != "EventsParams":  # read from a header as well, in a function apart
            assert f"{reader}(" in text
            assert f"{kind.__name__})" in text
    assert "request.query." not in text
