"""Runs the examples that a configuration brings along: does each lead to what it says?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from millstream.app import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.config import Config, Example
from millstream.logs.rules import Example as RuleExample
from millstream.logs.rules import Rule
from millstream.logs.steps.chain import Chain
from millstream.logs.steps.redact import RedactTable
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser


class Outcome(msgspec.Struct, frozen=True):
    """What one example of a rule led to."""

    rule: str
    example: int
    """1 is the rule's first."""
    wanted: int
    alerts: list[Alert]

    @property
    def is_right(self) -> bool:
        return len(self.alerts) == self.wanted


class ConfigOutcome(msgspec.Struct, frozen=True):
    """What one example of a configuration led to, with all its steps and rules."""

    example: int
    """1 is the file's first."""
    wrong: list[str]
    """What is not as it says, in sentences."""
    events: list[LogEvent]
    alerts: list[Alert]

    @property
    def is_right(self) -> bool:
        return not self.wrong


def check_examples(rules: Sequence[Rule]) -> list[Outcome]:
    """Return what each example of each rule leads to, with its rule alone, in a log of its own in memory."""
    return [
        Outcome(rule.name, number, example.alerts, alerts_of(rule, example))
        for rule in rules
        for number, example in enumerate(rule.example, 1)
    ]


def check_config(config: Config) -> list[ConfigOutcome]:
    """Return what each example of a configuration leads to.

    Raises:
        UsageError: A step cannot work, as its database is missing; also where there is no example.
    """
    _chain(config)
    return [_outcome(config, number, example) for number, example in enumerate(config.examples, 1)]


def alerts_of(rule: Rule, example: RuleExample) -> list[Alert]:
    """Return the alerts of a rule over some lines, read with UTC as the zone of times that have none."""
    lines = [line.encode() for line in example.lines]
    return _alerts([rule], LogParser("example", zone=UTC).events(lines, now=datetime.now(UTC)))


def _alerts(rules: Sequence[Rule], events: Sequence[LogEvent]) -> list[Alert]:
    with App("memory://") as app:
        logs = LogsApplication(app, rules)
        if events:
            logs.events.extend(events)
        app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=10_000)]


def _outcome(config: Config, number: int, example: Example) -> ConfigOutcome:
    now = datetime.now(UTC)
    events = _chain(config).events(example.read(now=now), now=now)
    alerts = _alerts(config.rules, events) if config.rules else []
    wrong = []
    if example.events is not None:
        if len(events) != len(example.events):
            wrong.append(f"{len(events)} events, {len(example.events)} wanted")
        for place, (event, wanted) in enumerate(zip(events, example.events, strict=False), 1):
            wrong += [f"event {place}, {text}" for text in _differences(event, wanted)]
    if example.alerts is not None and len(alerts) != example.alerts:
        wrong.append(f"{len(alerts)} alerts, {example.alerts} wanted")
    return ConfigOutcome(number, wrong, events, alerts)


def _chain(config: Config) -> Chain:
    """Return the steps of a configuration, as they are before the first event; with keys that are no secret."""
    names = [table.key_env for table in config.steps if isinstance(table, RedactTable) and table.key_env]
    return Chain(config.steps, dict.fromkeys(names, "a key for examples only"), rehearsing=True)


def _differences(event: LogEvent, wanted: Mapping[str, Any]) -> list[str]:
    """Return in which of some fields an event is another than wanted."""
    found = msgspec.to_builtins(event)
    return [
        f"{name} is {found[name]!r}, {value!r} wanted"
        for name, value in msgspec.to_builtins(wanted).items()
        if found[name] != value
    ]
