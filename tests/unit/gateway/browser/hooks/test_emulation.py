"""Which CDP commands an option of a session becomes, and where they are sent."""

from __future__ import annotations

from chromepool.gateway.browser.auto_attach import Command, Target
from chromepool.gateway.browser.hooks.emulation import Emulation, EmulationHook, Viewport


def _commands(emulation: Emulation, kind: str) -> list[Command]:
    return EmulationHook(emulation, "own").commands(Target("session", "id", kind, paused=True))


def test_which_commands_go_where() -> None:
    all_of_it = Emulation(Viewport(1, 2, 3.0, mobile=True), "A", "de-DE", "Europe/Berlin")
    names = {
        kind: [method.rpartition(".")[2] for method, _ in _commands(all_of_it, kind)]
        for kind in ("page", "iframe", "worker", "service_worker")
    }
    rest = ["setTimezoneOverride", "setLocaleOverride", "setUserAgentOverride"]
    assert names["page"] == ["setDeviceMetricsOverride", *rest]
    assert names["iframe"] == rest
    assert names["worker"] == names["service_worker"] == ["setUserAgentOverride"]
    assert _commands(Emulation(), "page") == []
    only_locale = dict(_commands(Emulation(locale="de-DE"), "worker"))
    assert only_locale == {
        "Emulation.setUserAgentOverride": {"userAgent": "own", "acceptLanguage": "de-DE"}
    }
