"""The loop that looks at the daemon every few seconds: alerts, and limits that follow the load."""

import asyncio
import collections
import contextlib
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chromepool.gateway.capacity import memory, pressure
from chromepool.gateway.capacity.autoscale import Load
from chromepool.gateway.history.queries import AlertState
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.alerts import Alerts, Change, Recent, Snapshot, rules
from chromepool.gateway.monitor.canary_loop import CanaryLoop
from chromepool.gateway.monitor.metric_table import LABELS, MetricsPage
from chromepool.gateway.sessions.events import SessionEnding, SweepDue
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import utc_now
from chromepool.model import Reason
from chromepool.schema.admin import AlertView

log = get_logger("chromepool.gateway.monitor")

EVERY_S = 2.0
_CRASHES = (Reason.CRASHED, Reason.OUT_OF_MEMORY)


def disk(folder: str) -> tuple[int, int] | None:
    """Return the free bytes and the size of a folder's disk, None where nothing can tell."""
    path = Path(folder)
    for found in (path, *path.parents):  # only root may enter some folders: the parent will do
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(found)
            return usage.free, usage.total
    return None


class AlertLoop:
    """Raises and clears alerts, sends them to the webhook, and moves the limits with the load."""

    def __init__(
        self,
        pool: Pool,
        canaries: CanaryLoop,
        send: Callable[[dict[str, Any]], None],
        remember: Callable[[list[AlertView]], None] = lambda alerts: None,
        failures: int = 0,
    ) -> None:
        """``send`` takes the webhook's body and must not block, ``remember`` keeps alerts for the
        next gateway, ``failures`` counts the gateways that died within the last five minutes."""
        self._runtime = pool.runtime
        self._settings = pool.runtime.settings
        self._admission = pool.admission
        self._canaries = canaries
        self._send = send
        self._remember = remember
        self._unhealthy = Recent()
        self._crashed = Recent()
        self._failed = Recent()
        for _ in range(failures):
            self._failed.add(pool.runtime.clock())
        self._alerts = Alerts(rules(self._settings))
        self._cleared_total: collections.Counter[str] = collections.Counter()
        self.raised: dict[str, AlertView] = {}
        """Alerts that are raised now, by name."""

    def resume(self, past: AlertState, now: float) -> None:
        """Take over the alerts of the gateway before: they are not raised again, and are cleared
        once they are over. ``now`` is in seconds since 1970; to be called before :meth:`run`."""
        clock = self._runtime.clock()
        known = {rule.name: rule.severity for rule in rules(self._settings)}
        for alert in past.alerts:
            if alert.name not in known:  # of another version
                log.warning("alert.unknown", alert=alert.name)
                continue
            self.raised[alert.name] = msgspec.structs.replace(alert, severity=known[alert.name])
            since = clock - (now - alert.since.timestamp())
            self._alerts.resume(alert.name, since, alert.text)
        for event in past.endings:
            ago_s = max(0.0, now - event.at.timestamp())
            self._count(event.fields.get("reason"), clock - ago_s)

    def on_ending(self, event: SessionEnding) -> None:
        """Count sessions that crash or do not answer."""
        self._count(event.session.reason, self._runtime.clock())

    def _count(self, reason: str | None, now: float) -> None:
        if reason == Reason.UNHEALTHY:
            self._unhealthy.add(now)
        elif reason in _CRASHES:
            self._crashed.add(now)

    async def run(self) -> None:
        """Look until the gateway ends."""
        while True:
            try:
                self.step()
            except Exception:  # a look that fails once must not end all alerts
                log.exception("watch.failed")
            await asyncio.sleep(EVERY_S)

    def step(self) -> None:
        """Look once."""
        now = self._runtime.clock()
        for change in self._alerts.step(self.snapshot(now), now):
            self._report(change)
        for name, text in self._alerts.texts.items():
            self.raised[name] = msgspec.structs.replace(self.raised[name], text=text)
        self._scale(now)

    def snapshot(self, now: float) -> Snapshot:
        """Return the state of the daemon."""
        admission = self._admission
        free, size = disk(self._settings.state_dir) or (None, None)
        return Snapshot(
            sessions=admission.occupied,
            max_sessions=self._settings.max_sessions,
            memory=memory.share(self._runtime.host.counted_in),
            unhealthy=self._unhealthy.count(now),
            crashed=self._crashed.count(now),
            failed=self._failed.count(now),
            canary=self._canaries.failure,
            breaker_open=admission.breaker.is_open,
            failure=admission.breaker.words,
            disk_free=free,
            disk_size=size,
        )

    def _report(self, change: Change) -> None:
        """Log, emit and send that an alert was raised or cleared."""
        rule = change.rule
        at = since = utc_now()
        if change.lasted_s is None:
            event = "alert.raised"
            self.raised[rule.name] = AlertView(rule.name, rule.severity, at, change.text)
            log.warning("alert.raised", alert=rule.name, severity=rule.severity, text=change.text)
        else:
            event = "alert.cleared"
            since = self.raised.pop(rule.name).since
            self._cleared_total[rule.name] += 1
            log.info("alert.cleared", alert=rule.name, lasted_s=round(change.lasted_s, 1))
        self._remember(list(self.raised.values()))
        fields = {"severity": rule.severity, "text": change.text}
        self._runtime.events.emit(event, alert=rule.name, **fields)
        alert = {"name": rule.name, "since": since, **fields}
        self._send({"event": event, "at": at, "host": platform.node(), "alert": alert})

    def write_metrics(self, page: MetricsPage) -> None:
        """Write the alerts' part of the metrics."""
        for name in LABELS["alert"]:
            page.put("alert_raised", name in self._alerts.texts, name)
        page.put_each("alerts_raised_total", self._alerts.raised_total, LABELS["alert"])
        page.put_each("alerts_cleared_total", self._cleared_total, LABELS["alert"])

    def _scale(self, now: float) -> None:
        admission = self._admission
        before = admission.slots, admission.warm_wanted
        load = self._load() if self._settings.dynamic_limits else None
        if admission.autoscale.observe(load, now):
            log.info("slots.changed", slots=admission.slots, why=admission.autoscale.why)
        after = admission.slots, admission.warm_wanted
        if after != before or len(admission.warm) > admission.warm_wanted:
            self._runtime.bus.publish(SweepDue())  # a caller may enter, or a warm Chrome must go

    def _load(self) -> Load:
        group = self._runtime.host.memory_group
        return Load(
            sessions=self._admission.occupied,
            left_bytes=memory.left(self._runtime.host.counted_in),
            uses=memory.leaves(group),
            memory_pressure=pressure.memory(group),
            cpu_pressure=pressure.cpu(),
        )
