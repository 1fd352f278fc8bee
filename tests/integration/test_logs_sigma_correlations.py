"""Temporal correlations of Sigma: several rules, an order, fields of other names.

The rules they become are held against brute force in tests/property/test_logs_rules_together.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.sigma import read_sigma
from millstream.parsers.log_event import LogEvent

pytest.importorskip("sigma", reason="pySigma is not installed: pip install 'millstream[sigma]'")

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
FIRST, LAST = ("whoami", "203.0.113.9", "198.51.100.1"), ("netstat", "203.0.113.9", "198.51.100.1")
BETWEEN = ("ifconfig", "203.0.113.9", "198.51.100.1")

Step = tuple[str, str, str]
"""Command, where from, where to."""


def rule(command: str) -> str:
    return (
        f"title: {command}\nname: {command}\nlogsource: {{product: linux, category: process_creation}}\n"
        f"detection:\n    a: {{CommandLine: {command}}}\n    condition: a\n"
    )


def correlation(type: str, rules: Sequence[str], rest: str = "", by: str = "source_ip") -> str:
    return (
        f"title: Recon\nid: 5f0c7a3e-9d0a-4c65-b0d8-3d9d4f6a1b11\nlevel: high\ncorrelation:\n    type: {type}\n"
        f"    rules: [{', '.join(rules)}]\n    group-by: [{by}]\n    timespan: 5m\n{rest}"
    )


def alerts(folder: Path, text: str, steps: Sequence[tuple[int, Step]]) -> list[Alert]:
    for number, one in enumerate([*map(rule, ("whoami", "ifconfig", "netstat")), text]):
        (folder / f"{number}.yml").write_text(one)
    found = read_sigma(folder)
    assert found.problems == ()
    with App("memory://") as app:
        logs = LogsApplication(app, found.rules)
        logs.events.extend(
            LogEvent(
                time=TEN + timedelta(seconds=at),
                source="t",
                message=f"ran {command}",
                raw=command,
                command=command,
                source_ip=source,
                fields={"dest_ip": dest},
            )
            for at, (command, source, dest) in steps
        )
        app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=1000)]


ALL = ("whoami", "ifconfig", "netstat")


def test_three_rules_in_any_order(tmp_path: Path) -> None:
    steps = [(0, LAST), (100, FIRST), (299, BETWEEN)]
    [alert] = alerts(tmp_path, correlation("temporal", ALL), steps)
    assert (alert.rule, alert.message, alert.count, alert.raw) == ("recon", "Recon: ran ifconfig", 3, "ifconfig")
    assert (alert.first, alert.by) == (TEN, {"source_ip": "203.0.113.9"})
    assert alerts(tmp_path, correlation("temporal", ALL), [*steps[:2], (300, BETWEEN)]) == []
    assert alerts(tmp_path, correlation("temporal", ALL), [*steps[:2], (200, ("ifconfig", "192.0.2.1", "x"))]) == []


def test_three_rules_in_their_order(tmp_path: Path) -> None:
    text = correlation("temporal_ordered", ALL)
    assert len(alerts(tmp_path, text, [(0, FIRST), (1, FIRST), (2, BETWEEN), (3, LAST)])) == 1
    assert alerts(tmp_path, text, [(0, FIRST), (2, LAST), (3, BETWEEN)]) == []


def test_as_many_different_rules_as_it_takes(tmp_path: Path) -> None:
    steps = [(0, FIRST), (1, FIRST), (2, BETWEEN)]
    assert len(alerts(tmp_path, correlation("temporal", ALL, "    condition: {gte: 2}\n"), steps)) == 1
    assert len(alerts(tmp_path, correlation("temporal", ALL, "    condition: {gt: 1}\n"), steps)) == 1
    assert alerts(tmp_path, correlation("temporal", ALL, "    condition: {eq: 3}\n"), steps) == []
    assert alerts(tmp_path, correlation("temporal", ALL[:2], "    condition: whoami and ifconfig\n"), steps[:2]) == []
    assert (
        len(
            alerts(
                tmp_path,
                correlation("temporal", ALL[:2], "    condition: whoami or netstat\n".replace("netstat", "ifconfig")),
                steps[:1],
            )
        )
        == 1
    )


def test_what_two_rules_have_in_common_may_be_two_fields(tmp_path: Path) -> None:
    aliases = (
        "    aliases:\n        inner:\n            whoami: source_ip\n            netstat: dest_ip\n"
        "        outer:\n            whoami: dest_ip\n            netstat: source_ip\n"
    )
    text = correlation("temporal_ordered", ("whoami", "netstat"), aliases, by="inner, outer")
    back = ("netstat", "198.51.100.1", "203.0.113.9")
    [alert] = alerts(tmp_path, text, [(0, FIRST), (10, back)])
    assert alert.by == {"source_ip": "203.0.113.9", "field('dest_ip')": "198.51.100.1"}
    assert alerts(tmp_path, text, [(0, FIRST), (10, LAST)]) == []
