"""How much of the events `millstream logs` keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream import App
from millstream.errors import UsageError
from millstream.log.retention import Retention
from millstream.logs.application import LogsApplication
from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.parsers.log_event import LogEvent

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
CONFIG = """
[logs]
keep = "90d"
keep_bytes = 20000

[[step]]
kind = "route"
where = "program = 'cron'"
topic = "cron"
"""


def test_a_configuration_says_how_much_is_kept_also_of_what_is_sent_elsewhere(tmp_path: Path) -> None:
    config = parse_config(CONFIG, "logs.toml")
    with App(tmp_path / "logs.db") as app:
        logs = LogsApplication(app, (), steps=Chain(config.steps, {}), retention=config.retention)
        for name in ("logs", "cron"):
            spec = app.log.engine.describe_topic(name).spec
            assert (spec.retention_age_us, spec.retention_bytes) == (90 * 86_400 * 1_000_000, 20000), name
        assert app.log.engine.describe_topic("alerts").spec.retention_age_us is None
        for batch in range(20):
            logs.events.extend(
                LogEvent(time=AT + timedelta(seconds=n), source="x", message=f"{batch} {n} " + "y" * 100)
                for n in range(50)
            )
        app.log.keep_house()
        assert 0 < app.log.engine.describe_topic("logs").partitions[0].start_offset < 1000
    with App(tmp_path / "logs.db") as app:
        LogsApplication(app, ())
        assert app.log.engine.describe_topic("logs").spec.retention_bytes == 20000  # as it was


def test_without_a_word_everything_is_kept() -> None:
    assert parse_config("[logs]\nsealed = true", "logs.toml").retention is None
    assert parse_config("[logs]\nkeep_bytes = 1", "logs.toml").retention == Retention(size_bytes=1)


@pytest.mark.parametrize("said", ['keep = "soon"', 'keep = "0s"', "keep_bytes = -1"])
def test_what_cannot_be_meant_is_refused_with_the_table(said: str) -> None:
    with pytest.raises(UsageError, match=r"^logs.toml, \[logs\], keep"):
        parse_config(f"[logs]\n{said}", "logs.toml")
