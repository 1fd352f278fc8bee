"""Events made short, and steps of `millstream logs` applied to them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.logs.steps.step import Step
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import LogEvent, event_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(message: str = "m", **fields: Any) -> LogEvent:
    return LogEvent(**{"time": NOW, "source": "s", "message": message, "raw": message, **fields})


def of(*addresses: str | None) -> list[LogEvent]:
    return [event(source_ip=address) for address in addresses]


def chain(*steps: str) -> Chain:
    text = "\n".join(f"[[step]]\n{step}" for step in steps)
    return Chain(parse_config(text, "test.toml", {}).steps, {})


def apply(events: list[LogEvent], *steps: str) -> list[LogEvent]:
    return chain(*steps).events(events, now=NOW)


def by(step: Step, events: list[LogEvent]) -> list[LogEvent]:
    return [event_of(row) for row in step.apply(event_columns(events), now=NOW).iter_rows(named=True)]
