"""Looks at the daemon every few seconds: for alerts, and for the limits that follow the load."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chromepool.gateway.capacity import memory, pressure
from chromepool.gateway.capacity.autoscale import Load
from chromepool.gateway.history.queries import AlertState
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.alerts import Alerts, Cleared, Raised, Recent, Snapshot, rules
from chromepool.gateway.monitor.metric_table import LABELS
from chromepool.gateway.monitor.sheet import MetricsPage
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.events import Alert, Event
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import utc_now
from chromepool.model import Reason

log = get_logger("chromepool.gateway.monitor")

EVERY_S = 2.0
_CRASHES = (Reason.CRASHED, Reason.OUT_OF_MEMORY)


def disk(folder: str) -> tuple[int, int] | None:
    """Bytes free, and in all, where a folder lies; None where nothing can tell."""
    path = Path(folder)
    for found in (path, *path.parents):  # one that root alone may enter: its parent has to do
        try:
            told = os.statvfs(found)
        except OSError:
            continue
        return told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize
    return None


class AlertLoop:
    """Takes a snapshot, tells of the alerts that come of it, and lets the limits follow."""

    def __init__(
        self,
        manager: Manager,
        creator: Creator,
        send: Callable[[dict[str, Any]], None],
        failures: int = 0,
    ) -> None:
        """``send`` takes what the webhook is to be told; it must not block. ``failures``: how many
        gateways died within the last five minutes."""
        self._manager, self._creator, self._send = manager, creator, send
        self._unhealthy, self._crashed, self._failed = Recent(), Recent(), Recent()
        for _ in range(failures):
            self._failed.add(manager.clock())
        self.alerts = Alerts(lambda: rules(manager.settings))
        self.cleared_total: collections.Counter[str] = collections.Counter()
        manager.events.watch(self._on_event)

    def resume(self, past: AlertState, now: float) -> None:
        """Goes on where the gateway before ended: what it raised is not raised again, and is
        cleared if it is over. ``now`` in seconds since 1970; to be called before :meth:`run`."""
        clock = self._manager.clock()
        known = {rule.name: rule.severity for rule in rules(self._manager.settings)}
        for one in past.alerts:
            if one.name not in known:  # of another version
                log.warning("alert.unknown", alert=one.name)
                continue
            severity = known[one.name]
            self._manager.alerts[one.name] = dataclasses.replace(one, severity=severity)
            self.alerts.resume(one.name, clock - (now - one.since.timestamp()), one.text)
        for event in past.endings:
            ago_s = max(0.0, now - event.at.timestamp())
            self._count(event.fields.get("reason"), clock - ago_s)

    def _on_event(self, event: Event) -> None:
        if event.name == "session.closing":
            self._count(event.fields.get("reason"), self._manager.clock())

    def _count(self, reason: str | None, now: float) -> None:
        if reason == Reason.UNHEALTHY:
            self._unhealthy.add(now)
        elif reason in _CRASHES:
            self._crashed.add(now)

    async def run(self) -> None:
        """Looks for as long as the gateway lives."""
        while True:
            try:
                self.step()
            except Exception:  # or nobody would ever be told anything again
                log.exception("watch.failed")
            await asyncio.sleep(EVERY_S)

    def step(self) -> None:
        """One look."""
        now = self._manager.clock()
        for change in self.alerts.step(self.snapshot(now), now):
            self._tell(change)
        for name, text in self.alerts.texts.items():
            shown = self._manager.alerts[name]
            if shown.text != text:
                self._manager.alerts[name] = Alert(name, shown.severity, shown.since, text)
        self._scale(now)

    def snapshot(self, now: float) -> Snapshot:
        """The daemon as it is."""
        manager, creator = self._manager, self._creator
        free, size = disk(manager.settings.state_dir) or (None, None)
        return Snapshot(
            sessions=creator.occupied,
            max_sessions=manager.settings.max_sessions,
            memory=memory.share(manager.host.counted_in),
            unhealthy=self._unhealthy.count(now),
            crashed=self._crashed.count(now),
            failed=self._failed.count(now),
            canary=manager.canary_failure,
            breaker_open=creator.breaker.is_open,
            failure=creator.breaker.words,
            disk_free=free,
            disk_size=size,
        )

    def _tell(self, change: Raised | Cleared) -> None:
        rule, at = change.rule, utc_now()
        if isinstance(change, Raised):
            since, event = at, "alert.raised"
            self._manager.alerts[rule.name] = Alert(rule.name, rule.severity, at, change.text)
            log.warning("alert.raised", alert=rule.name, severity=rule.severity, text=change.text)
        else:
            event, gone = "alert.cleared", self._manager.alerts.pop(rule.name, None)
            since = gone.since if gone else at - datetime.timedelta(seconds=change.lasted_s)
            self.cleared_total[rule.name] += 1
            log.info("alert.cleared", alert=rule.name, lasted_s=round(change.lasted_s, 1))
        self._remember()
        fields = {"severity": rule.severity, "text": change.text}
        self._manager.events.emit(event, alert=rule.name, **fields)
        alert = {"name": rule.name, "since": since, **fields}
        self._send({"event": event, "at": at, "host": platform.node(), "alert": alert})

    def _remember(self) -> None:
        """For the next gateway."""
        if self._manager.journal is not None:
            self._manager.journal.set_alerts(list(self._manager.alerts.values()))

    def write(self, sheet: MetricsPage) -> None:
        """Its part of the metrics."""
        for name in LABELS["alert"]:
            sheet.put("alert_raised", name in self.alerts.texts, name)
            sheet.put("alerts_raised_total", self.alerts.raised_total[name], name)
            sheet.put("alerts_cleared_total", self.cleared_total[name], name)

    # -- limits that follow the load --

    def _scale(self, now: float) -> None:
        creator, settings = self._creator, self._manager.settings
        before = creator.places, creator.reserve()
        load = self._load() if settings.dynamic_limits else None
        if creator.scaling.observe(load, settings, now):
            log.info("places.changed", places=creator.places, why=creator.scaling.why)
        if (
            creator.places,
            creator.reserve(),
        ) != before or creator.warm.waiting > creator.reserve():
            creator.on_change()  # there may be somebody to let in, or a Chrome to let go

    def _load(self) -> Load:
        group = self._manager.host.memory_group
        return Load(
            sessions=self._creator.occupied,
            left_bytes=memory.left(self._manager.host.counted_in),
            uses=memory.leaves(group),
            memory_pressure=pressure.memory(group),
            cpu_pressure=pressure.cpu(),
        )
