"""Lives of daemons, round after round, and the log of what was done and what became of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import http.client
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.chaos import clients
from bench.chaos.faults import SHORT, TRUE_ENDS, WORKS, Faults
from bench.chaos.leak_check import RoundLeakCheck
from bench.chaos.pool import ChaoticDaemon
from bench.chaos.schedule import Fault, Kind, Round
from testing.cdp import run
from testing.daemon import wait_for
from testing.drivers import calling, driving

Json = dict[str, Any]

_SETTLED_S = 60.0
_EVERY_S = 0.05
"""Between two questions of a client."""


@dataclasses.dataclass
class LogEntry:
    """A line of the log."""

    what: str
    whom: int
    done: str = ""
    became: str = ""
    why: str = ""

    def __str__(self) -> str:
        whom = f" of session {self.whom}" if self.whom >= 0 else ""
        became = f" -> {self.became}" if self.became else ""
        why = f" ({self.why})" if self.why else ""
        return f"{self.what}{whom}: {self.done}{became}{why}"


@dataclasses.dataclass
class RoundReport:
    """Outcome of a round."""

    entries: list[LogEntry] = dataclasses.field(default_factory=list)
    recovered_s: float = 0.0
    """From the end of the last fault until every place could be had and driven."""
    answers: int = 0
    """Errors that clients had meanwhile."""
    broken: list[str] = dataclasses.field(default_factory=list)
    """Findings that should not be."""


class DaemonRun:
    """A daemon and its rounds."""

    def __init__(self, daemon: ChaoticDaemon, places: int) -> None:
        self._daemon, self._places = daemon, places
        self._leak_check = RoundLeakCheck(daemon)

    def begin(self) -> None:
        """Load everything that is loaded once, before the first count is taken."""
        session = self._daemon.new()
        assert run(clients.works(session))
        self._daemon.delete(session["id"])
        self._leak_check.open()

    def round(self, faults: Round) -> RoundReport:
        """Run one round, from a full pool to an empty one."""
        report = RoundReport()
        dresses = [clients.DRESSED if place % 2 else {} for place in range(self._places)]
        sessions = [self._new(dress) for dress in dresses]
        doing = Faults(self._daemon, sessions)
        try:
            with driving(sessions, _EVERY_S) as drivers, calling(self._daemon, 1):
                try:
                    report.entries = self._do(doing, faults)
                    report.broken += [str(e) for e in report.entries if "could not be" in e.done]
                finally:
                    doing.undo()
                began = time.monotonic()
                bombed = _bombed(faults)
                others = [place for place in range(len(sessions)) if place not in bombed]
                self._settle(report, sessions, faults, others)
                self._fill(report)
                report.recovered_s = round(time.monotonic() - began, 1)
                # Apart: that one of these has no process for a page is seen only by waiting for it.
                self._settle(report, sessions, faults, bombed)
                self._end_all()
            report.answers = sum(driver.answers for driver in drivers)
        finally:
            self._end_all()
            doing.bury()
        left = self._leak_check.left_over()
        report.broken += [f"{name} was {n[0]}, is {n[1]}" for name, n in left.items()]
        return report

    def _do(self, doing: Faults, faults: Round) -> list[LogEntry]:
        def one(entry: LogEntry, fault: Fault) -> LogEntry:
            try:
                entry.done = doing.do(fault)
            except Exception as error:  # of the fault's, not of what it was done to
                entry.done = f"could not be done: {error!r}"
            return entry

        with concurrent.futures.ThreadPoolExecutor() as workers:
            work = []
            for fault in faults.faults:
                time.sleep(fault.pause_s)
                work.append(workers.submit(one, LogEntry(fault.kind, fault.victim), fault))
            return [entry.result() for entry in work]

    # -- what became of them --

    def _settle(
        self, report: RoundReport, sessions: list[Json], faults: Round, places: Sequence[int]
    ) -> None:
        """Each of these sessions works, or has ended for the reason that was done to it."""
        kinds = {fault.victim: fault.kind for fault in faults.faults if fault.victim >= 0}
        entries = {entry.whom: entry for entry in report.entries if entry.whom >= 0}
        for place in places:
            session, kind = sessions[place], kinds.get(place)
            allowed = TRUE_ENDS.get(kind, {WORKS}) if kind else {WORKS}
            became, why = self._outcome(session, kind, WORKS in allowed)
            entry = entries.get(place) or LogEntry("nothing", place, "it was left alone")
            entry.became, entry.why = became, why
            if place not in entries:
                report.entries.append(entry)
            if became not in allowed:
                report.broken.append(f"{entry}; may have become: {', '.join(sorted(allowed))}")

    def _is_short(self, session: Json) -> bool:
        """Report whether the session's browser answers, and the API shows refused processes."""
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
            shown = self._daemon.show(session["id"])
            return bool(shown["usage"]["pids_refused"]) and run(clients.answers(session))
        return False

    def _outcome(self, session: Json, kind: Kind | None, may_work: bool) -> tuple[str, str]:
        """Return the state of a session, and the reason."""

        def find() -> tuple[str, str] | None:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
                shown = self._daemon.show(session["id"])
                if shown["state"] == "closed":
                    return shown["exit"]["reason"], " ".join(shown["exit"]["detail"].split())[:160]
                if shown.get("code") == "session_not_found":  # its gateway is gone, too
                    past = self._daemon.ask("GET", f"/v1/history/{session['id']}").json
                    return past["reason"], past["detail"][:160]
                if may_work and shown["state"] == "ready" and run(clients.works(session)):
                    crashes = [crash["reason"] for crash in shown["crashes"]]
                    return WORKS, f"tabs crashed: {', '.join(crashes)}" if crashes else ""
            return None

        def find_or_short() -> tuple[str, str] | None:
            found = find()
            if found is None and kind is Kind.FORK_BOMB and self._is_short(session):
                return SHORT, "it answers, and has no process for a page"
            return found

        try:
            found: tuple[str, str] = wait_for(
                find_or_short, "it works or has ended", _SETTLED_S, 0.1
            )
        except AssertionError:
            return "neither works nor ended", str(self._daemon.show(session["id"]))[:300]
        return found

    def _fill(self, report: RoundReport) -> None:
        """Every place can be had, and what is in it can be driven."""

        def is_full() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._ready() == self._places:
                    return True
                answer = self._daemon.ask("POST", "/v1/sessions")
                if answer.status == 201 and not run(clients.works(answer.json)):
                    report.broken.append(f"a new session does not work: {answer.json['number']}")
            return False

        try:
            wait_for(is_full, "every place can be had", _SETTLED_S, 0.1)
        except AssertionError:
            status = self._daemon.ask("GET", "/v1/status").json["sessions"]
            report.broken.append(f"not every place can be had: {status}")

    def _ready(self) -> int:
        return sum(session["state"] == "ready" for session in self._sessions())

    def _sessions(self) -> list[Json]:
        sessions: list[Json] = self._daemon.ask("GET", "/v1/sessions").json["sessions"]
        return [session for session in sessions if session["owner"] != "pool"]

    def _new(self, body: Json) -> Json:
        """A session, also while the last one's place is being cleared."""

        def make() -> Json | None:
            answer = self._daemon.ask("POST", "/v1/sessions?wait=10", body)
            session: Json = answer.json
            return session if answer.status == 201 else None

        made: Json = wait_for(make, "a session is made")
        return made

    def _end_all(self) -> None:
        def is_empty() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
                for session in self._sessions():
                    self._daemon.delete(session["id"])
                return not self._sessions()
            return False

        wait_for(is_empty, "every session is deleted")


def _bombed(faults: Round) -> list[int]:
    """Places of the sessions that have met a fork bomb."""
    return [fault.victim for fault in faults.faults if fault.kind is Kind.FORK_BOMB]


def run_schedule(
    lives: list[list[Round]], places: int, *, health_timeout_s: float, say: Any = print
) -> list[RoundReport]:
    """All of it, each life on a daemon of its own that leaves nothing behind; the ledger."""
    reports: list[RoundReport] = []
    for rounds in lives:
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="chromepool-test-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            with ChaoticDaemon(folder, places, health_timeout_s) as daemon:
                life = DaemonRun(daemon, places)
                life.begin()
                for faults in rounds:
                    reports.append(life.round(faults))
                    _say(reports, say)
    return reports


def _say(reports: list[RoundReport], say: Any) -> None:
    report = reports[-1]
    say(f"round {len(reports)}: recovered in {report.recovered_s} s, {report.answers} answers")
    for entry in report.entries:
        say(f"  {entry}")
    for wrong in report.broken:
        say(f"  BROKEN: {wrong}")
