"""An alert, as the monitor raises it and the history keeps it."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal

Severity = Literal["warning", "critical"]


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """A condition that an operator should look at, for as long as it lasts."""

    name: str
    severity: Severity
    since: datetime.datetime
    text: str
