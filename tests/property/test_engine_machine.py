"""Random histories of each engine agree with the memory engine.

More of them: `MILLSTREAM_EXAMPLES=full pytest tests/property/test_engine_machine.py` (minutes).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from millstream.engines.memory import MemoryEngine
from millstream.engines.protocol import Durability, Engine
from millstream.engines.sqlite import SqliteEngine
from millstream.testing import FakeClock
from millstream.testing.engine_machine import EngineMachine

EXAMPLES = {"ci": (200, 60), "full": (2000, 100)}
"""Histories, and steps of each."""

_examples, _steps = EXAMPLES[os.environ.get("MILLSTREAM_EXAMPLES", "ci")]

_settings = settings(
    max_examples=_examples, stateful_step_count=_steps, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class SqliteMachine(EngineMachine):
    def open_engine(self, directory: Path, clock: FakeClock) -> Engine:
        # Relaxed, because no power fails here and a thousand times as many steps fit into the same minute.
        return SqliteEngine(directory / "log.db", durability=Durability.RELAXED, clock=clock)


class MemoryMachine(EngineMachine):
    """The model against itself: what fails here is wrong in the machine."""

    def open_engine(self, directory: Path, clock: FakeClock) -> Engine:
        return MemoryEngine(clock=clock)


@pytest.mark.slow
class TestSqliteHistories(SqliteMachine.TestCase):
    settings = _settings


class TestMemoryHistories(MemoryMachine.TestCase):
    settings = settings(_settings, max_examples=20)
