"""`millstream logs` and times that cannot be: of machines whose clocks are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from millstream import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.rules import parse_rules
from millstream.parsers.log_event import LogEvent
from millstream.records import time_from_us
from millstream.testing import FakeClock

SILENCE = """
[[rule]]
name = "silence"
where = "message = 'alive'"
message = "{program} is silent"
[rule.absence]
within = "1h"
by = ["program"]
"""


class Machines:
    """Write events with times of their own, and read them at once."""

    def __init__(self, app: App, clock: FakeClock) -> None:
        self.app, self.clock = app, clock
        self.logs = LogsApplication(app, parse_rules(SILENCE, "test.toml"))

    def write(self, program: str, ahead: timedelta = timedelta(0), message: str = "alive") -> None:
        self.clock.advance("1m")
        at = time_from_us(self.clock.now_us()) + ahead
        self.logs.events.append(LogEvent(time=at, source="test", program=program, message=message))
        self.app.run(until="now")

    @property
    def alerts(self) -> list[Alert]:
        return [record.value for record in self.logs.alerts.read(0, records_max=100)]


@pytest.fixture
def machines() -> Iterator[Machines]:
    clock = FakeClock()
    with App("memory://", clock=clock) as app:
        yield Machines(app, clock)


def test_a_clock_that_is_ahead_makes_nobody_else_silent(machines: Machines) -> None:
    machines.write("heart")
    machines.write("ahead", timedelta(hours=2))
    machines.write("ahead", timedelta(days=30_000))
    for _ in range(3):
        machines.write("heart")
    machines.write("other", message="now")
    assert machines.alerts == []


def test_who_was_ahead_once_can_fall_silent(machines: Machines) -> None:
    machines.write("other", message="begun")
    machines.write("heart", timedelta(days=30_000))
    machines.write("heart")
    last = machines.clock.now_us()
    machines.clock.advance("2h")
    for _ in range(2):
        machines.write("other", message="now")
    [alert] = machines.alerts
    assert (alert.message, alert.first) == ("heart is silent", time_from_us(last))
