"""How much of the events `millstream logs` keeps."""

from __future__ import annotations

import random
import re
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
keep_bytes = 1_000_000

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
            assert (spec.retention_age_us, spec.retention_bytes) == (90 * 86_400 * 1_000_000, 1_000_000), name
        assert app.log.engine.describe_topic("alerts").spec.retention_age_us is None
        noise = random.Random(1)  # what does not compress
        for _ in range(60):
            logs.events.extend(
                LogEvent(time=AT + timedelta(seconds=n), source="x", message=noise.randbytes(400).hex())
                for n in range(60)
            )
        app.log.keep_house()
        assert 0 < app.log.engine.describe_topic("logs").partitions[0].start_offset < 3600
    with App(tmp_path / "logs.db") as app:
        LogsApplication(app, ())
        assert app.log.engine.describe_topic("logs").spec.retention_bytes == 1_000_000  # as it was


def test_without_a_word_everything_is_kept() -> None:
    assert parse_config("[logs]\nsealed = true", "logs.toml").retention is None
    assert parse_config("[logs]\nkeep_bytes = 1000000", "logs.toml").retention == Retention(size_bytes=1_000_000)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('keep = "soon"', "'soon' is not a duration"),
        ('keep = "90s"', "keep is '90s', less than an hour; give a time with its unit, such as \"90d\""),
        ("keep_bytes = 10", "keep_bytes is 10; give 1_000_000 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_table(said: str, words: str) -> None:
    with pytest.raises(UsageError, match="^" + re.escape(f"logs.toml, [logs]: {words}")):
        parse_config(f"[logs]\n{said}", "logs.toml")
