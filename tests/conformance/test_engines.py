"""Each engine keeps the promises of the protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from millstream.engines.memory import MemoryEngine
from millstream.engines.protocol import Engine
from millstream.engines.sqlite import SqliteEngine
from millstream.testing import EngineSuite, FakeClock
from millstream.testing.engine_suite import EngineFactory


class TestMemoryEngine(EngineSuite):
    @pytest.fixture
    def make_engine(self) -> EngineFactory:
        return lambda clock: MemoryEngine(clock=clock)


class TestSqliteEngine(EngineSuite):
    @pytest.fixture
    def make_engine(self, tmp_path: Path) -> EngineFactory:
        return lambda clock: SqliteEngine(tmp_path / "log.db", clock=clock)

    @pytest.fixture
    def open_copy(self, clock: FakeClock) -> Callable[[Path], Engine]:
        return lambda path: SqliteEngine(path, clock=clock)
