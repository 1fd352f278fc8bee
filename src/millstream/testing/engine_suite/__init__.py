"""What every engine promises, as tests: each sentence of `millstream.engines.protocol.Engine` is one or more of them.

An engine binds the suite in a few lines:

    class TestMyEngine(EngineSuite):
        @pytest.fixture
        def make_engine(self, tmp_path: Path) -> EngineFactory:
            return lambda clock: MyEngine(tmp_path / "log", clock=clock)

A durable engine's factory opens the same log each time: the suite calls it again to see what was kept. What an engine
cannot do it declares in its capabilities; the tests of it are skipped, and say so.

General layout:

    subject       the fixtures, and short ways to say things in tests
    topics        create, delete, describe, schemas
    records       append, submit, read
    waiting       wait, close
    groups        groups, commit, state
    leases        lease, settle, extend
    clocks        somebody sets the clock
    order         LIFO, partitions, attempts, competing workers
    sorting       keys, ranks, due times, rates; pausing
    finding       how one record stands
    keeping       what a durable engine keeps, and two engines on one log
    maintenance   merging, retention, check, backup
"""

from __future__ import annotations

from millstream.testing.engine_suite.clocks import ClockTests
from millstream.testing.engine_suite.finding import FindTests
from millstream.testing.engine_suite.groups import GroupTests
from millstream.testing.engine_suite.keeping import KeepingTests
from millstream.testing.engine_suite.leases import LeaseTests
from millstream.testing.engine_suite.maintenance import MaintenanceTests
from millstream.testing.engine_suite.order import OrderTests
from millstream.testing.engine_suite.records import RecordTests
from millstream.testing.engine_suite.sorting import SortingTests
from millstream.testing.engine_suite.subject import EngineFactory
from millstream.testing.engine_suite.topics import TopicTests
from millstream.testing.engine_suite.waiting import WaitTests

__all__ = ["EngineFactory", "EngineSuite"]


class EngineSuite(
    TopicTests,
    RecordTests,
    WaitTests,
    GroupTests,
    LeaseTests,
    ClockTests,
    OrderTests,
    SortingTests,
    FindTests,
    KeepingTests,
    MaintenanceTests,
):
    """All promises; subclass it as `Test...` and give it a fixture `make_engine`."""
