"""Runs the examples that a rules file brings along: does each lead to as many alerts as it says?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from millstream.app import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.rules import Example, Rule
from millstream.parsers.log_lines import LogParser


class Outcome(msgspec.Struct, frozen=True):
    """What one example led to."""

    rule: str
    example: int
    """1 is the rule's first."""
    wanted: int
    alerts: list[Alert]

    @property
    def is_right(self) -> bool:
        return len(self.alerts) == self.wanted


def check_examples(rules: Sequence[Rule]) -> list[Outcome]:
    """Return what each example of each rule leads to, with its rule alone, in a log of its own in memory."""
    return [
        Outcome(rule.name, number, example.alerts, alerts_of(rule, example))
        for rule in rules
        for number, example in enumerate(rule.example, 1)
    ]


def alerts_of(rule: Rule, example: Example) -> list[Alert]:
    """Return the alerts of a rule over some lines, read with UTC as the zone of times that have none."""
    lines = [line.encode() for line in example.lines]
    events = LogParser("example", zone=UTC).events(lines, now=datetime.now(UTC))
    with App("memory://") as app:
        logs = LogsApplication(app, [rule])
        if events:
            logs.events.extend(events)
        app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=10_000)]
