"""Which CDP commands an option of a session becomes, and where they are sent."""

from __future__ import annotations

from chromepool.gateway.browser.hooks.emulation import Emulation, Viewport


def test_which_commands_go_where() -> None:
    all_of_it = Emulation(Viewport(1, 2, 3.0, mobile=True), "A", "de-DE", "Europe/Berlin")
    names = {
        kind: [method.rpartition(".")[2] for method, _ in all_of_it.commands(kind, "own")]
        for kind in ("page", "iframe", "worker", "service_worker")
    }
    rest = ["setTimezoneOverride", "setLocaleOverride", "setUserAgentOverride"]
    assert names["page"] == ["setDeviceMetricsOverride", *rest]
    assert names["iframe"] == rest
    assert names["worker"] == names["service_worker"] == ["setUserAgentOverride"]
    assert Emulation().commands("page", "own") == []
    only_locale = dict(Emulation(locale="de-DE").commands("worker", "own"))
    assert only_locale == {
        "Emulation.setUserAgentOverride": {"userAgent": "own", "acceptLanguage": "de-DE"}
    }
